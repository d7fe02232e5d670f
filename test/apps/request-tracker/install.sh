#!/bin/bash
. "$(dirname "$0")/../lib.sh"
apt_install dbconfig-no-thanks nullmailer curl request-tracker5 rt5-standalone rt5-db-sqlite
