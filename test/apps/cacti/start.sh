#!/bin/bash
# Cacti 1.2 (Debian), Apache + mod_php, private MariaDB. alice: administrator, bob: may see the graphs. Every page shows the
# login form at its own address to who is not signed in, and takes the login there.
. "$(dirname "$0")/../lib.sh"
need_port 18090
mariadb_up
W=$DATA/www
if [ ! -f "$DATA/.done" ]; then
  rm -rf "$W"; cp -aL /usr/share/cacti/site "$W" 2> /dev/null || true
  sed -e "s/'_DBC_DBNAME_'/'cacti'/; s/'_DBC_DBSERVER_'/'localhost'/; s/'_DBC_DBUSER_'/'cacti'/; s/'_DBC_DBPASS_'/'cacti-db-pw'/; s/'_DBC_DBPORT_'/''/" \
    -e "s#^\$url_path = .*#\$url_path = '/';#; s#^\$path_csrf_secret = .*#\$path_csrf_secret = '$DATA/tmp/csrf.php';#" \
    /usr/share/cacti/conf_templates/debian.php.dist > "$W/include/config.php"
  mkdir -p "$DATA/tmp" "$W/log" "$W/cache"
  sql "create database if not exists cacti character set utf8mb4 collate utf8mb4_unicode_ci; create user if not exists cacti@localhost identified by 'cacti-db-pw'; grant all on cacti.* to cacti@localhost; grant select on mysql.time_zone_name to cacti@localhost"
  mariadb --no-defaults -u root -S "$SOCK" cacti < /usr/share/cacti/conf_templates/cacti.sql
  h() { php -r 'echo password_hash($argv[1], PASSWORD_DEFAULT);' "$1"; }
  sql "use cacti; update version set cacti='$(cat /usr/share/cacti/site/include/cacti_version)';
    replace into settings (name, value) values ('install_complete', '1'), ('install_version', '$(cat /usr/share/cacti/site/include/cacti_version)'), ('auth_method', '1'), ('guest_user', '0');
    update user_auth set username='$U1', password='$(h $P1)', must_change_password='', password_change='' where id=1;
    insert into user_auth (username, password, realm, full_name, must_change_password, enabled, show_tree, show_list, show_preview, graph_settings, login_opts, policy_graphs, policy_trees, policy_hosts, policy_graph_templates)
      values ('$U2', '$(h $P2)', 0, 'Bob', '', 'on', 'on', 'on', 'on', 'on', 1, 1, 1, 1, 1);
    insert into user_auth_realm (realm_id, user_id) select 7, id from user_auth where username='$U2'"
  chown -R www-data:www-data "$W" "$DATA/tmp"; touch "$DATA/.done"
fi
apache_up "$W" <<CONF
php_admin_value mysqli.default_socket "$SOCK"
php_admin_value pdo_mysql.default_socket "$SOCK"
<Directory "$W">
  Require all granted
</Directory>
CONF
wait_http /index.php
finish apache
