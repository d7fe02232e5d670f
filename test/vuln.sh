#!/usr/bin/env bash
# Looks for known vulnerabilities in what the module uses. The database is
# VULNDB (a folder or a vulndb.tar.xz with db/ in it, or https://vuln.go.dev),
# else the one in a folder "shared" beside this checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
db=${VULNDB:-}
beside=../shared/vulndb/vulndb.tar.xz
if [ -z "$db" ] && [ -f "$beside" ]; then db=$beside; fi
case $db in
"")
	echo "vuln: skipped: no vulnerability database; set VULNDB" >&2
	exit 0
	;;
*.tar.xz)
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	tar xf "$db" -C "$dir"
	db=file://$dir/db
	;;
http*) ;;
*) db=file://$(realpath "$db") ;;
esac
go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 -db "$db" ./...
