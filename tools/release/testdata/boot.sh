#!/bin/sh
# Boots the system that this machine has, with all that it has installed, in a copy that
# lasts as long as its first process: changes stay in memory. It runs in new namespaces for
# mounts, processes, the network, IPC, the name and control groups.
#
#	boot.sh DIR SHARE TREE
#
# DIR is an empty directory to mount things at. SHARE is at /share in the copy, and TREE at
# its own path.
set -eu
dir=$1 share=$2 tree=$3

mount --make-rprivate /
mount -t tmpfs -o size=1g tmpfs "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/root"
root=$dir/root

# The control groups of this process are the root of those of the copy.
version1=$(stat -f -c %T /sys/fs/cgroup)
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
if [ "$version1" = cgroup2fs ]; then
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
	mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
	mkdir "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
	mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
	touch "$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root/share" "$root$tree"
mount --bind -o ro "$share" "$root/share"
mount --bind -o ro "$tree" "$root$tree"

# Names are those of the tests' own DNS server, and nothing of this machine starts.
rm -f "$root/etc/resolv.conf"
echo nameserver 127.0.0.1 >"$root/etc/resolv.conf"
rm -rf "$root"/etc/systemd/system/*.wants "$root/var/log/journal"
ip link set lo up
ip address add 203.0.113.10/32 dev lo

mkdir "$root/old"
cd "$root"
pivot_root . old
umount -l old
rmdir old
export container=inbox-test
exec chroot . /lib/systemd/systemd --unit=multi-user.target --log-target=null --show-status=false
