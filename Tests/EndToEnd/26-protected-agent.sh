# The agent answers while sets burn and hog: a group of its own, and a wall around all sets together that kills in them and nowhere else.
# shellcheck shell=bash disable=SC2016

# One host offers little, to a pool of its own: what is asked of it is more than it has.
host=3
offered=192
agent_flags() {
    local pool=(--pool default --memory 4Gi)
    [ "$1" = "$host" ] && pool=(--pool crowded --memory "${offered}Mi")
    echo --name "h$1" --data "$DATA/h$1" \
        --socket "$RUN/h$1.sock" --address "$(host_address "$1"):$PEER_PORT" \
        --cgroup-root "$(namespace "$1")" --rack "r$1" --cpu 2 "${pool[@]}"
}
# A file of the group of all the host's sets, or of its agent's.
sets_file() { cgroup_file "$host" . "$@"; }
agent_file() {
    local file=$2
    if cgroups_are_v2; then file=$3; fi
    cat "$(cgroup_mount "$1")/$(namespace "$host")-agent/$file"
}

# --- an agent that takes over running sets puts the wall around them ----------------------------
apply_text 1 --wait <<'YAML' > /dev/null || failed "apply" "exit 0" "an error"
service: old
sets: 3
containers:
  - name: app
    image: demo/web:1
    command: [sleep, '100000']
    cpu: {request: 50m, limit: 100m}
    memory: {request: 8Mi, limit: 16Mi}
placement: {spread: [host]}
YAML
before=$(slots_and_pids)
expect_equal "memory of all sets before" $((4 << 30)) "$(sets_file memory memory.limit_in_bytes memory.max)"
kill_agent $host
start_agent $host
eventually 20 "three hosts again" all_see_three
lowered() { [ "$(sets_file memory memory.limit_in_bytes memory.max)" = $((offered << 20)) ]; }
eventually 10 "the wall of all sets follows what is offered" lowered
expect_equal "sets and their processes" "$before" "$(slots_and_pids)"
expect "delete" shoal 1 delete old --yes --wait

# --- where the agent is -------------------------------------------------------------------------
agent=$(agent_pid $host)
expect_match "the agent's groups" "/$(namespace $host)-agent" "$(cat "/proc/$agent/cgroup")"
expect_equal "its processes in them" "$agent" "$(agent_file memory cgroup.procs cgroup.procs | grep -x "$agent")"
if ! cgroups_are_v2; then
    expect_equal "its weight, two cores' worth" 2048 "$(agent_file cpu cpu.shares -)"
else
    expect_equal "its guaranteed memory" $((128 << 20)) "$(agent_file memory - memory.min)"
fi
if [ "$(cat "/proc/$agent/oom_score_adj")" != -900 ]; then
    skipped "the agent's place before the out-of-memory killer" "this machine lets nobody lower it (no CAP_SYS_RESOURCE)"
    expect "and the log says so" grep -q 'CAP_SYS_RESOURCE' "$RUN/h$host.log"
fi

# --- how fast it answers: 200 reads of its own state --------------------------------------------
# Milliseconds of the answer that 198 of 200 are at least as fast as.
p99_of_reads() {
    local _
    for _ in $(seq 200); do
        curl -s -o /dev/null -w '%{time_total}\n' --max-time 10 --unix-socket "$RUN/h$host.sock" \
            http://shoal/v1/sets || echo 10
    done | sort -n | sed -n 198p | awk '{ printf "%d\n", $1 * 1000 + 0.5 }'
}
quiet=$(p99_of_reads)

# --- the attack: ten times the memory and eight times the processors that it offers -------------
apply_text 1 <<'YAML' > /dev/null || failed "apply" "exit 0" "an error"
service: hogs
pool: crowded
sets: 4
containers:
  - name: app
    image: demo/web:1
    command: [dd, if=/dev/zero, of=/dev/null, bs=400M, count=1000]
    cpu: {request: 20m, limit: 2}
    memory: {request: 8Mi, limit: 512Mi}
---
service: burners
pool: crowded
sets: 4
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'for i in 1 2 3 4; do (while true; do true; done) & done; wait']
    cpu: {request: 20m, limit: 4}
    memory: {request: 8Mi, limit: 16Mi}
YAML
eventually 15 "the burners run" has_running $host burners 4
kills() {
    shoal 1 events --limit 1000 --json \
        | jq '[.[] | select(.kind == "setOutOfMemory" and (.subject | startswith("hogs")))] | length'
}
killed() { [ "$(kills)" -ge 2 ]; }
eventually 20 "hogs are killed" killed
attacked=$(p99_of_reads)
expect_between "milliseconds that 99 of 100 reads take at most under attack (quiet: $quiet)" \
    0 $((100 * SLOWNESS)) "$attacked"
say "  reads of the agent at p99: quiet $quiet ms, under attack $attacked ms"

expect_equal "the agent is the same" "$agent" "$(agent_pid $host)"
expect "and lives" agent_alive $host
expect_between "the most memory that all sets had, limit $offered MiB" 1 $((offered << 20)) \
    "$(sets_file memory memory.max_usage_in_bytes memory.peak 2> /dev/null || echo 1)"
expect_equal "kills in the agent's group" 0 \
    "$(agent_file memory memory.oom_control memory.events | awk '$1 == "oom_kill" { print $2 }')"
expect_match "whose limit it was, in the events" 'ran out of the memory that all sets share .used .* of limit 512 MiB' \
    "$(shoal 1 events --limit 1000 --json | jq -r '.[] | select(.kind == "setOutOfMemory") | .message')"
# No burner holds memory worth killing for.
expect_equal "burners that ended" "0 0 0 0" \
    "$(shoal $host sets burners --json | jq -r '[.[].containers[0].restarts] | join(" ")')"

for service in hogs burners; do
    expect "delete of $service" shoal $host delete $service --yes --wait
done
eventually 20 "nothing runs after that" nothing_runs
# As the other scenarios know it.
kill_agent $host
unset -f agent_flags
# shellcheck source=Tools/cluster.sh
. "$REPO/Tools/cluster.sh"
start_agent $host
eventually 20 "three hosts again" all_see_three
raised() { [ "$(sets_file memory memory.limit_in_bytes memory.max)" = $((4 << 30)) ]; }
eventually 10 "the wall is where it was" raised
