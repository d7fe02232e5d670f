#!/bin/bash
. "$(dirname "$0")/../lib.sh"
apt_install $APACHE_PHP_PKGS dovecot-imapd roundcube-core roundcube-sqlite3
