# `Tools/lab up`, `sh`, `all`, `down` and `clean`: Debian machines on a bridge in one network
# namespace, so that this machine's own network is untouched. Sourced by Tools/lab.
#
# Each machine I has a folder $MACHINES/I: its overlay over the root image, its empty disk, its
# console and the id of its process, which leads a process group with all the machine's processes.
# shellcheck shell=bash

# With a LAB and a LAB_NAMESPACE of its own, a second group of machines may run beside the first.
NAMESPACE=${LAB_NAMESPACE:-shoal-lab}
MACHINES=$LAB/machines
MACHINES_MAX=50
DISK_SIZE=4G
# A read-only disk that all machines share, /dev/ubdc or /dev/vdc; empty for none.
SHARED_DISK=
# How long the slowest machine may take until it answers: systemd under emulation takes 30 s idle.
BOOT_SECONDS=180

machine_address() { echo "10.77.0.$1"; }
in_namespace() { nsenter "--net=/run/netns/$NAMESPACE" -- "$@"; }

# in_machine I [COMMAND...]: as root over ssh. The machines' keys change with the image, and nobody
# else is on their network.
in_machine() {
    local machine=$1
    shift
    in_namespace ssh -i "$CACHE/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o LogLevel=ERROR -o ConnectTimeout=5 "root@$(machine_address "$machine")" "$@"
}

# The numbers of the machines, one a line.
machines() {
    local folder
    for folder in "$MACHINES"/[0-9]*; do
        # User-mode Linux has folders there for a moment whose names begin with anything.
        [ -d "$folder" ] && [[ ${folder##*/} =~ ^[0-9]+$ ]] && echo "${folder##*/}"
    done | sort -n
}

lab_up() {
    local engine=uml memory=512 init=/usr/sbin/lab-init option
    OPTIND=1
    while getopts e:m:s option; do
        case $option in
            e) engine=$OPTARG ;;
            m) memory=$OPTARG ;;
            s) init=/lib/systemd/systemd ;;
            *) exit 2 ;;
        esac
    done
    shift $((OPTIND - 1))
    [[ $engine =~ ^(uml|qemu)$ ]] || fail "-e takes uml or qemu: $engine"
    [[ $memory =~ ^[1-9][0-9]{1,5}$ ]] || fail "-m takes a number of MiB: $memory"
    [[ ${1:-} =~ ^[1-9][0-9]?$ && $1 -le $MACHINES_MAX ]] \
        || fail "up takes a number of machines from 1 to $MACHINES_MAX: Tools/lab up 3"
    require_root
    prepare_image "$engine"
    mkdir "$MACHINES" 2> /dev/null || fail "machines run already: Tools/lab down ends them"
    trap 'end_machines; say "error: the machines did not come up and are removed" >&2' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    bring_up "$1" "$engine" "$memory" "$init"
    trap - EXIT
}

# bring_up COUNT ENGINE MEMORY INIT: boots machines and waits for them; $MACHINES is there.
bring_up() {
    local count=$1 machine start
    shift
    start=$(now_ms)
    make_segment || fail "the network namespace $NAMESPACE could not be made"
    for machine in $(seq "$count"); do
        make_machine "$machine" "$1" && boot_machine "$machine" "$@" \
            || fail "machine $machine could not be started"
    done
    for machine in $(seq "$count"); do
        wait_for_machine "$machine"
        say "machine $machine answers at $(machine_address "$machine") after $(since "$start")"
    done
}

make_segment() {
    ip netns add "$NAMESPACE" && ip -n "$NAMESPACE" link set lo up \
        && ip -n "$NAMESPACE" link add br0 type bridge forward_delay 0 \
        && ip -n "$NAMESPACE" addr add 10.77.0.254/24 dev br0 \
        && ip -n "$NAMESPACE" link set br0 up
}

# make_machine I ENGINE: its folder, its disk and its port.
make_machine() {
    local machine=$1 folder=$MACHINES/$1
    mkdir "$folder" && truncate -s "$DISK_SIZE" "$folder/disk" \
        && ip -n "$NAMESPACE" tuntap add dev "tap$machine" mode tap \
        && ip -n "$NAMESPACE" link set "tap$machine" master br0 up || return 1
    [ "$2" != qemu ] \
        || qemu-img create -q -f qcow2 -b "$CACHE/qemu.ext4" -F raw "$folder/overlay"
}

# boot_machine I ENGINE MEMORY INIT: also after the machine was killed; its disks are as they were.
boot_machine() {
    local machine=$1 engine=$2 memory=$3 folder=$MACHINES/$1 shared=()
    local arguments=("lab.machine=$machine" "init=$4" rw mitigations=off quiet)
    rm -f "$folder/pid"
    ulimit -c 0
    if [ "$engine" = uml ]; then
        [ -z "$SHARED_DISK" ] || shared=("ubd2r=$SHARED_DISK")
        TMPDIR=$(memory_folder "$memory") in_own_group "$folder" "$USER_MODE_KERNEL" \
            "mem=${memory}M" "umid=$machine" "uml_dir=$MACHINES/" \
            "ubd0=$folder/overlay,$CACHE/uml.ext4" "ubd1=$folder/disk" "${shared[@]}" \
            root=/dev/ubda rootfstype=ext4 "vec0:transport=tap,ifname=tap$machine,depth=64,gro=1" \
            con=null con0=null,fd:1 ssl=null "${arguments[@]}"
    else
        [ -z "$SHARED_DISK" ] \
            || shared=(-drive "if=virtio,file=$SHARED_DISK,format=raw,readonly=on,cache=unsafe")
        in_own_group "$folder" qemu-system-x86_64 -name "lab$machine" -nodefaults \
            -no-user-config -display none -no-reboot -M pc -cpu qemu64 -smp "${SMP:-1}" \
            -accel tcg,thread=multi,tb-size=256 -m "$memory" -kernel "$CLOUD_KERNEL" \
            -initrd "$CACHE/cloud-start.gz" \
            -append "console=ttyS0 panic=-1 no_timer_check ${arguments[*]}" \
            -drive "if=virtio,file=$folder/overlay,format=qcow2,cache=unsafe" \
            -drive "if=virtio,file=$folder/disk,format=raw,cache=unsafe" "${shared[@]}" \
            -netdev "tap,id=net,ifname=tap$machine,script=no,downscript=no" \
            -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci -serial stdio
    fi
}

# in_own_group FOLDER COMMAND...: in the namespace and the background, as leader of a session, with
# its id in FOLDER/pid and its output in FOLDER/console.
in_own_group() {
    local folder=$1
    shift
    # shellcheck disable=SC2016
    setsid nsenter "--net=/run/netns/$NAMESPACE" -- \
        sh -c 'echo $$ > "$1/pid"; shift; exec "$@"' sh "$folder" "$@" \
        < /dev/null > "$folder/console" 2>&1 &
    disown
    wait_for 5 "the process of $folder" test -s "$folder/pid"
}

wait_for_machine() {
    local machine=$1 folder=$MACHINES/$1 start
    start=$(now_ms)
    # In a subshell, or what a signal makes this one say would go to /dev/null too.
    until (in_machine "$machine" true) < /dev/null > /dev/null 2>&1; do
        if ! machine_alive "$machine" || [ $(($(now_ms) - start)) -gt $((BOOT_SECONDS * 1000)) ]; then
            tail -n 5 "$folder/console" >&2
            fail "machine $machine does not answer; the lines above are the last of its console"
        fi
        sleep 0.2
    done
}

# The id of a machine's process, if that is still the machine and not another with its number.
machine_pid() {
    local pid
    pid=$(cat "$MACHINES/$1/pid" 2> /dev/null) && [ -n "$pid" ] || return 1
    tr '\0' ' ' 2> /dev/null < "/proc/$pid/cmdline" | grep -qF "$MACHINES/$1/" && echo "$pid"
}
machine_alive() { machine_pid "$1" > /dev/null; }

lab_sh() {
    [ $# -ge 1 ] || fail "sh needs the number of a machine: Tools/lab sh 1 uname -r"
    require_root
    [[ $1 =~ ^[0-9]+$ && -d $MACHINES/$1 ]] || fail "there is no machine $1: Tools/lab up starts some"
    in_machine "$@"
}

# The output of each machine's command, each line after the machine's number; fails when one failed.
lab_all() {
    local machine pid pids=() result=0
    [ $# -ge 1 ] || fail "all needs a command: Tools/lab all uname -r"
    require_root
    [ -n "$(machines)" ] || fail "no machine runs: Tools/lab up starts some"
    for machine in $(machines); do
        in_machine "$machine" "$@" < /dev/null 2>&1 | sed "s/^/$machine: /" &
        pids+=($!)
    done
    # With pipefail the status of such a job is that of the command.
    for pid in "${pids[@]}"; do wait "$pid" || result=1; done
    return "$result"
}

lab_down() {
    require_root
    end_machines
}

lab_clean() {
    [ ! -d "$MACHINES" ] || lab_down
    with_cache_lock rm -rf "$CACHE"
    rmdir "$LAB" 2> /dev/null || say "kept $LAB: it holds what is not ours or in use"
}

# Ends all machines and removes what `up` made, also when half of it was never made.
end_machines() {
    local machine
    for machine in $(machines); do kill_machine "$machine" TERM; done
    for machine in $(machines); do
        wait_for 3 "machine $machine to end" machine_gone "$machine" 2> /dev/null \
            || kill_machine "$machine" KILL
    done
    [ ! -e "/run/netns/$NAMESPACE" ] || ip netns del "$NAMESPACE"
    rm -rf "$MACHINES"
}

# kill_machine I SIGNAL: the machine and its processes, which are processes of the host.
kill_machine() {
    local pid
    pid=$(machine_pid "$1") && kill "-$2" -- "-$pid" 2> /dev/null
    return 0
}
machine_gone() { ! machine_alive "$1"; }
