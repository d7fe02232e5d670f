#!/bin/bash
# Roundcube 1.6 (Debian), Apache + mod_php, SQLite, and a private Dovecot (IMAP on the next port). alice and bob have one mail
# each, whose subject is SECRET-MAIL and the name. The login page, the login and all pages have one address.
. "$(dirname "$0")/../lib.sh"
need_port 18050
IMAP=$((PORT + 1))
mkdir -p "$DATA/conf" "$DATA/tmp" "$DATA/mail" "$DATA/dovecot"
if [ ! -f "$DATA/.done" ]; then
  printf '%s:{PLAIN}%s\n' $U1 $P1 $U2 $P2 > "$DATA/dovecot/users"
  cat > "$DATA/dovecot/dovecot.conf" <<CONF
base_dir = $DATA/dovecot/run
log_path = $DATA/log/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:$DATA/mail/%u
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = $DATA/dovecot/users
}
userdb {
  driver = static
  args = uid=www-data gid=www-data home=$DATA/mail/%u
}
service imap-login {
  inet_listener imap {
    port = $IMAP
  }
  inet_listener imaps {
    port = 0
  }
}
namespace inbox {
  inbox = yes
}
CONF
  for u in $U1 $U2; do
    mkdir -p "$DATA/mail/$u"/{cur,new,tmp}
    printf 'From: carol@example.test\nTo: %s@example.test\nSubject: SECRET-MAIL of %s\nDate: Mon, 2 Jan 2023 10:00:00 +0000\nMessage-ID: <%s@example.test>\n\nhello\n' $u $u $u > "$DATA/mail/$u/new/1672653600.$u.x"
  done
  cat > "$DATA/conf/config.inc.php" <<PHP
<?php
\$config = [];
\$config['db_dsnw'] = 'sqlite:///$DATA/tmp/roundcube.db?mode=0640';
\$config['imap_host'] = ['127.0.0.1:$IMAP'];
\$config['smtp_host'] = '127.0.0.1:9';
\$config['des_key'] = 'test-only-key-of-24-sign';
\$config['plugins'] = [];
\$config['skin'] = 'elastic';
\$config['temp_dir'] = '$DATA/tmp';
\$config['log_dir'] = '$DATA/tmp';
\$config['enable_spellcheck'] = false;
PHP
  cp /etc/roundcube/mimetypes.php /etc/roundcube/defaults.inc.php "$DATA/conf/"
  php -r '$d = new PDO("sqlite:$argv[1]"); $d->exec(file_get_contents("/usr/share/dbconfig-common/data/roundcube/install/sqlite3"));' "$DATA/tmp/roundcube.db"
  chown -R www-data:www-data "$DATA/mail" "$DATA/tmp" "$DATA/conf"; touch "$DATA/.done"
fi
spawn dovecot dovecot -F -c "$DATA/dovecot/dovecot.conf"
apache_up /var/lib/roundcube <<CONF
SetEnv ROUNDCUBE_CONFIG_DIR $DATA/conf
<Directory /usr/share>
  Options FollowSymLinks
  Require all granted
</Directory>
CONF
wait_http /
finish apache
