#!/bin/bash
. "$(dirname "$0")/../lib.sh"
apt_install ruby-railties ruby-actionpack puma curl
