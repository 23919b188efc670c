# Limits hold: processor quota, memory with the kill reported, bandwidth both ways, number of processes.
# shellcheck shell=bash

apply_text 1 <<'YAML' > /dev/null || failed "apply" "exit 0" "an error"
service: burner
sets: 1
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'while true; do true; done']
    cpu: {request: 100m, limit: 200m}
    memory: {request: 8Mi, limit: 16Mi}
    pids: 8
---
service: hog
sets: 1
containers:
  - name: app
    image: demo/web:1
    command: [dd, if=/dev/zero, of=/dev/null, bs=64M, count=100]
    cpu: {request: 50m, limit: 200m}
    memory: {request: 8Mi, limit: 16Mi}
    pids: 8
---
service: sender
sets: 1
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'sleep 1000 | nc -l -p 9001 > /dev/null']
    cpu: {request: 100m, limit: 500m}
    memory: {request: 8Mi, limit: 32Mi}
    pids: 16
network: {egress: 8Mbit, ingress: 16Mbit}
---
service: bomb
sets: 1
containers:
  - name: app
    image: demo/web:1
    command: [sleep, '1000']
    cpu: {request: 50m, limit: 100m}
    memory: {request: 8Mi, limit: 64Mi}
    pids: 20
YAML
eventually 10 "the burner runs" has_running 1 burner 1
eventually 10 "the sender runs" has_running 1 sender 1
eventually 10 "the one to be bombed runs" has_running 1 bomb 1

# --- bandwidth, both ways at once -------------------------------------------------------------
host=$(host_of sender.0)
address=$(set_field sender.0 .address)
cable=$(cable_of "$host" sender.0)
gateway=${address%.*}.1
receive() { in_host "$host" sh -c 'sleep 30 | timeout 20 busybox nc -l -p 9000 > /dev/null'; }
send() { in_host "$host" sh -c "timeout 20 dd if=/dev/zero bs=64k 2> /dev/null | timeout 20 busybox nc $address 9001" > /dev/null; }
inside() { shoal "$host" exec -n sender.0 -- sh -c "dd if=/dev/zero bs=64k 2> /dev/null | nc $gateway 9000"; }
helper receive
sleep 0.2
helper inside
helper send

# --- memory: watched while the rest is measured -----------------------------------------------
watch_hog() {
    local last=0 now start
    start=$(now_ms)
    while [ $(($(now_ms) - start)) -lt 25000 ]; do
        now=$(container_field hog.0 .restarts)
        if [ -n "$now" ] && [ "$now" != null ] && [ "$now" -gt "$last" ]; then
            echo "$now $(now_ms)" >> "$WORK/restarts"
            last=$now
            [ "$now" -lt 4 ] || return
        fi
        sleep 0.1
    done
}
rm -f "$WORK/restarts"
helper watch_hog
hog_watcher=$HELPER

# --- processor --------------------------------------------------------------------------------
burner_host=$(host_of burner.0)
# Nanoseconds of processor time.
used() {
    if cgroups_are_v2; then
        echo $(($(cgroup_file "$1" "$2" cpu - cpu.stat | awk '$1 == "usage_usec" { print $2 }') * 1000))
    else
        cgroup_file "$1" "$2" cpuacct cpuacct.usage -
    fi
}
sleep 1
start=$(now_ms)
used_before=$(used "$burner_host" burner.0/app)
sent_before=$(cable_bytes "$host" "$cable" rx)
received_before=$(cable_bytes "$host" "$cable" tx)
sleep 5
used_after=$(used "$burner_host" burner.0/app)
sent_after=$(cable_bytes "$host" "$cable" rx)
received_after=$(cable_bytes "$host" "$cable" tx)
took=$(($(now_ms) - start))
expect_near "processor use in thousandths of a core, limit 200" 200 $(((used_after - used_before) / 1000 / took))
expect_near "kbit/s sent, limit 8000" 8000 $(((sent_after - sent_before) * 8 / took))
expect_near "kbit/s received, limit 16000" 16000 $(((received_after - received_before) * 8 / took))

# --- number of processes ----------------------------------------------------------------------
bomb_host=$(host_of bomb.0)
# Backslashes keep the braces of the bomb from this shell; it ends with the service.
bomb() { shoal "$bomb_host" exec -n bomb.0 -- sh -c 'f() { f | f & f; }; f' > /dev/null 2>&1; }
helper bomb
refused_forks() { cgroup_file "$bomb_host" "bomb.0$1" pids pids.events pids.events | awk '{ n += $2 } END { print n + 0 }'; }
forks_were_refused() { [ "$(($(refused_forks "") + $(refused_forks /app)))" -gt 0 ]; }
eventually 10 "the kernel refuses forks above the limit" forks_were_refused
for _ in 1 2 3 4 5; do
    expect_between "processes of the bomb, limit 20" 1 20 "$(cgroup_file "$bomb_host" bomb.0 pids pids.current pids.current)"
    sleep 0.2
done
expect "the host of the bomb answers" shoal "$bomb_host" status
expect_equal "phase of the bombed set" running "$(set_field bomb.0 .phase)"

# --- memory -----------------------------------------------------------------------------------
wait "$hog_watcher"
expect_equal "restarts seen of the hog" 4 "$(wc -l < "$WORK/restarts")"
read -r first second third fourth <<< "$(awk '{ print $2 }' "$WORK/restarts" | xargs)"
# 1, 2, 4 and 8 s after the kills; the kill itself takes a moment.
expect_between "milliseconds from the first restart to the second" 1800 3500 $((second - first))
expect_between "milliseconds from the second restart to the third" 3600 6000 $((third - second))
expect_between "milliseconds from the third restart to the fourth" 7200 10500 $((fourth - third))
expect_equal "the listing says the kernel ended it for memory" true "$(container_field hog.0 .outOfMemory)"
expect_equal "exit code of the hog" 137 "$(container_field hog.0 .exitCode)"
is_backing_off() { [ "$(set_field hog.0 .phase)" = backingOff ]; }
eventually 5 "the hog backs off" is_backing_off
expect_match "the listing's reason" 'more memory than its limit' "$(set_field hog.0 .reason)"
expect_equal "the events say so" true \
    "$(shoal 1 events --limit 1000 --json | jq 'any(.[]; .kind == "setOutOfMemory" and .subject == "hog.0")')"

for service in burner hog sender bomb; do
    expect "delete of $service" shoal 2 delete "$service" --yes --wait
done
eventually 15 "nothing runs after that" nothing_runs
for slot in burner.0 hog.0 sender.0 bomb.0; do
    for host in 1 2 3; do eventually 10 "no trace of $slot on h$host" no_trace_of "$host" "$slot"; done
done
