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
. "$here/apt.sh"
packages=(redis-server slapd chromium curl openssl ca-certificates
	php8.2-cgi python3-django python3-werkzeug ruby-rack perl libcgi-pm-perl libcommons-fileupload-java libservlet-api-java)
command -v gcc > /dev/null || packages+=(gcc libc6-dev) # for the race detector
command -v node > /dev/null || packages+=(nodejs npm)
command -v javac > /dev/null || packages+=(default-jdk-headless)
apt_install "${packages[@]}"
for app in "$here"/apps/*/; do
	case "${1:-}/$(basename "$app")" in
	/mediawiki | /phpmyadmin | /redmine | /node-red | /pocketbase | /roundcube | /cacti | /request-tracker) continue ;;
	esac
	bash "$app/install.sh" > /dev/null
done
