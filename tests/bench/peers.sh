#!/usr/bin/env bash
# How long `supervise` and its peers take to start /usr/bin/true, each measured in turn in the same run. What is not installed is
# named, with how it is installed; nothing is installed here.
set -eu
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '{"filesystem":{"allowWrite":["."]},"network":{"allowNetwork":false}}\n' >"$work/landstrip.json"

true=/usr/bin/true
commands=()

# peer NAME PROGRAM HOW-TO-INSTALL COMMAND…: takes it in when it is installed and starts the program at all.
peer() {
    local name=$1 program=$2 install=$3
    shift 3
    if ! command -v "$program" >/dev/null; then
        printf '%-44s not installed: %s\n' "$name" "$install"
    elif ! (cd "$work" && "$@" </dev/null >/dev/null 2>&1); then
        printf '%-44s is installed and fails here: %s\n' "$name" "$*"
    else
        commands+=("$name=$*")
    fi
}

peer 'bwrap --ro-bind / /' bwrap 'apt install bubblewrap' bwrap --ro-bind / / "$true"
peer 'bwrap --unshare-all' bwrap 'apt install bubblewrap' \
    bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev "$true"
peer 'nono wrap' nono 'cargo install nono-cli' nono wrap --silent --allow-cwd --read /usr -- "$true"
peer 'nono run' nono 'cargo install nono-cli' nono run --silent --allow-cwd --read /usr -- "$true"
peer 'sandlock run' sandlock 'cargo install sandlock-cli' \
    sandlock run -r /usr -r /lib -r /lib64 -r /bin -r /etc -- "$true"
peer 'landstrip run' landstrip 'cargo install landstrip' landstrip run -p "$work/landstrip.json" -- "$true"
peer 'firejail --noprofile' firejail 'apt install firejail' firejail --quiet --noprofile "$true"

cargo bench --quiet --bench supervise -- --against "${commands[@]}"
