#!/bin/bash
# A small application on Rails 6.1 (Debian), Puma: fields session[user] and session[password], token against forged
# requests, session in a cookie. Rails reads the same login from JSON and from multipart.
. "$(dirname "$0")/../lib.sh"
need_port 18120
mkdir -p "$DATA/app/tmp"
cp "$APPDIR/config.ru" "$DATA/app/config.ru"
cd "$DATA/app"
spawn puma env HOME="$DATA" RAILS_ENV=production RACK_ENV=production puma -e production -t 1:4 -b "tcp://127.0.0.1:$PORT" config.ru
wait_http /login 60
finish puma
