# Shared by Tools/demo, Tools/test and the end-to-end scenarios: what to install, how to build, and
# a cluster of three hosts on this machine. Sourced, never run.
#
# A "host" is a network namespace with its own agent, data folder, cgroup root and socket. The
# namespaces hang on a bridge in a namespace of its own, so this machine's own network is untouched.
# shellcheck shell=bash

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What the cluster is called: prefix of its namespaces, cgroup roots and folders.
CLUSTER=${CLUSTER:-shoal}
RUN=${RUN:-/run/$CLUSTER-demo}
DATA=${DATA:-/var/lib/$CLUSTER-demo}
SHOAL=${SHOAL:-$REPO/.build/release/shoal}
HOSTS=${HOSTS:-3}
PEER_PORT=7400

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
# Milliseconds of a clock that only goes forward.
now_ms() { local up rest; read -r up rest < /proc/uptime; up=${up/./}; echo "${up}0"; }
# Seconds with two digits since a now_ms value.
since() { local ms=$(($(now_ms) - $1)); printf '%d.%02d s' $((ms / 1000)) $((ms % 1000 / 10)); }

# --- what the machine must have --------------------------------------------------------------

require_root() {
    [ "$(id -u)" = 0 ] || fail "this needs root, for network namespaces, cgroups and mounts: sudo $0"
}

require_swift() {
    command -v swift > /dev/null || fail \
        "no Swift toolchain found: install Swift 6.2 or newer for Debian from https://www.swift.org/install/linux/ and put it on PATH"
}

# shellcheck disable=SC2034
PACKAGES="libuv1-dev libsodium-dev libsqlite3-dev libarchive-dev pkg-config crun runc conmon nftables
    iproute2 busybox-static jq curl util-linux procps ca-certificates git"
# What hosts and tests need for volumes.
VOLUME_PACKAGES="e2fsprogs xfsprogs lvm2 thin-provisioning-tools restic rsync bubblewrap"
PACKAGES="$PACKAGES $VOLUME_PACKAGES"

# Installs what is missing of the given Debian packages.
install_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' \
            || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return 0
    say "Installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local options=(-o DPkg::Lock::Timeout=300 -qq)
    apt-get "${options[@]}" install -y --no-install-recommends "${missing[@]}" > /dev/null 2>&1 \
        || { apt-get "${options[@]}" update \
            && apt-get "${options[@]}" install -y --no-install-recommends "${missing[@]}" > /dev/null; } \
        || fail "apt-get could not install: ${missing[*]}"
}

# Builds one or more products in release, with the Swift runtime inside.
build_release() {
    local product
    for product in "$@"; do
        (cd "$REPO" && swift build -c release --static-swift-stdlib --product "$product" 2>&1) \
            > "$REPO/.build/build-$product.log" || {
            tail -n 40 "$REPO/.build/build-$product.log" >&2
            fail "the build of $product failed; the whole output is in .build/build-$product.log"
        }
    done
}

# --- the image of the examples ---------------------------------------------------------------

# make_image FILE REFERENCE: an OCI image archive of Debian's static busybox.
make_image() {
    local file=$1 reference=$2 work applet
    work=$(mktemp -d)
    mkdir -p "$work/root/bin" "$work/root/www" "$work/root/tmp" "$work/root/etc"
    cp "$(command -v busybox)" "$work/root/bin/busybox"
    for applet in sh echo cat sleep httpd hostname nc dd wget head ls id kill env mount true yes; do
        ln -s busybox "$work/root/bin/$applet"
    done
    echo 'root:x:0:0:root:/:/bin/sh' > "$work/root/etc/passwd"
    tar --numeric-owner --owner=0 --group=0 --sort=name --mtime=@0 -C "$work/root" -cf "$work/layer.tar" .
    pack_image "$work/layer.tar" "$file" "$reference"
    rm -rf "$work"
}

# pack_image LAYER FILE REFERENCE: an OCI image archive of one layer, given as a tar.
pack_image() {
    local work layer size config manifest config_size manifest_size
    work=$(mktemp -d)
    mkdir -p "$work/oci/blobs/sha256"
    layer=$(sha256sum < "$1" | cut -d' ' -f1)
    size=$(stat -c %s "$1")
    cp "$1" "$work/oci/blobs/sha256/$layer"
    local architecture=amd64
    [ "$(uname -m)" = aarch64 ] && architecture=arm64
    printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sh"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$architecture" "$layer" > "$work/config"
    config=$(sha256sum < "$work/config" | cut -d' ' -f1)
    config_size=$(stat -c %s "$work/config")
    mv "$work/config" "$work/oci/blobs/sha256/$config"
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' \
        "$config" "$config_size" "$layer" "$size" > "$work/manifest"
    manifest=$(sha256sum < "$work/manifest" | cut -d' ' -f1)
    manifest_size=$(stat -c %s "$work/manifest")
    mv "$work/manifest" "$work/oci/blobs/sha256/$manifest"
    echo '{"imageLayoutVersion":"1.0.0"}' > "$work/oci/oci-layout"
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"%s"}}]}' \
        "$manifest" "$manifest_size" "$3" > "$work/oci/index.json"
    tar -C "$work/oci" -cf "$2" .
    rm -rf "$work"
}

# --- three hosts on one machine --------------------------------------------------------------

namespace() { echo "$CLUSTER-h$1"; }
host_address() { echo "10.77.0.$1"; }
in_host() { local host=$1; shift; nsenter "--net=/run/netns/$(namespace "$host")" -- "$@"; }
# shoal HOST ARGUMENTS...: the CLI against that host's socket.
shoal() { local host=$1; shift; SHOAL_SOCKET=$RUN/h$host.sock "$SHOAL" "$@"; }

make_network() {
    local host
    ip netns add "$CLUSTER-switch"
    ip -n "$CLUSTER-switch" link set lo up
    ip -n "$CLUSTER-switch" link add br0 type bridge forward_delay 0
    ip -n "$CLUSTER-switch" link set br0 up
    for host in $(seq "$HOSTS"); do
        ip netns add "$(namespace "$host")"
        ip -n "$(namespace "$host")" link set lo up
        ip -n "$CLUSTER-switch" link add "port$host" type veth \
            peer name uplink netns "$(namespace "$host")"
        ip -n "$CLUSTER-switch" link set "port$host" master br0 up
        ip -n "$(namespace "$host")" addr add "$(host_address "$host")/24" dev uplink
        ip -n "$(namespace "$host")" link set uplink up
    done
    mkdir -p "$RUN" "$DATA"
    chmod 755 "$RUN"
    chmod 700 "$DATA"
}

agent_flags() {
    local host=$1
    echo --name "h$host" --data "$DATA/h$host" \
        --socket "$RUN/h$host.sock" --address "$(host_address "$host"):$PEER_PORT" \
        --cgroup-root "$(namespace "$host")" --rack "r$host" --cpu 2 --memory 4Gi
}

# Makes the cluster on host 1; the token for the others goes into a file that only root reads.
init_cluster() {
    in_host 1 "$SHOAL" init --data "$DATA/h1" --address "$(host_address 1):$PEER_PORT" \
        > "$DATA/init.txt" || return 1
    (umask 077 && grep -o 'shoal1-[A-Za-z0-9_=-]*' "$DATA/init.txt" | head -n 1 > "$DATA/token")
}

# start_agent HOST: in the background, outside this script's session, so that Ctrl-C here does not
# end it behind our back.
start_agent() {
    local host=$1 join=()
    mkdir -p "$DATA/h$host" "$RUN/h$host"
    if [ "$host" != 1 ] && [ ! -e "$DATA/h$host/joined" ]; then
        join=(--join "$(host_address 1):$PEER_PORT" --token-file "$DATA/token")
        touch "$DATA/h$host/joined"
    fi
    # shellcheck disable=SC2046
    setsid nsenter "--net=/run/netns/$(namespace "$host")" -- \
        "$SHOAL" agent $(agent_flags "$host") "${join[@]}" \
        >> "$RUN/h$host.log" 2>&1 < /dev/null &
    echo $! > "$RUN/h$host.pid"
    disown
}

agent_pid() { cat "$RUN/h$1.pid" 2> /dev/null; }
agent_alive() { local pid; pid=$(agent_pid "$1") && [ -n "$pid" ] && ! process_ended "$pid"; }
# True also for a zombie whose threads are gone: how soon it is reaped is its parent's affair.
process_ended() {
    local threads=("/proc/$1/task"/*)
    [ -d "/proc/$1" ] || return 0
    [ ${#threads[@]} -le 1 ] && grep -q '^State:.Z' "/proc/$1/status" 2> /dev/null
}

# Every process that belongs to a host: what is in its cgroups, with the monitors of its containers
# and whatever tools the agent had started, which are in the agent's own.
host_pids() {
    local host=$1 root
    root=$(namespace "$host")
    {
        find /sys/fs/cgroup \( -path "*/$root/*" -o -path "*/$root-agent/*" \) -name cgroup.procs \
            -exec cat {} + 2> /dev/null
        find "$RUN/h$host" "$DATA/h$host" -name '*conmon*.pid' -exec cat {} + 2> /dev/null
    } | sort -un
}

# Ends the agent only, as a crash would.
kill_agent() {
    local pid
    pid=$(agent_pid "$1") || return 0
    kill -KILL "$pid" 2> /dev/null
    until process_ended "$pid"; do sleep 0.01; done
    return 0
}

# Ends the agent, the monitors and the containers, as pulling the plug would.
kill_host() {
    local pid
    kill_agent "$1"
    for _ in 1 2 3; do
        for pid in $(host_pids "$1"); do kill -KILL "$pid" 2> /dev/null; done
        sleep 0.05
    done
    return 0
}

# wait_for SECONDS DESCRIPTION COMMAND...: until the command succeeds.
wait_for() {
    local limit=$1 what=$2 start
    shift 2
    start=$(now_ms)
    until "$@" > /dev/null 2>&1; do
        [ $(($(now_ms) - start)) -lt $((limit * 1000)) ] || {
            printf 'error: waited %s s in vain for %s\n' "$limit" "$what" >&2
            return 1
        }
        sleep 0.05
    done
}

alive_hosts() { shoal "$1" hosts --json | jq '[.[] | select(.status == "alive")] | length'; }
sees_alive() { [ "$(alive_hosts "$1")" = "$2" ]; }
leaseholder() { shoal "$1" status --json | jq -r '.[0].leaseholder.name // empty'; }
# running_sets HOST SERVICE: how many sets of a service run, as that host knows.
running_sets() {
    shoal "$1" sets --json \
        | jq --arg service "$2" '[.[] | select(.service == $service and .phase == "running")] | length'
}
has_leaseholder() { [ -n "$(leaseholder "$1")" ]; }
has_no_sets() { shoal "$1" sets --json | jq -e --arg service "$2" 'all(.[]; .service != $service)'; }
has_running() { [ "$(running_sets "$1" "$2")" = "$3" ]; }
# has_running_away HOST SERVICE COUNT LOST: the same, and none on the host of that name.
has_running_away() {
    [ "$(shoal "$1" sets --json | jq --arg service "$2" --arg lost "$4" \
        '[.[] | select(.service == $service and .phase == "running" and .host != $lost)] | length')" = "$3" ]
}

# The namespaces of a host's sets, by the host's short name for what it makes in the kernel.
set_namespaces() { ip netns list | cut -d' ' -f1 | grep "^shoal-$1-"; }
# The hosts that cluster_down ended: leftovers looks for what is still theirs.
INSTANCES_ENDED=

# Ends and removes everything: processes, mounts, namespaces, cgroups, folders. Also when half of
# it was never made.
cluster_down() {
    local host path target namespace
    for host in $(seq "$HOSTS"); do kill_host "$host"; done
    grep -o " $DATA/[^ ]*" /proc/self/mounts | sort -r | while read -r target; do
        umount "$target" 2> /dev/null || umount -l "$target" 2> /dev/null
    done
    grep -o " $RUN/[^ ]*" /proc/self/mounts | sort -r | while read -r target; do
        umount "$target" 2> /dev/null || umount -l "$target" 2> /dev/null
    done
    for host in $(seq "$HOSTS"); do
        if [ -f "$DATA/h$host/instance" ]; then
            INSTANCES_ENDED+=" $(cat "$DATA/h$host/instance")"
            # A command that the killed agent had just started may still be adding one.
            for _ in 1 2 3; do
                set_namespaces "$(cat "$DATA/h$host/instance")" \
                    | while read -r namespace; do ip netns del "$namespace" 2> /dev/null; done
                sleep 0.1
            done
        fi
        ip netns del "$(namespace "$host")" 2> /dev/null
        find /sys/fs/cgroup -depth -type d -path "*/$(namespace "$host")*" 2> /dev/null \
            | while read -r path; do rmdir "$path" 2> /dev/null; done
    done
    ip netns del "$CLUSTER-switch" 2> /dev/null
    # Files of a full volume may be sealed.
    chattr -R -i "$DATA"/h*/volumes/data 2> /dev/null
    rm -rf "$RUN" "$DATA"
    return 0
}

# Who runs the cluster, outside what cluster_down removes: process id and start time, or "kept".
OWNER=$RUN.owner
# When a process started, in clock ticks since boot: with its id it is one process for ever.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d' ' -f20; }

# Makes this script the one that runs the cluster. Removes what a run left that was ended by force;
# fails when another one goes on, or a demo was kept.
claim_cluster() {
    local pid started
    if read -r pid started 2> /dev/null < "$OWNER"; then
        [ "$pid" != kept ] || [ ! -e "$RUN" ] || return 1
        [ "$pid" = kept ] || [ "$(started_at "$pid")" != "$started" ] || return 1
        if [ -e "$RUN" ] || [ -e "$DATA" ]; then
            say "Removing what an earlier run left, which was ended by force" >&2
            HOSTS=9 cluster_down
            INSTANCES_ENDED=
        fi
    elif [ -e "$RUN" ] || [ -e "$DATA" ]; then
        return 1
    fi
    echo "$$ $(started_at $$)" > "$OWNER"
}

keep_cluster() { echo kept > "$OWNER"; }
release_cluster() { rm -f "$OWNER"; }

# What a cluster of ours would leave behind, one a line; nothing when all is clean.
leftovers() {
    local instance
    ip netns list | cut -d' ' -f1 | grep -E "^$CLUSTER-(h[0-9]|switch)"
    for instance in $INSTANCES_ENDED; do set_namespaces "$instance"; done
    grep -oE " ($DATA|$RUN)/[^ ]*" /proc/self/mounts
    find /sys/fs/cgroup -maxdepth 3 -type d -name "$CLUSTER-h[0-9]" 2> /dev/null
    pgrep -fa "^$SHOAL agent .*$RUN" || true
    pgrep -fa "conmon .*($RUN|$DATA)" || true
}
