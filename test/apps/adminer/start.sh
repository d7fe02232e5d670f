#!/bin/bash
# Adminer 4.8 (Debian), Apache + mod_php, private MariaDB. alice, bob: database accounts. Its fields are auth[username] and
# auth[password], taken at every address; one session may hold several users.
. "$(dirname "$0")/../lib.sh"
need_port 18060
mariadb_up
W=$DATA/www
if [ ! -f "$DATA/.done2" ]; then
  rm -rf "$W"; mkdir -p "$W"
  # the packaged version check asks the network
  cat > "$W/index.php" <<'PHP'
<?php
function adminer_object() {
  include_once '/usr/share/adminer/plugins/plugin.php';
  include_once '/usr/share/adminer/plugins/version-noverify.php';
  return new AdminerPlugin([new AdminerVersionNoverify(), new NoLock()]);
}
// Adminer locks an address after 30 wrong passwords, and every run comes from one.
class NoLock {
  function bruteForceKey() { return uniqid(); }
}
include '/usr/share/adminer/adminer.php';
PHP
  sql "create user if not exists $U1@localhost identified by '$P1'; grant all on *.* to $U1@localhost; create user if not exists $U2@localhost identified by '$P2'; create database if not exists shop; grant select on shop.* to $U2@localhost; create table if not exists shop.orders (id int primary key, customer varchar(40)); replace into shop.orders values (1,'SECRET-ROW')"
  chown -R www-data:www-data "$W"; touch "$DATA/.done2"
fi
apache_up "$W" <<CONF
php_admin_value mysqli.default_socket "$SOCK"
<Directory /usr/share/adminer>
  Require all granted
</Directory>
CONF
wait_http /
finish apache
