#!/bin/sh
# A Docker engine for the tests, and what they build images from: a base with Python, a folder of packages.
#
#   sh .ci/engine.sh start FOLDER   leaves FOLDER/environment, what the tests are told in lines of shell;
#                                   where this machine cannot have an engine, the reason in FOLDER/absent
#   sh .ci/engine.sh stop FOLDER    ends the engine if it was started here, and removes FOLDER
#
# An engine that answers is used as it is. One that is started has everything in FOLDER: it knows no
# container of anybody else, and nothing of it stays. FOLDER is absolute and short (a socket lies in it),
# without spaces, and nobody else's.
#
# SERVEBENCH_TEST_BASE    the name of the base image, which is made when it is missing
# SERVEBENCH_TEST_WHEELS  a folder of packages to use instead of one filled here
# DOCKERD_FLAGS           more flags for an engine that is started. Beside another engine it needs a bridge of its
#                         own (--bridge=NAME --iptables=false); --bridge=none would remove the other's docker0.
set -eu

IN_BASE=python3,python3-venv,libpython3.11,ca-certificates
READY_S=60
STOP_S=30

say() { echo "engine: $*"; }

cannot() {
    say "$*"
    echo "$*" >"$folder/absent"
    exit 0
}

# What was said before a step failed: $1 the step, $2 its log.
failed() {
    say "$1 failed; the end of what it said:"
    tail -20 "$2"
    exit 1
}

root_of_debian() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

engine_answers() { command -v docker >/dev/null && timeout 10 docker version >/dev/null 2>&1; }

needs() { command -v "$1" >/dev/null || missing="$missing $2"; }

install_missing() {
    missing=
    engine_answers || needs dockerd docker.io
    needs docker docker.io
    needs iptables iptables
    needs debootstrap "debootstrap debian-archive-keyring"
    needs docker-compose docker-compose
    needs promtool prometheus
    [ -n "$missing" ] || return 0
    # What a package starts by itself would be nobody's to stop.
    export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
    {
        apt-get -o DPkg::Lock::Timeout=300 update &&
            apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends $missing
    } >"$folder/apt.log" 2>&1 </dev/null || failed "apt-get install$missing" "$folder/apt.log"
    say "installed$missing"
}

start_engine() {
    export DOCKER_HOST="unix://$folder/socket"
    echo "export DOCKER_HOST='$DOCKER_HOST'" >>"$folder/told"
    echo '{}' >"$folder/daemon.json"
    # A session of its own: at Ctrl-C the tests still need it, to remove their containers.
    setsid dockerd --config-file "$folder/daemon.json" --host "$DOCKER_HOST" --pidfile "$folder/pid" \
        --data-root "$folder/data" --exec-root "$folder/exec" ${DOCKERD_FLAGS:-} \
        >"$folder/dockerd.log" 2>&1 </dev/null &
    for _ in $(seq $((READY_S * 5))); do
        sleep 0.2
        if engine_answers; then
            say "started, process $!"
            return
        fi
        kill -0 $! 2>/dev/null || break
    done
    failed dockerd "$folder/dockerd.log"
}

make_base() {
    debootstrap --variant=minbase --include="$IN_BASE" bookworm "$folder/base" >"$folder/debootstrap.log" 2>&1 ||
        failed debootstrap "$folder/debootstrap.log"
    tar -C "$folder/base" -c . | docker import - "$base" >/dev/null
    rm -rf --one-file-system "$folder/base"
    say "made the image $base"
}

start() {
    mkdir -p "$folder"
    : >"$folder/told"
    if root_of_debian; then install_missing; fi
    if ! engine_answers; then
        root_of_debian || cannot "no Docker engine answers, and only root of a Debian machine can install one"
        start_engine
    fi
    base=${SERVEBENCH_TEST_BASE:-servebench-base:bookworm}
    if ! docker image inspect "$base" >/dev/null 2>&1; then
        root_of_debian || cannot "there is no image $base, and only root of a Debian machine can make one"
        make_base
    fi
    wheels=${SERVEBENCH_TEST_WHEELS:-}
    if [ -z "$wheels" ]; then
        wheels=$folder/wheels
        sh deploy/wheels.sh "$wheels" >"$folder/wheels.log" 2>&1 || failed deploy/wheels.sh "$folder/wheels.log"
        say "packages to build from: $(du -sh "$wheels" | cut -f1)"
    fi
    cat >>"$folder/told" <<TOLD
export SERVEBENCH_TEST_BASE='$base'
export SERVEBENCH_TEST_WHEELS='$wheels'
export SERVEBENCH_REQUIRE_DOCKER=1
TOLD
    mv "$folder/told" "$folder/environment"
    say "ready"
}

# Processes whose command names the folder: the engine, its containerd, the keepers of containers.
running() {
    commands=$(echo /proc/[0-9]*/cmdline)
    grep -lsF "$folder/" $commands | cut -d/ -f3
}

stop() {
    if [ -S "$folder/socket" ] && docker --host "unix://$folder/socket" version >/dev/null 2>&1; then
        # All containers of this engine were started by tests; their keepers outlive it.
        own="docker --host unix://$folder/socket"
        $own ps --all --quiet | xargs -r $own rm --force >/dev/null || true
        kill "$(cat "$folder/pid")"
        for _ in $(seq $((STOP_S * 5))); do
            [ -n "$(running)" ] || break
            sleep 0.2
        done
    fi
    # Of an engine that was killed, or does not end: a keeper's child is what its container runs.
    left=$(running)
    for one in $left; do pgrep -P "$one" || true; done | xargs -r kill -9 2>/dev/null || true
    [ -z "$left" ] || kill -9 $left 2>/dev/null || true
    if grep -qF " $folder/" /proc/mounts; then
        grep -F " $folder/" /proc/mounts | cut -d" " -f2 | sort -r | xargs umount --lazy
    fi
    rm -rf --one-file-system "$folder"
}

case ${1:-} in
start | stop)
    folder=${2:?a folder}
    "$1"
    ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
