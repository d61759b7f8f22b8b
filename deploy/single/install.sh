#!/bin/sh
# Turns a Debian, Ubuntu, Fedora or Red Hat machine into a public inbox server:
#
#   sudo sh install.sh signal.example.com
#
# It checks the package next to this script against checksums.txt, installs it, and runs
# 'inbox setup' with the same arguments. Set
# INBOX_RELEASE to take the package from another directory or an https:// address.
# Run it again to change the name, or to install a newer package.
set -eu

fail() {
	echo "install.sh: $*" >&2
	exit 1
}

[ $# -gt 0 ] || fail "give the name of the server: sudo sh install.sh signal.example.com"
[ "$(id -u)" = 0 ] || fail "installing needs root: run it with sudo"
from=${INBOX_RELEASE:-$(dirname "$0")}

case "$(uname -m)" in
x86_64) deb=amd64 rpm=x86_64 ;;
aarch64 | arm64) deb=arm64 rpm=aarch64 ;;
*) fail "there is no package for $(uname -m): build the program with 'make build'" ;;
esac
if command -v apt-get >/dev/null; then
	pattern="inbox_[^ ]*_$deb\\.deb"
elif command -v dnf >/dev/null || command -v yum >/dev/null; then
	pattern="inbox-[^ ]*\\.$rpm\\.rpm"
else
	fail "this system has neither apt-get nor dnf: unpack the archive for linux, and follow docs/operations.md#systemd"
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fetch() { # NAME: copies a file of the release into $dir
	case "$from" in
	https://*)
		if command -v curl >/dev/null; then
			curl -fsSL -o "$dir/$1" "$from/$1" || fail "$from/$1 cannot be loaded"
		else
			wget -qO "$dir/$1" "$from/$1" || fail "$from/$1 cannot be loaded"
		fi
		;;
	*://*) fail "INBOX_RELEASE is a directory or an https:// address, not $from" ;;
	*)
		[ -r "$from/$1" ] || fail "$from has no $1: keep this script in the directory with the files of the release"
		cp "$from/$1" "$dir/$1"
		;;
	esac
}

fetch checksums.txt
line=$(grep -E "^[0-9a-f]{64}  $pattern\$" "$dir/checksums.txt" || true)
package=${line#*  }
[ -n "$package" ] || fail "checksums.txt of $from lists no package for this machine"
case "$package" in *"
"*) fail "checksums.txt of $from lists more than one package for this machine" ;; esac
fetch "$package"
echo "$line" >"$dir/sum"
(cd "$dir" && sha256sum --check --quiet sum >/dev/null 2>&1) || fail "$package is damaged: its checksum is not that of checksums.txt. Load the release again"

echo "Installing $package"
chmod 755 "$dir"
if command -v apt-get >/dev/null; then
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$dir/$package" >"$dir/log" 2>&1 || {
		cat "$dir/log" >&2
		fail "apt-get cannot install $package: see above"
	}
else
	manager=$(command -v dnf || command -v yum)
	"$manager" install -y "$dir/$package" >"$dir/log" 2>&1 || {
		cat "$dir/log" >&2
		fail "$manager cannot install $package: see above"
	}
fi
inbox setup "$@"
