# `Tools/lab walls`: the table of walls in a machine with control groups version 2. Sourced by
# Tools/lab; the machine is that of `Tools/lab test`.
# shellcheck shell=bash

# How long all walls may take there, in seconds.
WALLS_SECONDS=420

lab_walls() {
    local program='' reason start words
    [ "${1:-}" = --program ] && [ $# -ge 2 ] || fail "walls needs --program FILE: see Tools/walls"
    program=$(realpath "$2") || exit 1
    shift 2
    [ -x "$program" ] || fail "there is no program $program"
    # shellcheck disable=SC2086 # a list
    [ "$(id -u)" != 0 ] || install_packages iproute2 util-linux $VOLUME_PACKAGES
    find_user_mode_kernel || { say "lab: skipped: $reason" >&2; exit 0; }
    trap end_test EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    test_run=$(mktemp -d "$LAB/walls.XXXXXX") || fail "cannot make a folder in $LAB"
    words=$(printf ' %q' "/run/lab/host$program" --walls "$@")
    printf '%s\0' /bin/sh -c "exec$words > /run/lab/out/table 2> /run/lab/out/errors" \
        > "$test_run/command"
    : > "$test_run/table"
    boot_test_machine
    start=$(now_ms)
    # Shows what the machine writes, until it says how it ended or is gone.
    # shellcheck disable=SC2154 # test.sh sets it
    tail -n +1 -f --pid="$test_pid" "$test_run/table" &
    while kill -0 "$test_pid" 2> /dev/null && [ ! -e "$test_run/status" ] \
        && [ ! -e "$test_run/obstacle" ] && [ $(($(now_ms) - start)) -lt $((WALLS_SECONDS * 1000)) ]; do
        sleep 0.2
    done
    # Lets `tail` come to the end of what is there.
    kill -KILL -- "-$test_pid" 2> /dev/null
    wait "$!" 2> /dev/null
    judge_walls
}

judge_walls() {
    local status=''
    if [ ! -s "$test_run/booted" ]; then
        say "lab: skipped: user-mode Linux does not boot here: $(grep -av '^[[:space:]]*$' "$test_run/console" | tail -n 1)" >&2
        exit 0
    fi
    if [ -s "$test_run/obstacle" ]; then
        say "lab: skipped: $(cat "$test_run/obstacle")" >&2
        exit 0
    fi
    [ ! -s "$test_run/errors" ] || cat "$test_run/errors" >&2
    [ ! -s "$test_run/status" ] || status=$(cat "$test_run/status")
    if [ -z "$status" ]; then
        tail -n 20 "$test_run/console" >&2
        fail "the machine gave no verdict within $WALLS_SECONDS s"
    fi
    exit "$status"
}
