# Run by unshare(1), in PID, mount, cgroup, UTS and IPC namespaces of its own. $1 is the folder that is shared with the
# test. What could change the machine is hidden or read-only before systemd starts, and its units are ours alone:
# Debian's own would empty /tmp.
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/test /run/systemd/system /run/none
mount --bind "$1" /run/test
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /opt
mkdir /opt/hello
mount --bind /run/test /opt/hello
mount -t tmpfs tmpfs /var/tmp
mount -o remount,bind,ro /
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys

# As seen from the namespace: its root is the group that the test has made.
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
fi

cp /run/test/units/* /run/systemd/system/ 2>/dev/null || true
for target in sysinit basic sockets multi-user shutdown default; do
    echo "[Unit]" > "/run/systemd/system/$target.target"
done

if touch /etc/systemd-boot-probe 2>/dev/null; then
    rm -f /etc/systemd-boot-probe
    echo "the machine would not be safe from it" >&2
    exit 1
fi
for folder in /run /tmp /var/tmp; do
    [ "$(stat -fc %T "$folder")" = tmpfs ]
done

exec env -i PATH="$PATH" container=test SYSTEMD_UNIT_PATH=/run/systemd/system \
    SYSTEMD_GENERATOR_PATH=/run/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/none \
    /lib/systemd/systemd --system --unit=default.target --log-target=null --show-status=no
