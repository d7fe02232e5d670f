#!/bin/bash
# A small PHP application whose pages are ISO-8859-1, with the fields of Yii's and Symfony's forms: LoginForm[username] and
# LoginForm[password]. Below /sjis.php the same in Shift_JIS. alice's password is Käse-pw-1, there 表示-pw-1 (its first letter
# ends with the byte of a backslash); bob's is the usual one.
. "$(dirname "$0")/../lib.sh"
need_port 18070
W=$DATA/www
mkdir -p "$W"
cp "$APPDIR/index.php" "$W/index.php"; cp "$APPDIR/index.php" "$W/sjis.php"
apache_up "$W" < /dev/null
wait_http /index.php
finish apache
