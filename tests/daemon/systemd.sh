#!/usr/bin/env bash
# The unit as it is printed, under a real systemd of an ordinary user, in namespaces of its own: shows the same workers after `kill -9`
# of the main process, of the daemon, and after the watchdog. For people to look at; needs root, systemd, cgroup2, and python3.
#
#     bash tests/daemon/systemd.sh target/debug/supervise
set -u
supervise=$(realpath "${1:?which program}")
place=$(mktemp -d /tmp/supervise-systemd-XXXXXX) || exit 1
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
cp "$supervise" "$place/supervise"
mkdir -p "$place"/{run,state,data} "$place/home/.config/systemd/user"
cat >"$place/workers.toml" <<'POOL'
version = 1
[[worker]]
name = "idle"
command = ["sleep", "1000"]
policy = "worker"
speaks = "nothing"
count = 3
on_supervisor_exit = "survive"
POOL

cat >"$place/user" <<'USER'
set -u
place=$1
export HOME=$place/home XDG_RUNTIME_DIR=$place/run XDG_STATE_HOME=$place/state XDG_DATA_HOME=$place/data XDG_CONFIG_HOME=$place/home/.config
cd "$place" || exit 1
unit=$XDG_CONFIG_HOME/systemd/user/supervise.service
./supervise daemon --print-unit --config workers.toml |
    sed "s|^\[Service\]|&\nEnvironment=XDG_STATE_HOME=$XDG_STATE_HOME XDG_DATA_HOME=$XDG_DATA_HOME|" >"$unit"
./supervise daemon --validate-unit "$unit" --config workers.toml || exit 1
/lib/systemd/systemd --user --unit=basic.target >systemd.log 2>&1 &
manager=$!
for _ in $(seq 100); do [ -S "$XDG_RUNTIME_DIR/systemd/private" ] && break; sleep 0.1; done
control() { systemctl --user --no-pager "$@" supervise.service; }
value() { control show -p "$1" --value; }
show() {
    printf '%s: ' "$1"
    control show -p MainPID,NRestarts,StatusText,NFileDescriptorStore | tr '\n' ' '
    ./supervise status --json | python3 -c 'import json, sys
for worker in json.load(sys.stdin)["workers"]:
    print(worker["id"], worker["pid"], worker.get("verified"), worker.get("degraded") or "whole", end="; ")
print()'
}
another() {
    for _ in $(seq 600); do
        [ "$(value MainPID)" != "$1" ] && [ "$(value ActiveState)" = active ] && ./supervise status >/dev/null 2>&1 && return
        sleep 0.1
    done
}
daemon() { ./supervise status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["daemon"]["pid"])'; }
control start && ./supervise start --timeout 60s >/dev/null
show started
for _ in 1 2; do
    main=$(value MainPID); kill -9 "$main"; another "$main"
    show 'main process killed'
done
kill -9 "$(daemon)"; sleep 1
show 'daemon killed'
main=$(value MainPID); kill -STOP "$(daemon)"; another "$main"
show 'daemon stopped, until the watchdog'
mkdir "$unit.d" && printf '[Service]\nKillMode=mixed\n' >"$unit.d/kill.conf"
printf 'what the daemon says of its unit: '
./supervise validate --json
./supervise stop >/dev/null
control stop
kill "$manager"
USER

cat >"$place/root" <<'ROOT'
set -u
mount -t tmpfs none /run && mkdir -p /run/systemd/system
mount -t tmpfs none /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/supervise-systemd/user && chown -R 65534:65534 /sys/fs/cgroup/supervise-systemd
echo $$ >/sys/fs/cgroup/supervise-systemd/user/cgroup.procs
setpriv --reuid=65534 --regid=65534 --clear-groups bash "$1/user" "$1"
ROOT
chown -R 65534:65534 "$place"
unshare --pid --mount --ipc --cgroup --fork --mount-proc --kill-child bash "$place/root" "$place"
