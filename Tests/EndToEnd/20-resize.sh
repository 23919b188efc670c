# Limits change while sets run: same processes, nothing dropped, all of them or none, refused with a reason.
# shellcheck shell=bash disable=SC2016

apply_text 1 --wait <<'YAML' > /dev/null || failed "apply" "exit 0" "an error"
service: live
sets: 3
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'while true; do nc -l -p 9002 -e cat; done']
    cpu: {request: 100m, limit: 300m}
    memory: {request: 16Mi, limit: 96Mi}
    pids: 30
network: {egress: 8Mbit, ingress: 16Mbit}
placement: {spread: [host]}
YAML
first=live.0
host=$(host_of $first)
before=$(slots_and_pids)
limit_of() { cgroup_file "$host" "$first/app" memory memory.limit_in_bytes memory.max; }
quota_of() {
    if cgroups_are_v2; then cgroup_file "$host" "$first/app" cpu cpu.cfs_quota_us cpu.max | cut -d' ' -f1; else
        cgroup_file "$host" "$first/app" cpu cpu.cfs_quota_us cpu.max; fi
}
pids_of() { cgroup_file "$host" "$first/app" pids pids.max pids.max; }
# All that tc says of the host's ends of cables.
rates() {
    in_host "$host" sh -c 'ip -o link show | cut -d: -f2 | cut -d@ -f1 | while read -r device; do tc class show dev "$device"; done'
}
same_processes() { expect_equal "sets and their processes after $1" "$before" "$(slots_and_pids)"; }

# --- a connection stays open over all that follows ---------------------------------------------
address=$(set_field $first .address)
mkfifo "$WORK/talk"
helper in_host "$host" sh -c 'timeout 120 busybox nc "$0" 9002 < "$1" > "$2"' "$address" "$WORK/talk" "$WORK/heard"
exec 8> "$WORK/talk"
heard() { grep -qx "$1" "$WORK/heard"; }
echo one >&8
eventually 5 "the set answers on a connection" heard one

# --- everything at once, asked at another host --------------------------------------------------
other=$((host % 3 + 1))
expect "resize" shoal $other resize live --cpu 700m --memory 160Mi --egress 20Mbit --ingress 30Mbit --pids 60
same_processes "a resize"
expect_equal "memory limit in the kernel" $((160 << 20)) "$(limit_of)"
expect_equal "quota in the kernel" 70000 "$(quota_of)"
expect_equal "processes in the kernel" 60 "$(pids_of)"
expect_match "egress in the kernel" '20Mbit' "$(rates)"
expect_match "ingress in the kernel" '30Mbit' "$(rates)"
echo two >&8
eventually 5 "the connection is still open" heard two
expect_equal "the revision in force everywhere" "2 2 2" \
    "$(shoal 1 sets live --json | jq -r '[.[].limitsRevision] | join(" ")')"
expect_match "the same again" 'already' "$(shoal 1 resize live --cpu 700m)"

# --- the other limits ---------------------------------------------------------------------------
expect "resize of soft memory, swap and burst" shoal 1 resize live --soft-memory 64Mi --burst 100m --swap 0
expect_equal "soft limit in the kernel" $((64 << 20)) "$(cgroup_file "$host" "$first/app" memory memory.soft_limit_in_bytes memory.high)"
expect "resize of a disk's limits" shoal 1 resize live --io-write 20MBps --io-read-operations 500 --io-weight 200
# No entry where the data folder has no disk of its own to limit, which the log then says.
io_entries() { cgroup_file "$host" "$first/app" blkio blkio.throttle.write_bps_device io.max; }
if grep -q "not on one disk" "$RUN/h$host.log"; then
    skipped "caps of a disk" "the data folder is on no disk whose use the kernel limits"
else
    expect_match "cap in the kernel" 20000000 "$(io_entries)"
    expect "lifting it" shoal 1 resize live --io-write unlimited --io-read-operations unlimited
    expect_equal "caps after that" none "$(io_entries | grep -v 'wbps=max' | grep -q . && io_entries || echo none)"
fi
expect "lifting the soft limit" shoal 1 resize live --soft-memory unlimited
same_processes "changes of the other limits"
wrong() { ! shoal 1 resize live "$@" > "$WORK/out" 2> "$WORK/err"; }
expect "no limit at all is refused as 0" wrong --io-write 0
expect_match "with what to write" 'write unlimited' "$(cat "$WORK/err")"
expect "half a core cannot be dedicated" wrong --cores dedicated
expect_match "with the rule" 'dedicated cores are whole' "$(cat "$WORK/err")"
reached=$(set_field $first .revision)

# --- refused as a whole: no room ----------------------------------------------------------------
refused() { ! shoal 1 resize live "$@" > "$WORK/out" 2> "$WORK/err"; }
expect "more than the hosts have is refused" refused --cpu 900 --cpu-request 900
expect_match "the wall is named" 'no room to resize live\.0 on h[123], which lacks CPU' "$(cat "$WORK/err")"
expect "nothing to do is refused" refused
expect "an unknown container is refused" refused --container none --pids 9
expect_match "the container is named" "no container 'none'" "$(cat "$WORK/err")"
expect "a negative limit is refused" refused --pids=-1
expect "a limit that is no quantity is refused" refused --memory lots
expect_equal "the revision after refusals" "$reached" "$(set_field $first .revision)"

# --- refused by the host: the memory is in use --------------------------------------------------
expect "the set fills memory" shoal 1 exec -n $first -- dd if=/dev/zero of=/dev/shm/full bs=1M count=40
expect "a limit below what is in use is refused" refused --memory 24Mi --cpu 400m
expect_match "with the figure" "live\\.0 on h$host keeps the limits of revision $reached.*in use" "$(cat "$WORK/err")"
same_processes "a refusal"
expect_equal "memory limit after the refusal" $((160 << 20)) "$(limit_of)"
expect_equal "quota after the refusal" 70000 "$(quota_of)"
expect_match "the reason is listed" 'keeps the limits' "$(set_field $first .reason)"
# Two sets have them: the change stays wanted, and the command that takes it back is told.
expect_match "what becomes of it" 'stay wanted: .*`shoal resize live .*--cpu 700m .*--memory 160Mi' "$(cat "$WORK/err")"
explained() { shoal "$other" explain $first --json | jq -r ".[0] | $1"; }
expect_equal "what explain says is in force" $((160 << 20)) "$(explained '.containers[0].memory.limitBytes')"
expect_equal "and is wanted" $((24 << 20)) "$(explained '.wanted.containers[0].memory.limitBytes')"
expect_match "explain for people" "in force, revision $reached:.*wanted, revision $((reached + 1)), and not in force:.*to take that back: shoal resize live" \
    "$(shoal 1 explain $first | tr '\n' ' ')"
expect "the set gives memory back" shoal 1 exec -n $first -- sh -c ': > /dev/shm/full'
shrunk() { [ "$(limit_of)" = $((24 << 20)) ] && [ "$(quota_of)" = 40000 ]; }
eventually 20 "the limits are in force once there is room" shrunk
in_force() { [ "$(set_field $first .limitsRevision)" = "$(set_field $first .revision)" ]; }
eventually 5 "and that is told" in_force
expect_equal "the reason afterwards" null "$(set_field $first .reason)"
same_processes "the retry"
expect_equal "what explain says is wanted beside that" null "$(explained .wanted)"

# --- refused by every host: taken back ----------------------------------------------------------
apply_text 1 --wait <<'YAML' > /dev/null || failed "apply" "exit 0" "an error"
service: alone
sets: 1
containers: [{name: app, image: "demo/web:1", command: [sleep, '100000'], cpu: {request: 50m, limit: 200m}, memory: {request: 16Mi, limit: 96Mi}}]
volumes: [{name: data, size: 16Mi, mount: /data, class: directory}]
YAML
alone_pid=$(container_field alone.0 .pid)
alone_limit() { cgroup_file "$(host_of alone.0)" alone.0/app memory memory.limit_in_bytes memory.max; }
expect "it fills memory" shoal 1 exec -n alone.0 -- dd if=/dev/zero of=/dev/shm/full bs=1M count=40
alone_refused() { ! shoal "$other" resize alone --memory 24Mi --cpu 400m --volume data=32Mi --json > "$WORK/out" 2> "$WORK/err"; }
expect "a limit below what is in use, and a larger volume, are refused" alone_refused
expect_match "with what became of it" 'in use.*no set took the new limits, so the change is taken back.*revision 3' "$(tr '\n' ' ' < "$WORK/err")"
expect_equal "the same as JSON" "true 3 1" "$(jq -r '"\(.takenBack) \(.revision) \(.refusals | length)"' "$WORK/out")"
alone_settled() { [ "$(set_field alone.0 .limitsRevision)" = 3 ] && [ "$(set_field alone.0 .reason)" = null ]; }
eventually 10 "the limits from before are wanted and in force" alone_settled
expect_equal "memory limit after that" $((96 << 20)) "$(alone_limit)"
expect_equal "the volume has not grown" $((16 << 20)) "$(shoal 1 volumes alone --json | jq '.[0].sizeBytes')"
expect_equal "the process after that" "$alone_pid" "$(container_field alone.0 .pid)"
expect "delete" shoal 1 delete alone --yes --wait
expect "restore" shoal 1 restore alone --wait
expect_equal "memory limit of the restored one" $((96 << 20)) "$(alone_limit)"
expect "delete" shoal 1 delete alone --yes --wait
code_of() { local code=0; "$@" > "$WORK/out" 2> "$WORK/err" || code=$?; echo "$code"; }
expect_equal "exit status of a resize without a limit" 64 "$(code_of shoal 1 resize live)"
expect_equal "exit status of the volumes of no service" 1 "$(code_of shoal 1 volumes nope)"

# --- an agent that was away ---------------------------------------------------------------------
kill_agent "$host"
shoal $other resize live --no-wait --cpu 500m --memory 64Mi > /dev/null || failed "resize without a host" "exit 0" "an error"
start_agent "$host"
caught_up() { [ "$(limit_of)" = $((64 << 20)) ] && [ "$(quota_of)" = 50000 ]; }
eventually 20 "the agent that was away catches up" caught_up
eventually 20 "three hosts again" all_see_three
same_processes "a restart of the agent"
echo three >&8
eventually 5 "the connection outlived it all" heard three
exec 8>&-

# --- apply with other limits is the same --------------------------------------------------------
apply_text 1 --wait <<'YAML' > /dev/null || failed "apply" "exit 0" "an error"
service: live
sets: 3
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'while true; do nc -l -p 9002 -e cat; done']
    cpu: {request: 100m, limit: 600m}
    memory: {request: 16Mi, limit: 128Mi}
    pids: 30
placement: {spread: [host]}
YAML
same_processes "applying other limits"
expect_equal "quota after apply" 60000 "$(quota_of)"
expect "delete" shoal 1 delete live --yes --wait
eventually 15 "nothing runs after that" nothing_runs
