#!/usr/bin/env bash
# Runs the README's two commands where nothing else is: in a folder with a minimal
# Debian 12, Go, make, git and certificates, and a clone of what is committed here.
# With arguments it runs these there in place of make test. Needs root, and the
# package debootstrap; takes an hour. Go's module cache is this machine's, to spare
# the download.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ "$(id -u)" = 0 ] || { echo "make fresh needs root: it makes a Debian in a folder" >&2; exit 1; }
command -v debootstrap > /dev/null || { echo "make fresh needs debootstrap (apt-get install debootstrap)" >&2; exit 1; }
debian=$(mktemp -d "${FRESH:-/var/tmp}/caddymfa-fresh-XXXXXX")
mounts=()
leave() {
	for m in "${mounts[@]}"; do umount -l "$m" || true; done
	[ -n "${KEEP:-}" ] && echo "kept: $debian" || rm -rf --one-file-system "$debian"
}
trap leave EXIT

debootstrap --variant=minbase --include=make,git,ca-certificates bookworm "$debian" > "$debian.log"
rm -f "$debian.log"
# What this machine's network wants: certificates of its own, and how npm is told.
cp /etc/resolv.conf "$debian/etc/resolv.conf"
cp -r /usr/local/share/ca-certificates/. "$debian/usr/local/share/ca-certificates/"
chroot "$debian" update-ca-certificates > /dev/null
[ ! -f ~/.npmrc ] || cp ~/.npmrc "$debian/root/"
cp -a "$(go env GOROOT)" "$debian/usr/local/go"
git clone -q "$here" "$debian/root/caddymfa"
mkdir -p "$debian/root/go/pkg/mod"
for m in "proc:-t proc proc" "sys:-t sysfs sysfs" "dev:--rbind /dev" "root/go/pkg/mod:--bind $(go env GOMODCACHE)"; do
	read -ra how <<< "${m#*:}"
	mount "${how[@]}" "$debian/${m%%:*}"
	mounts=("$debian/${m%%:*}" "${mounts[@]}")
done

in_debian() {
	chroot "$debian" env -i HOME=/root LANG=C.UTF-8 CI=true PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt bash -c "cd /root/caddymfa && $1"
}

echo "make demo"
in_debian 'DEMO_PORT=18099 make demo > /tmp/demo.log 2>&1 & pid=$!
	for i in $(seq 600); do
		sleep 1
		if { exec 3<> /dev/tcp/127.0.0.1/18099; } 2> /dev/null; then
			printf "GET /mfa HTTP/1.1\r\nHost: localhost:18099\r\nAccept: text/html\r\nConnection: close\r\n\r\n" >&3
			head -1 <&3
			break
		fi
		kill -0 $pid 2> /dev/null || break
	done
	for child in $(cat /proc/$pid/task/*/children); do kill $(cat /proc/$child/task/*/children) $child 2> /dev/null; done
	wait $pid 2> /dev/null
	grep -q "The application behind the gate:  http://localhost:18099/" /tmp/demo.log || { cat /tmp/demo.log; exit 1; }'
echo "make demo: it answers"

command=${*:-make test}
echo "$command"
in_debian "$command"
echo "$command: passed"
[ ! -e "$debian/usr/sbin/policy-rc.d" ] || { echo "it has left /usr/sbin/policy-rc.d behind" >&2; exit 1; }
