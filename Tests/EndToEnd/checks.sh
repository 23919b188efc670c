# What the end-to-end scenarios are written with. Sourced by run, never run; WORK is a folder for
# whatever they write, and INSTANCES a file that collects what hosts call their things.
# shellcheck shell=bash disable=SC2153
# shellcheck source=Tools/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../Tools/cluster.sh"

# The CLI never hangs a scenario.
shoal() { local host=$1; shift; SHOAL_SOCKET=$RUN/h$host.sock timeout 60 "$SHOAL" "$@"; }

# --- the outcome of a check -------------------------------------------------------------------

# failed WHAT EXPECTED GOT: ends the scenario.
failed() {
    printf '%s; expected %s, got %s\n' "$1" "$2" "$3" > "$WORK/failure"
    exit 1
}

# skipped WHAT WHY: says what this machine did not let us check.
skipped() { printf '%s: %s\n' "$1" "$2" >> "$WORK/skipped"; }

# measured WHAT FIGURE: tells what the machine took.
measured() { printf '%s: %s\n' "$1" "$2" >> "$WORK/measured"; }

# expect WHAT COMMAND...: the command succeeds.
expect() {
    local what=$1 output
    shift
    output=$("$@" 2>&1) || failed "$what" "success of: $*" "exit $? ${output:0:600}"
}

expect_equal() { [ "$2" = "$3" ] || failed "$1" "$2" "$3"; }

# expect_between WHAT LOW HIGH VALUE: whole numbers, both ends included.
expect_between() {
    { [ "$4" -ge "$2" ] && [ "$4" -le "$3" ]; } 2> /dev/null || failed "$1" "$2 to $3" "$4"
}

# expect_near WHAT VALUE MEASURED: within 15 %.
expect_near() { expect_between "$1 (within 15 %)" $(($2 * 85 / 100)) $(($2 * 115 / 100)) "$3"; }

expect_match() { [[ $3 =~ $2 ]] || failed "$1" "text like: $2" "${3:0:600}"; }

# eventually SECONDS WHAT COMMAND...: the command succeeds in time.
eventually() {
    local limit=$1 what=$2 start
    shift 2
    start=$(now_ms)
    until "$@" > "$WORK/last-try" 2>&1; do
        [ $(($(now_ms) - start)) -lt $((limit * 1000)) ] \
            || failed "$what" "within $limit s: $*" "not: $(head -c 600 "$WORK/last-try")"
        sleep 0.05
    done
}

# refused WHAT CODE PATTERN COMMAND...: the command fails with that exit code and says why in a few
# lines, one of which matches the pattern. REFUSALS names a file that collects them for reading.
refused() {
    local what=$1 code=$2 pattern=$3 output got=0 answer=$WORK/answer-$BASHPID
    shift 3
    output=$("$@" 2>&1 > "$answer") || got=$?
    [ -z "${REFUSALS:-}" ] || printf -- '--- %s\n%s\n' "$what" "$output" >> "$REFUSALS"
    [ "$got" = "$code" ] \
        || failed "$what" "exit $code" "exit $got: ${output:0:600}$(head -c 300 "$answer")"
    [[ $output =~ $pattern ]] || failed "$what" "a sentence like: $pattern" "${output:0:600}"
    [ "$(wc -l <<< "$output")" -le 6 ] || failed "$what" "a few lines" "${output:0:2000}"
    [ ! -s "$answer" ] \
        || failed "$what" "nothing on standard output" "$(head -c 300 "$answer")"
}

# --- processes a scenario starts --------------------------------------------------------------

# How many times longer than promised things may take; more than 1 only in emulated machines.
SLOWNESS=${SLOWNESS:-1}

HELPERS=()
# helper COMMAND...: runs it in the background until the scenario ends; HELPER is its process.
helper() {
    "$@" < /dev/null &
    HELPER=$!
    HELPERS+=("$HELPER")
}

# kill_tree PID: the process and all it started, from the root down so that none starts another.
kill_tree() {
    local child children
    children=$(pgrep -P "$1")
    kill -KILL "$1"
    for child in $children; do kill_tree "$child"; done
}

end_helpers() {
    local pid
    for pid in "${HELPERS[@]}"; do kill_tree "$pid"; done 2> /dev/null
    wait
}

# --- the cluster ------------------------------------------------------------------------------

all_see_three() { local host; for host in 1 2 3; do sees_alive "$host" 3 || return 1; done; }
agree_on_leaseholder() {
    local one
    one=$(leaseholder 1)
    [ -n "$one" ] && [ "$(leaseholder 2)" = "$one" ] && [ "$(leaseholder 3)" = "$one" ]
}
agents_alive() { agent_alive 1 && agent_alive 2 && agent_alive 3; }

# A number of the host that does (not) hold the lease.
lease_number() { local name; name=$(leaseholder "$1"); echo "${name#h}"; }
follower_number() {
    local holder host
    holder=$(lease_number 1)
    for host in 3 2 1; do [ "$host" != "$holder" ] && echo "$host" && return; done
}

# Three agents that know each other, with the example image, and no services: makes them if there
# are none, or if the last scenario left them in another state.
ensure_cluster() {
    if [ -e "$RUN" ] && agents_alive && all_see_three && agree_on_leaseholder && no_services; then
        return 0
    fi
    cluster_up
    make_image "$WORK/web.tar" demo/web:1
    expect "loading the example image" shoal 1 image load "$WORK/web.tar"
}

cluster_up() {
    local host
    note_instances
    cluster_down_all
    make_network || failed "the network of three hosts" made "an error"
    # A scenario may give hosts disks of their own.
    if declare -F make_disks > /dev/null; then make_disks; fi
    init_cluster || failed "shoal init" "exit 0" "$(cat "$DATA/init.txt")"
    for host in 1 2 3; do start_agent "$host"; done
    eventually 20 "three hosts see each other" all_see_three
    eventually 20 "one leaseholder" agree_on_leaseholder
    eventually 20 "three voters" has_voters 3
}

has_voters() { [ "$(shoal 1 status --json | jq '.[0].voters | length')" = "$1" ]; }

no_services() {
    local name
    for name in $(shoal 1 services --json | jq -r '.[].name'); do
        shoal 1 delete "$name" --yes > /dev/null || return 1
    done
    wait_for 20 "no sets" nothing_runs
}
nothing_runs() { [ "$(all_containers)" = "" ]; }

# An agent beside the three, and its number for kill_agent and cluster_down.
EXTRA_HOST=4
cluster_down_all() { HOSTS=$EXTRA_HOST cluster_down; }

# apply_text HOST [FLAG...]: the service on standard input.
apply_text() { local host=$1; shift; cat > "$WORK/service.yaml"; shoal "$host" apply -f "$WORK/service.yaml" "$@"; }

# --- what runs --------------------------------------------------------------------------------

# set_field SLOT JQ: of a set as h1 (or HOST_ASKED) knows it.
set_field() {
    shoal "${HOST_ASKED:-1}" sets --json | jq -r --arg slot "$1" ".[] | select(.slot == \$slot) | $2"
}
container_field() { set_field "$1" ".containers[0]$2"; }
host_of() { local name; name=$(set_field "$1" .host); echo "${name#h}"; }
slots_on() { shoal "${2:-1}" sets --json | jq -r --arg host "h$1" '.[] | select(.host == $host) | .slot'; }

# slots_and_pids [HOST ASKED]: one line a running set.
slots_and_pids() {
    shoal "${1:-1}" sets --json \
        | jq -r '.[] | select(.phase == "running") | "\(.slot) \(.host) \(.containers[0].pid)"' | sort
}

# The pids cgroup exists once per container on both versions.
pids_mount() {
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup; else cgroup_mount pids; fi
}
cgroup_mount() {
    [ -e /sys/fs/cgroup/cgroup.controllers ] && { echo /sys/fs/cgroup; return; }
    awk -v name="$1" '$3 == "cgroup" && ("," $4 ",") ~ ("," name ",") { print $2; exit }' /proc/self/mounts
}
cgroups_are_v2() { [ -e /sys/fs/cgroup/cgroup.controllers ]; }

# cgroup_file HOST SLOT[/CONTAINER] V1CONTROLLER V1FILE V2FILE: its text.
cgroup_file() {
    local file=$4
    if cgroups_are_v2; then file=$5; fi
    cat "$(cgroup_mount "$3")/$(namespace "$1")/$2/$file"
}

# Every container there is on the three hosts, as the kernel has them: "HOST SLOT" a line.
all_containers() {
    local host path
    for host in 1 2 3; do
        for path in "$(pids_mount)/$(namespace "$host")"/*/*/cgroup.procs; do
            [ -s "$path" ] || [ -n "$(cat "$path" 2> /dev/null)" ] || continue
            path=${path%/*/cgroup.procs}
            echo "h$host ${path##*/}"
        done
    done | sort
}
containers_are() { [ "$(all_containers | grep -c " $1\\.")" = "$2" ]; }

# The kernel and the log agree: exactly COUNT sets of SERVICE, each once, where the log has them.
exactly_as_told() {
    local asked=$1 service=$2 count=$3 told
    has_running "$asked" "$service" "$count" || return 1
    told=$(shoal "$asked" sets "$service" --json | jq -r '.[] | "\(.host) \(.slot)"' | sort)
    [ "$(all_containers | grep " $service\\.")" = "$told" ] && return
    printf 'told:\n%s\nthere:\n%s\n' "$told" "$(all_containers)"
    return 1
}

# Nothing of a slot on a host: no cgroup, mount, namespace, record.
no_trace_of() {
    local host=$1 slot=$2 instance found
    instance=$(cat "$DATA/h$host/instance")
    found=$(
        find /sys/fs/cgroup -type d -path "*/$(namespace "$host")/$slot" 2> /dev/null
        grep -F "$DATA/h$host/images/containers/$instance-$slot-" /proc/self/mounts
        ip netns list | grep -Fw "shoal-$instance-$slot"
        in_host "$host" ip -o link show | grep -F "$instance $slot "
        ls "$DATA/h$host/sets/$slot.json" 2> /dev/null
        pgrep -fa "$instance-$slot-"
    )
    [ -z "$found" ] || { echo "$found"; return 1; }
}

# The host's end of a set's cable; its alias ends in the set's address.
cable_of() {
    in_host "$1" ip -j link show \
        | jq -r --arg slot " $2 " '.[] | select((.ifalias // "") | contains($slot) and (endswith(" egress") | not)) | .ifname'
}
# The device over which goes what a set sends.
egress_device_of() {
    in_host "$1" ip -j link show | jq -r --arg slot " $2 egress" '.[] | select((.ifalias // "") | endswith($slot)) | .ifname'
}
# cable_bytes HOST INTERFACE rx|tx
cable_bytes() { in_host "$1" ip -s -j link show dev "$2" | jq ".[0].stats64.$3.bytes"; }

# --- afterwards -------------------------------------------------------------------------------

# What in this machine's own network could be ours.
root_network() {
    ip -o link show | grep -o 'sh[leup][a-z0-9-]*'
    nft list tables 2> /dev/null | grep shoal
}

# Remembers what hosts called their things, before their folders go.
note_instances() { cat "$DATA"/h*/instance >> "$INSTANCES" 2> /dev/null; }

# everything_left ROOT_NETWORK_BEFORE: what the runs left, one a line.
everything_left() {
    local instance after
    HOSTS=$EXTRA_HOST leftovers
    sort -u "$INSTANCES" | while read -r instance; do
        ip netns list | cut -d' ' -f1 | grep "^shoal-$instance-"
        pgrep -fa -- "--?(name|cid|c) $instance-|$instance-[a-z0-9-]+\\.[0-9]+-"
    done
    find /sys/fs/cgroup -type d -name "$CLUSTER-h[0-9]*" 2> /dev/null
    pgrep -fa "($RUN|$DATA)/"
    ls -d "$RUN" "$DATA" 2> /dev/null
    after=$(root_network)
    [ "$after" = "$1" ] || printf 'in the network of this machine:\n%s\n' "$after"
}
