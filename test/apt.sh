# apt_install installs Debian packages that are missing. Sourced.
#
# Services must not start by themselves, for they would listen on public ports: while
# it installs, and no longer, a policy forbids it. One at a time, or one that ends
# would take the policy from another.
apt_install() { # package...
	local missing=() p
	for p in "$@"; do dpkg-query -W -f='${Status}' "$p" 2> /dev/null | grep -q 'ok installed' || missing+=("$p"); done
	[ ${#missing[@]} -eq 0 ] && return 0
	echo "installing ${missing[*]}"
	(
		flock 9
		export DEBIAN_FRONTEND=noninteractive
		if ! [ -e /usr/sbin/policy-rc.d ]; then
			trap 'rm -f /usr/sbin/policy-rc.d' EXIT
			printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
			chmod 755 /usr/sbin/policy-rc.d
		fi
		[ -n "$(ls /var/lib/apt/lists 2> /dev/null | grep -m1 Packages)" ] || apt-get -q update
		apt-get -o DPkg::Lock::Timeout=900 -o Dpkg::Use-Pty=0 -q -y --no-install-recommends install "${missing[@]}"
	) 9> "${TMPDIR:-/tmp}/caddymfa-apt.lock"
}
