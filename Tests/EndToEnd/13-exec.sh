# A command of exec ends when who asked for it is gone, here or elsewhere, whatever it does about it; its code is a shell's.
# shellcheck shell=bash

expect "apply" shoal 1 apply -f "$REPO/Config/examples/web.yaml" --wait

# What runs in a container beside its own program, as the kernel has it, and the runtime's own side.
inside() {
    local host=$1 slot=$2 pid
    while read -r pid; do
        tr '\0' ' ' < "/proc/$pid/cmdline"
        echo
    done < "$(pids_mount)/$(namespace "$host")/$slot/app/cgroup.procs" 2> /dev/null | grep -v '^httpd '
    pgrep -fa -- "exec --pid-file.* --process .* $(cat "$DATA/h$host/instance")-$slot-app$"
}
runs_inside() { [[ $(inside "$1" "$2") == *$3* ]]; }
nothing_inside() { local found; found=$(inside "$1" "$2"); [ -z "$found" ] || { echo "$found"; return 1; }; }

# gone_with_asker WHAT HOST ASKED SLOT INPUT COMMAND...: the command's last word is looked for inside.
gone_with_asker() {
    local what=$1 host=$2 asked=$3 slot=$4 input=$5 asker
    shift 5
    "$SHOAL" exec --socket "$RUN/h$asked.sock" "$slot" -- "$@" < "$input" > /dev/null 2>&1 &
    asker=$!
    HELPERS+=("$asker")
    eventually 5 "$what runs" runs_inside "$host" "$slot" "${*: -1}"
    kill -KILL "$asker"
    wait "$asker" 2> /dev/null
    eventually 5 "$what ends with its asker" nothing_inside "$host" "$slot"
}

# An input that stays open and says nothing.
mkfifo "$WORK/open"
exec 9<> "$WORK/open"
deaf='trap "" TERM HUP INT PIPE; (while :; do sleep 1; done); : deaf'
for asked in 1 2; do
    for host in 1 2; do
        [ "$host" = "$asked" ] && where="on the asked host" || where="on another host"
        slot=$(slots_on "$host" | head -n 1)
        gone_with_asker "a command $where" "$host" "$asked" "$slot" /dev/null sleep 86391
        gone_with_asker "a command $where that reads" "$host" "$asked" "$slot" "$WORK/open" \
            sh -c 'cat; : reader'
        gone_with_asker "a command $where that writes" "$host" "$asked" "$slot" /dev/null \
            sh -c 'while echo word; do sleep 0.01; done; : writer'
        gone_with_asker "a command $where whose input backs up" "$host" "$asked" "$slot" \
            /dev/zero sleep 86391
        gone_with_asker "a command $where that ignores signals" "$host" "$asked" "$slot" \
            /dev/null sh -c "$deaf"
    done
done
expect_equal "restarts after all that" 0 "$(shoal 1 sets web --json | jq '[.[].containers[].restarts] | add')"

# --- input, codes, refusals -------------------------------------------------------------------
# code_of COMMAND...: how exec ends, and what it says.
code_of() {
    local code=0
    "$@" > "$WORK/said" 2>&1 || code=$?
    echo "$code"
}
for asked in 1 2; do
    slot=$(slots_on 1 | head -n 1)
    expect_equal "code with a closed input, by way of h$asked" 0 \
        "$(code_of shoal "$asked" exec "$slot" -- cat <&-)"
    expect_equal "words with a closed input, by way of h$asked" "" "$(cat "$WORK/said")"
    expect_equal "code of a missing command, by way of h$asked" 127 \
        "$(code_of shoal "$asked" exec -n "$slot" -- nosuchprogram)"
    expect_match "words for it" 'nosuchprogram' "$(cat "$WORK/said")"
    expect_equal "code of a file that is no program, by way of h$asked" 126 \
        "$(code_of shoal "$asked" exec -n "$slot" -- /etc/passwd)"
    expect_equal "code of a command that ends with 255, by way of h$asked" 255 \
        "$(code_of shoal "$asked" exec -n "$slot" -- sh -c 'exit 255')"
    expect_equal "code of a command that a signal ends, by way of h$asked" 143 \
        "$(code_of shoal "$asked" exec -n "$slot" -- sh -c 'kill -TERM $$')"
    refused "an empty command, by way of h$asked" 64 'name the command after --' \
        shoal "$asked" exec -n "$slot" -- ''
    refused "a container that the set does not have, by way of h$asked" 1 \
        "$slot has no container other: it has app" shoal "$asked" exec -n "$slot" -c other -- ls
    refused "the log of one, by way of h$asked" 1 \
        "$slot has no container other: it has app" shoal "$asked" logs "$slot/other"
done
expect "delete" shoal 1 delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
