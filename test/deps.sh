#!/usr/bin/env bash
# Installs the servers that the tests run against: Redis, the parsers in
# test/differential, and the applications in test/apps; the large ones only with
# the argument "all". Does nothing where it may not.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
	echo "deps: not root, or no apt: tests of missing servers will be skipped" >&2
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# Services must not start by themselves: they would listen on public ports.
[ -x /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; }
missing=()
command -v node > /dev/null || missing+=(nodejs npm)
command -v javac > /dev/null || missing+=(default-jdk-headless)
for p in redis-server slapd chromium curl openssl ca-certificates \
	php8.2-cgi python3-django python3-werkzeug ruby-rack perl libcgi-pm-perl libcommons-fileupload-java libservlet-api-java; do
	dpkg-query -W -f='${Status}' "$p" 2> /dev/null | grep -q 'ok installed' || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
	apt-get -q update
	apt-get -q -y -o DPkg::Lock::Timeout=900 --no-install-recommends install "${missing[@]}"
fi
for app in "$here"/apps/*/; do
	case "${1:-}/$(basename "$app")" in
	/mediawiki | /phpmyadmin | /redmine | /node-red | /pocketbase | /roundcube | /cacti | /request-tracker) continue ;;
	esac
	bash "$app/install.sh" > /dev/null
done
