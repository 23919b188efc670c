# `Tools/lab cluster`: three machines with kernels of their own, each with the built program, a thin
# pool and a data disk, go through Tests/EndToEnd/machines.sh. Sourced by Tools/lab.
# shellcheck shell=bash

# What the machines have of us, on a disk that they share: the program, the libraries that it was
# linked with, and the example image.
SHARE=$MACHINES/share
# Where they mount it.
GUEST_SHARE=/opt/shoal
GUEST_SOCKET=/run/shoal.sock
GUEST_LOG=/var/log/shoal.log
# MiB for each machine.
CLUSTER_MEMORY=640
# Whether the machines stay up.
CLUSTER_KEPT=

lab_cluster() {
    local engine=uml program='' length=short machine
    while [ $# -gt 0 ]; do
        case $1 in
            --long) length=long; shift; continue ;;
            --keep) CLUSTER_KEPT=yes; shift; continue ;;
            --engine | --program) [ $# -ge 2 ] || fail "$1 needs a value" ;;
            *) fail "cluster does not know $1: see Tools/lab --help" ;;
        esac
        case $1 in
            --engine) engine=$2 ;;
            --program) program=$2 ;;
        esac
        shift 2
    done
    [[ $engine =~ ^(uml|qemu)$ ]] || fail "--engine takes uml or qemu: $engine"
    program=$(find_program "$program") || exit 1
    [ "$(id -u)" = 0 ] || { say "lab: skipped: three machines need root, for their network"; exit 0; }
    cluster_obstacle "$engine"
    (prepare_image "$engine") \
        || { say "lab: skipped: the machines' image could not be made, as the lines above say"; exit 0; }
    # Once more, for what it knows afterwards.
    prepare_image "$engine"
    claim_machines
    trap end_cluster EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    WORK=$MACHINES/work
    mkdir "$WORK" || fail "cannot make a folder in $MACHINES"
    make_share "$program"
    # shellcheck disable=SC2034 # machines.sh boots with it.
    SHARED_DISK=$SHARE.ext4
    ENGINE=$engine
    PROGRAM=$program
    bring_up_or_skip
    for machine in 1 2 3; do open_connection "$machine"; done
    run_machines "$length"
}

# Three machines that answer. Where no kernel of them comes as far as its first process, this machine
# cannot have them; what goes wrong later is a failure.
bring_up_or_skip() {
    local reason
    (bring_up 3 "$ENGINE" "$CLUSTER_MEMORY" /usr/sbin/lab-init) 2> "$WORK/errors" && return 0
    if grep -qs 'lab: first process' "$MACHINES"/[0-9]*/console; then
        cat "$WORK/errors" >&2
        exit 1
    fi
    reason=$(cat "$MACHINES"/[0-9]*/console 2> /dev/null | tr -d '\r' | grep -v '^[[:space:]]*$' | tail -n 1)
    say "lab: skipped: no machines boot here ($ENGINE): ${reason:-$(tail -n 1 "$WORK/errors")}"
    exit 0
}

# Makes the folder of the machines ours. What a run left that was ended by force is removed; machines of
# `up`, those that were kept and those of a run that goes on are not.
claim_machines() {
    local pid started
    if read -r pid started 2> /dev/null < "$MACHINES/owner" && [ "$(started_at "$pid")" != "$started" ]; then
        say "Removing the machines of an earlier run, which was ended by force"
        end_machines
    fi
    mkdir "$MACHINES" 2> /dev/null || fail "machines run already: Tools/lab down ends them"
    echo "$$ $(started_at $$)" > "$MACHINES/owner"
}

# Says why there will be no machines, and ends with 0: not every machine can emulate others.
cluster_obstacle() {
    local reason=''
    if ! command -v apt-get > /dev/null || [ "$(dpkg --print-architecture)" != amd64 ]; then
        reason="the machines are made of Debian's packages for amd64"
    elif [ ! -c /dev/net/tun ]; then
        reason="this machine has no /dev/net/tun for the machines' network"
    elif [ "$1" = uml ]; then
        find_user_mode_kernel || true
    fi
    [ -z "$reason" ] || { say "lab: skipped: $reason"; exit 0; }
}

# The program for the machines: the one that is named, or the newest that was built.
find_program() {
    local path newest=''
    if [ -n "$1" ]; then
        [ -x "$1" ] || fail "there is no program $1"
        realpath "$1"
        return
    fi
    for path in "$REPO/.build/release/shoal" "$REPO/.build/debug/shoal"; do
        [ -x "$path" ] && { [ -z "$newest" ] || [ "$path" -nt "$newest" ]; } && newest=$path
    done
    [ -n "$newest" ] || fail "shoal is not built: swift build --product shoal, or name it with --program"
    realpath "$newest"
}

# make_share PROGRAM: the shared disk.
make_share() {
    local size
    mkdir -p "$SHARE/lib"
    install_packages busybox-static binutils
    # Without what only a debugger reads.
    strip -o "$SHARE/shoal" "$1" 2> /dev/null || cp "$1" "$SHARE/shoal"
    # The machines have this machine's C library, being of the same release.
    ldd "$1" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' \
        | grep -vE '/(libc|libm|libpthread|libdl|librt|libresolv)\.so' \
        | while read -r size; do cp -L "$size" "$SHARE/lib/"; done
    make_image "$SHARE/web.tar" demo/web:1
    size=$(du -sm "$SHARE" | cut -f1)
    truncate -s "$((size * 5 / 4 + 16))M" "$SHARE.ext4" \
        && mke2fs -q -t ext4 -O ^has_journal -d "$SHARE" "$SHARE.ext4" \
        || fail "the disk with the program could not be made"
}

end_cluster() {
    local code=$? machine
    trap - EXIT
    if [ -n "$CLUSTER_KEPT" ]; then
        rm -f "$MACHINES/owner"
        say "kept: Tools/lab sh 1 shoal status; Tools/lab down ends the machines"
        exit "$code"
    fi
    for machine in $(machines); do close_connection "$machine"; done
    end_machines
    exit "$code"
}

# --- a machine as a host ----------------------------------------------------------------------

# One connection for all commands, since making one takes such a machine half a second; with a socket
# here that leads to the agent's there.
open_connection() {
    rm -f "$MACHINES/$1"/{ssh,socket}
    connect "$1" -o ControlMaster=yes -o ExitOnForwardFailure=yes \
        -L "$MACHINES/$1/socket:$GUEST_SOCKET" -fN "root@$(machine_address "$1")" > /dev/null 2>&1 < /dev/null
}
# connect I ARGUMENTS...: ssh over the connection, or over one of its own where there is none.
connect() {
    local machine=$1
    shift
    # No command of a check may hang.
    timeout "${ON_SECONDS:-90}" nsenter "--net=/run/netns/$NAMESPACE" -- \
        ssh -i "$CACHE/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR -o ConnectTimeout=5 -o "ControlPath=$MACHINES/$machine/ssh" \
        -o ServerAliveInterval=5 -o ServerAliveCountMax=2 "$@"
}

close_connection() {
    [ ! -S "$MACHINES/$1/ssh" ] \
        || timeout 5 ssh -o "ControlPath=$MACHINES/$1/ssh" -O exit "root@$(machine_address "$1")" \
            > /dev/null 2>&1
    rm -f "$MACHINES/$1/ssh"
}

# on I COMMAND...: the words reach the machine as they are.
on() {
    local machine=$1 words
    shift
    printf -v words '%q ' "$@"
    connect "$machine" "root@$(machine_address "$machine")" "$words"
}

# The disk that is the machine's own, and the shared one.
own_disk() { [ "$ENGINE" = uml ] && echo /dev/ubdb || echo /dev/vdb; }
shared_disk() { [ "$ENGINE" = uml ] && echo /dev/ubdc || echo /dev/vdc; }

# all_machines COMMAND: COMMAND I for all three at once; fails when one did.
all_machines() {
    local machine pid pids=() result=0
    for machine in 1 2 3; do
        "$1" "$machine" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || result=1; done
    return "$result"
}

# Once: a volume group with a file system for the agent's data, and a thin pool. The machines have
# no udev.
prepare_host() {
    on "$1" bash --norc -euc '
        modprobe -q dm-thin-pool || true
        lvm() { command lvm "$1" --config "activation{udev_sync=0 udev_rules=0}" "${@:2}" > /dev/null; }
        export LVM_SUPPRESS_FD_WARNINGS=1
        lvm pvcreate --yes "$1"
        lvm vgcreate shoal "$1"
        lvm lvcreate --yes --size 1g --name data shoal
        lvm lvcreate --yes --type thin-pool --size 2g --poolmetadatasize 16m --name pool shoal
        lvm lvchange --yes --errorwhenfull y shoal/pool
        mkfs.ext4 -q /dev/shoal/data
        cat > /usr/local/bin/shoal << END
#!/bin/sh
LD_LIBRARY_PATH='"$GUEST_SHARE"'/lib SHOAL_SOCKET='"$GUEST_SOCKET"' exec '"$GUEST_SHARE"'/shoal "\$@"
END
        chmod 755 /usr/local/bin/shoal
        sync
    ' prepare "$(own_disk)"
}

# After every boot.
mount_host() {
    on "$1" bash --norc -euc '
        for module in dm-thin-pool loop overlay bridge br_netfilter veth ifb nf_nat nft_chain_nat \
            nft_masq nft_fib_ipv4 nft_numgen sch_htb cls_u32 act_mirred sch_netem; do
            modprobe -q "$module" || true
        done
        lvm vgchange --config "activation{udev_sync=0 udev_rules=0}" --activate y shoal > /dev/null
        mkdir -p /var/lib/shoal '"$GUEST_SHARE"'
        mount /dev/shoal/data /var/lib/shoal
        mount -o ro,noatime "$1" '"$GUEST_SHARE"'
        echo h"$2" > /etc/hostname
        hostname h"$2"
    ' mount "$(shared_disk)" "$1"
}

# start_agent I: as `shoal agent` of that machine; the first start joins.
start_agent() {
    on "$1" bash --norc -euc '
        join=
        if [ "$1" != 1 ] && [ ! -e /var/lib/shoal/log.sqlite ]; then
            join="--join $2 --token-file /run/token"
        fi
        setsid -f shoal agent --name "h$1" --address "$3" --rack "r$1" \
            --socket '"$GUEST_SOCKET"' --thin-pool shoal/pool --keep-deleted 1h $join \
            >> '"$GUEST_LOG"' 2>&1 < /dev/null
    ' agent "$1" "$(machine_address 1):$PEER_PORT" "$(machine_address "$1"):$PEER_PORT"
}

# shoal I ARGUMENTS...: the program here, asking the agent of that machine: starting it there takes long.
shoal() {
    local machine=$1
    shift
    SHOAL_SOCKET=$MACHINES/$machine/socket timeout 60 "$PROGRAM" "$@"
}

# Pulls the plug: SIGKILL for all processes of a machine. Its disks stay.
kill_host() {
    close_connection "$1"
    kill_machine "$1" KILL
    wait_for 10 "the end of machine $1" machine_gone "$1"
}

# The plug goes in again.
boot_host() {
    boot_machine "$1" "$ENGINE" "$CLUSTER_MEMORY" /usr/sbin/lab-init || fail "machine $1 could not be started"
    wait_for_machine "$1"
    open_connection "$1"
    mount_host "$1"
    start_agent "$1"
}

# The checks of Tests/EndToEnd, which speak of hosts, against machines.
run_machines() {
    local length=$1 start status=0 machine_commands
    start=$(now_ms)
    # checks.sh has a function of that name.
    machine_commands=$(declare -f shoal)
    (
        set -u
        trap end_helpers EXIT
        trap 'exit 130' INT TERM HUP
        # shellcheck disable=SC2034 # the scenario looks at it.
        RUN_LENGTH=$length
        # shellcheck disable=SC1090,SC1091
        . <(sed '/^\. /d' "$REPO/Tests/EndToEnd/checks.sh")
        # What checks of hosts call, for machines.
        eval "$machine_commands"
        in_host() { on "$@"; }
        # shellcheck disable=SC1091
        . "$REPO/Tests/EndToEnd/machines.sh"
    ) < /dev/null || status=$?
    case $status in 130 | 143) exit "$status" ;; esac
    if [ "$status" != 0 ]; then
        say "lab: FAILED machines: $(cat "$WORK/failure" 2> /dev/null || echo "exit $status")"
        keep_machine_traces
    fi
    [ ! -e "$WORK/skipped" ] || sed 's/^/lab: skipped: /' "$WORK/skipped"
    [ "$status" = 0 ] || exit 1
    say "lab: three machines ($ENGINE) hold what they promise ($(since "$start"))"
}

# What the machines said, for reading.
keep_machine_traces() {
    local machine folder=$REPO/.build/machines
    rm -rf "$folder"
    mkdir -p "$folder"
    for machine in $(machines); do
        cp "$MACHINES/$machine/console" "$folder/h$machine.console"
        machine_alive "$machine" || continue
        on "$machine" cat "$GUEST_LOG" > "$folder/h$machine.log" 2>&1
        on "$machine" dmesg > "$folder/h$machine.kernel" 2>&1
        for what in status hosts sets volumes events; do
            shoal "$machine" "$what" > "$folder/h$machine.$what" 2>&1
        done
    done
    say "  logs and listings: $folder"
}
