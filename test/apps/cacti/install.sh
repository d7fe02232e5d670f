#!/bin/bash
. "$(dirname "$0")/../lib.sh"
apt_install $APACHE_PHP_PKGS mariadb-server cacti
