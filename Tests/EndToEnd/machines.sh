# Three hosts with kernels of their own: limits of control groups version 2 and logical volumes as the
# kernel has them, a slot that moves, a machine that loses its power, a network that loses packets.
#
# Sourced by Tools/lab cluster, which makes the machines and says how to reach them; RUN_LENGTH is
# `short` or `long`.
# shellcheck shell=bash disable=SC2016,SC2153

# Machines without hardware's help are slow.
SLOWNESS=4
# shellcheck disable=SC2034 # of checks.sh
no_helpers() { end_helpers; HELPERS=(); }
step_began=$(now_ms)
# step TEXT: says what holds now, and how long it took to see.
step() {
    say "lab: $* ($(since "$step_began"))"
    step_began=$(now_ms)
}

# --- three hosts ------------------------------------------------------------------------------
all_machines prepare_host || failed "a volume group and a pool on every machine" "made" "an error"
all_machines mount_host || failed "the machines' disks" "mounted" "an error"
boot_ids() { local host; for host in 1 2 3; do on "$host" cat /proc/sys/kernel/random/boot_id; done; }
expect_equal "kernels that run" 3 "$(boot_ids | sort -u | wc -l)"
on 1 shoal init --address "$(machine_address 1):$PEER_PORT" > "$WORK/init" 2>&1 \
    || failed "shoal init" "exit 0" "$(cat "$WORK/init")"
for host in 2 3; do
    grep -o 'shoal1-[A-Za-z0-9_=-]*' "$WORK/init" | head -n 1 \
        | on "$host" sh -c 'umask 077; cat > /run/token'
done
for host in 1 2 3; do start_agent "$host" || failed "the agent of machine $host" "started" "an error"; done
eventually $((20 * SLOWNESS)) "three hosts see each other" all_see_three
eventually $((20 * SLOWNESS)) "one leaseholder" agree_on_leaseholder
eventually $((20 * SLOWNESS)) "three voters" has_voters 3
expect "loading the example image" shoal 1 image load "$SHARE/web.tar"
step "three machines are a cluster: kernel $(on 1 uname -r), control groups version 2 with $(on 1 cat /sys/fs/cgroup/cgroup.controllers)"

# --- a service with all limits and a logical volume ---------------------------------------------
database() {
    cat << 'YAML'
service: db
sets: 3
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'cat /data/name 2> /dev/null || hostname > /data/name; hostname >> /data/starts; busybox sync; echo "I am $(cat /data/name)" > /www/index.html; exec httpd -f -p 8080 -h /www']
    cpu: {request: 100m, limit: 300m}
    memory: {request: 16Mi, limit: 48Mi}
    io: {write: 4MBps}
    pids: 32
network: {egress: 8Mbit, ingress: 16Mbit}
placement: {spread: [host]}
volumes:
  - {name: data, size: 32Mi, mount: /data, class: lvm}
YAML
}
database | apply_text 1 --wait > "$WORK/apply" 2>&1 || failed "apply" "exit 0" "$(cat "$WORK/apply")"
expect_equal "hosts of its sets" "h1 h2 h3" "$(shoal 1 sets db --json | jq -r '.[].host' | sort | xargs)"
set_on() { slots_on "$1" "${2:-1}" | grep '^db\.'; }
inside() { local slot=$1; shift; shoal "${HOST_ASKED:-1}" exec -n "$slot" -- "$@"; }
# runs_on SLOT HOST: so the log says, and a command runs in it.
runs_on() { [ "$(set_field "$1" '"\(.phase) \(.host)"')" = "running h$2" ] && inside "$1" true; }
volumes_in_use() { shoal "${HOST_ASKED:-1}" volumes --json | jq -r --arg volume "$1/data" '.[] | select(.volume == $volume and .state != "trash") | .id'; }
logical_volumes() { on "$1" lvm lvs --noheadings -o lv_name -S 'pool_lv=pool' shoal | xargs; }
device_of_data() { inside "$1" sh -c 'while read -r device point rest; do [ "$point" != /data ] || echo "$device"; done < /proc/mounts'; }
# limits_of HOST SLOT: as its kernel has them.
limits_of() {
    on "$1" sh -c 'cd "/sys/fs/cgroup/shoal/$1/app" && grep "" cpu.max memory.max pids.max io.max
        for device in "$2" "$3"; do tc class show dev "$device"; done' \
        limits "$2" "$(cable_of "$1" "$2")" "$(egress_device_of "$1" "$2")"
}
for host in 1 2 3; do
    slot=$(set_on "$host")
    limits=$(limits_of "$host" "$slot")
    for limit in 'cpu.max:30000 100000' "memory.max:$((48 << 20))" pids.max:32 wbps=4000000 'ceil 16Mbit' 'ceil 8Mbit'; do
        [[ $limits == *"$limit"* ]] || failed "limits of $slot in the kernel of machine $host" "$limit" "$limits"
    done
    expect_match "the device under $slot" '^/dev/(shoal/|mapper/shoal-)shoal-' "$(device_of_data "$slot")"
    expect_equal "the logical volumes of machine $host" "shoal-$(volumes_in_use "$slot")" "$(logical_volumes "$host")"
    expect_equal "what $slot wrote" "$slot" "$(inside "$slot" cat /data/name)"
done
step "a service with limits of processor, memory, processes, disk, bandwidth and with logical volumes runs, and three kernels have them all"

# --- ports --------------------------------------------------------------------------------------
port_service() { printf 'service: open\nsets: 1\ncontainers:\n  - {name: app, image: "demo/web:1", command: [sh, -c, "echo open > /www/index.html; exec httpd -f -p 8080 -h /www"], cpu: {request: 50m, limit: 200m}, memory: {request: 8Mi, limit: 16Mi}}\nnetwork: {publish: [{port: 8080, host: 8080}]}\n'; }
port_service | apply_text 2 > "$WORK/apply" 2>&1 || failed "apply of open" "exit 0" "$(cat "$WORK/apply")"
if on 1 nft --check 'add table ip probe; add chain ip probe out { type nat hook postrouting priority 100; }' > /dev/null 2>&1; then
    eventually $((10 * SLOWNESS)) "the set with a port runs" has_running 1 open 1
    page() { on 1 curl -sS -m 10 "http://$(machine_address "$(host_of open.0)"):8080/"; }
    answers() { [ "$(page)" = open ]; }
    eventually $((10 * SLOWNESS)) "the published port answers" answers
    ports="a published port answers from another machine"
else
    says_why() { [[ $(set_field open.0 .reason) == *"address translation by nftables"*"no set here can publish ports"* ]]; }
    eventually $((10 * SLOWNESS)) "the set whose port cannot be published says so" says_why
    expect_equal "whether it runs all the same" 0 "$(running_sets 1 open)"
    ports="no nftables in this kernel: a set with a port does not start and says why, those without ports run"
fi
expect "delete of open" shoal 1 delete open --yes --wait
step "$ports"

# --- at the walls -----------------------------------------------------------------------------
# growth MACHINE SECONDS COMMAND: by how much the number that the command prints grows in a millisecond,
# by the machine's own clock, which is the one that its quotas are of.
growth() {
    on "$1" bash --norc -c '
        now() { read -r up rest < /proc/uptime; echo "${up/./}0"; }
        begin=$(now) before=$(eval "$2")
        sleep "$1"
        end=$(now) after=$(eval "$2")
        echo $(((after - before) / (end - begin)))
    ' growth "$2" "$3"
}
slot=$(set_on 2)
group=/sys/fs/cgroup/shoal/$slot/app
helper inside "$slot" busybox timeout 20 sh -c 'while true; do true; done' > /dev/null 2>&1
throttled() { on 2 cat "$group/cpu.stat" | awk '$1 == "nr_throttled" { print $2 }'; }
burning() { [ "$(throttled)" -gt 5 ]; }
eventually 20 "the burner is held back" burning
# Used and held back, of the burner. A machine that is kept from running itself loses whole periods: so
# much may be missing from its share, but never from a period in which it was held back.
read -r share periods <<< "$(on 2 bash --norc -c '
    now() { read -r up rest < /proc/uptime; echo "${up/./}0"; }
    figures() { awk "{ value[\$1] = \$2 } END { print value[\"usage_usec\"], value[\"nr_throttled\"] }" "$1/cpu.stat"; }
    begin=$(now) before=$(figures "$1")
    sleep 5
    after=$(figures "$1") end=$(now)
    read -r used held <<< "$before"
    read -r used_after held_after <<< "$after"
    echo $(((used_after - used) / (end - begin))) $(((used_after - used) / (held_after - held + 1)))
' share "$group")"
expect_between "processor use in thousandths of a core, limit 300" 100 315 "$share"
expect_near "microseconds in a period in which it was held back, quota 30000" 30000 "$periods"
no_helpers

slot=$(set_on 3)
cable=$(cable_of 3 "$slot")
gateway=$(set_field "$slot" .address)
gateway=${gateway%.*}.1
helper on 3 sh -c 'sleep 30 | timeout 20 busybox nc -l -p 9000 > /dev/null' > /dev/null 2>&1
sleep 1
helper inside "$slot" sh -c "busybox timeout 20 dd if=/dev/zero bs=64k 2> /dev/null | nc $gateway 9000" > /dev/null 2>&1
sending() { [ "$(on 3 cat "/sys/class/net/$cable/statistics/rx_bytes")" -gt 200000 ]; }
eventually 20 "the sender sends" sending
sent=$(growth 3 5 "echo \$((\$(cat /sys/class/net/$cable/statistics/rx_bytes) * 8))")
expect_between "kbit/s sent, limit 8000" 4000 8400 "$sent"
no_helpers

slot=$(set_on 1)
written=$(inside "$slot" sh -c '
    now() { read -r up rest < /proc/uptime; echo "${up%.*}${up#*.}0"; }
    begin=$(now)
    dd if=/dev/zero of=/written bs=1M count=16 conv=fsync 2> /dev/null
    echo $((16777216 / ($(now) - begin)))
    busybox rm /written')
expect_between "kB/s written to the disk, limit 4000" 2000 4400 "$written"
full=$(inside "$slot" dd if=/dev/zero of=/data/fill bs=1M count=100 2>&1)
expect_match "a full logical volume" 'No space left on device' "$full"
expect "the full one can be cleaned up" inside "$slot" busybox rm /data/fill
expect "it grows while it is used" shoal 3 resize db --volume data=48Mi
expect_between "MiB of the volume after growth" 36 48 "$(inside "$slot" busybox df -P -m /data | awk 'END { print $2 }')"

apply_text 3 > "$WORK/apply" 2>&1 << 'YAML' || failed "apply of hog" "exit 0" "$(cat "$WORK/apply")"
service: hog
sets: 1
containers:
  - name: app
    image: demo/web:1
    command: [dd, if=/dev/zero, of=/dev/null, bs=64M, count=100]
    cpu: {request: 50m, limit: 300m}
    memory: {request: 8Mi, limit: 16Mi}
YAML
reported() {
    [ "$(container_field hog.0 .outOfMemory)" = true ] && [ "$(container_field hog.0 .exitCode)" = 137 ] \
        && [[ $(set_field hog.0 .reason) == *"more memory than its limit"* ]] \
        && shoal 2 events --limit 1000 --json | jq -e 'any(.[]; .kind == "setOutOfMemory" and .subject == "hog.0")'
}
eventually $((10 * SLOWNESS)) "the hog is killed by the kernel, which is told everywhere" reported
expect "delete of hog" shoal 1 delete hog --yes --wait
step "held at the walls: processor $share of 300m; $sent of 8000 kbit/s; $written of 4000 kB/s; full volume; memory"

# --- a slot moves with its volume ---------------------------------------------------------------
apply_text 1 --wait > "$WORK/apply" 2>&1 << 'YAML' || failed "apply of ship" "exit 0" "$(cat "$WORK/apply")"
service: ship
sets: 1
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'trap "exit 0" TERM; n=0; while read -r line; do n=$line; done < /data/log; echo >> /data/starts; while :; do n=$((n + 1)); echo $n >> /data/log; busybox usleep 200000; done']
    cpu: {request: 100m, limit: 500m}
    memory: {request: 8Mi, limit: 48Mi}
volumes:
  - {name: data, size: 48Mi, mount: /data, class: lvm}
YAML
expect "content" inside ship.0 sh -c 'dd if=/dev/urandom of=/data/content bs=64k count=160 2> /dev/null; busybox sync'
ship_sum() { inside ship.0 busybox md5sum /data/content; }
ship_lines() { inside ship.0 cat /data/log | wc -l; }
# ship_is_whole LINES: the content is what it was, and every line is there once, at least so many.
ship_is_whole() {
    local text
    expect_equal "the content of ship.0" "$ship" "$(ship_sum)"
    text=$(inside ship.0 cat /data/log)
    [ "$text" = "$(seq "$(wc -l <<< "$text")")" ] || failed "the lines of ship.0" "each once" "$(head -c 300 <<< "$text")"
    expect_between "lines, none of them lost" "$1" 1000000 "$(wc -l <<< "$text")"
    expect_equal "volumes of ship.0 that are in use" 1 "$(volumes_in_use ship.0 | wc -l)"
}
ship=$(ship_sum)
source=$(host_of ship.0)
target=$((source % 3 + 1))
lines=$(ship_lines)
start=$(now_ms)
output=$(shoal $((target % 3 + 1)) volume move ship.0 --to "h$target" 2> "$WORK/progress") \
    || failed "the move" "exit 0" "$output $(cat "$WORK/progress")"
moving=$(since "$start")
expect_equal "what the command says" "moved ship.0 from h$source to h$target" "$output"
eventually $((10 * SLOWNESS)) "the slot runs on the other machine" runs_on ship.0 "$target"
ship_is_whole "$lines"
expect_equal "its starts" 2 "$(inside ship.0 cat /data/starts | wc -l)"
expect_match "the logical volumes of machine $target" "shoal-$(volumes_in_use ship.0)" "$(logical_volumes "$target")"
left_behind() { [ "$(shoal 1 volumes --json | jq -r --arg host "h$source" '[.[] | select(.service == "ship" and .host == $host) | .state] | join(" ")')" = trash ]; }
eventually 30 "what it left is in the trash of machine $source" left_behind
step "a slot moved from h$source to h$target with its logical volume in $moving: content bit by bit, no line lost"

# --- a machine loses its power ----------------------------------------------------------------
apply_text 1 > "$WORK/apply" 2>&1 << 'YAML' || failed "apply of web" "exit 0" "$(cat "$WORK/apply")"
service: web
sets: 3
containers:
  - name: app
    image: demo/web:1
    command: [sleep, '100000']
    cpu: {request: 50m, limit: 100m}
    memory: {request: 8Mi, limit: 16Mi}
YAML
eventually $((10 * SLOWNESS)) "three sets of web run" has_running 1 web 3
lose_power() {
    local victim=$1 slot sum there start elsewhere
    HOST_ASKED=$(($1 % 3 + 1))
    slot=$(set_on "$victim" "$HOST_ASKED")
    expect "content of $slot" inside "$slot" sh -c 'dd if=/dev/urandom of=/data/blob bs=64k count=64 2> /dev/null; busybox sync'
    sum=$(inside "$slot" busybox md5sum /data/blob)
    there=$(slots_on "$victim" "$HOST_ASKED" | grep -c '^web\.')
    # Writing when the power goes.
    helper inside "$slot" sh -c 'while true; do dd if=/dev/zero of=/data/junk bs=64k count=16 2> /dev/null; busybox sync; done' > /dev/null 2>&1
    sleep 1
    start=$(now_ms)
    kill_host "$victim"
    eventually $((10 * SLOWNESS)) "the sets of web run on the other machines" has_running_away "$HOST_ASKED" web 3 "h$victim"
    elsewhere=$(since "$start")
    waits() {
        [ "$(set_field "$slot" .phase)" = pending ] \
            && [[ $(set_field "$slot" .reason) == *"waits for host h$victim, which holds its volume data"* ]]
    }
    eventually 30 "the set with a volume waits and says for what" waits
    no_helpers
    boot_host "$victim" || failed "machine $victim" "up again" "an error"
    eventually $((20 * SLOWNESS)) "the machine is back, and its set with it" runs_on "$slot" "$victim"
    expect_equal "what was on the disk when the power went" "$sum" "$(inside "$slot" busybox md5sum /data/blob)"
    expect_equal "the volume's owner" "$slot" "$(inside "$slot" cat /data/name)"
    inside "$slot" busybox rm -f /data/junk
    eventually 60 "three hosts see each other again" all_see_three
    HOST_ASKED=1
    step "h$victim lost its power: $there sets without volumes ran elsewhere after $elsewhere; it booted, and $slot has what it had synchronized, bit by bit"
}
# lose_power_while_moving source|target: the move comes to its end all the same, with all bytes.
lose_power_while_moving() {
    local source target lines victim
    source=$(host_of ship.0)
    target=$((source % 3 + 1))
    HOST_ASKED=$((target % 3 + 1))
    lines=$(ship_lines)
    victim=${!1}
    helper shoal "$HOST_ASKED" volume move ship.0 --to "h$target" > /dev/null 2>&1
    under_way() { shoal "$HOST_ASKED" events --limit 5 --json | jq -e --arg host "to h$target: copying" '[.[] | select(.kind == "slotMoved")][-1].message | contains($host)'; }
    eventually $((10 * SLOWNESS)) "the move is under way" under_way
    kill_host "$victim"
    boot_host "$victim" || failed "machine $victim" "up again" "an error"
    eventually 60 "three hosts see each other again" all_see_three
    no_helpers
    # The same command goes on with what is under way, or begins anew.
    moved() { [ "$(set_field ship.0 .host)" = "h$target" ] || shoal "$HOST_ASKED" volume move ship.0 --to "h$target"; }
    eventually 120 "the move is done although its $1 lost its power" moved
    eventually $((10 * SLOWNESS)) "the slot runs there" runs_on ship.0 "$target"
    ship_is_whole $((lines > 40 ? lines - 40 : 1))
    HOST_ASKED=1
    step "h$victim lost its power as the $1 of a move to h$target, which came to its end"
}
# The one that the moved slot is on, so that its new volume is tried, too.
lines=$(ship_lines)
lose_power "$target"
eventually $((20 * SLOWNESS)) "the moved slot is back as well" runs_on ship.0 "$target"
# The last lines may have been in memory only.
ship_is_whole $((lines > 40 ? lines - 40 : 1))
if [ "$RUN_LENGTH" = long ]; then
    for victim in 1 2 3; do lose_power "$victim"; done
    eventually $((20 * SLOWNESS)) "ship runs" has_running 1 ship 1
    for victim in target source; do lose_power_while_moving "$victim"; done
fi

# --- the network loses and delays packets -----------------------------------------------------
device() { on "$1" sh -c 'ip -o -4 addr show | grep -w 10.77.0."$1" | cut -d" " -f2' device "$1"; }
netem() { on "$1" tc qdisc replace dev "$(device "$1")" root netem "${@:2}"; }
no_netem() { on "$1" tc qdisc del dev "$(device "$1")" root; }
running() { shoal 1 sets --json | jq -r '.[] | select(.phase == "running") | "\(.slot) \(.host) \(.containers[0].pid)"' | sort; }
eventually $((10 * SLOWNESS)) "seven sets run" eval '[ "$(running | wc -l)" = 7 ]'
before=$(running)
if netem 2 delay 40ms 20ms loss 10%; then
    [ "$RUN_LENGTH" = short ] || sleep 50
    sleep 10
    expect_equal "hosts alive with a tenth of one's packets lost" 3 "$(alive_hosts 1)"
    expect_equal "the sets, all where they were" "$before" "$(running)"
    expect "a change over that network" shoal 2 scale web=4 --wait
    expect "and back" shoal 2 scale web=3 --wait
    dropped=$(on 2 tc -s qdisc show dev "$(device 2)" | grep -o 'dropped [0-9]*' | head -n 1)
    expect_between "packets that netem dropped" 1 1000000 "${dropped#dropped }"
    no_netem 2
    step "h2 with 10 % of its packets lost ($dropped) and 40 ms delay: nothing moved, changes went through"
else
    skipped "lost and late packets" "the machines' kernel has no netem"
fi

# --- nothing stays ----------------------------------------------------------------------------
for service in db web; do expect "delete of $service" shoal 1 delete "$service" --yes; done
expect "delete of ship" shoal 2 delete ship --yes --wait
# Of ship one more for each move, at least.
in_trash() { [ "$(shoal 1 volumes --json | jq --arg service "$1" '[.[] | select(.service == $service and .state == "trash")] | length')" -ge "$2" ]; }
eventually 60 "three volumes in the trash" in_trash db 3
eventually 60 "the moved volume in the trash, and what it left" in_trash ship 2
none_in_use() { shoal 1 volumes --json | jq -e 'all(.[]; .state == "trash")'; }
eventually 60 "no volume in use" none_in_use
for host in 1 2 3; do
    gone() {
        [ -z "$(on "$host" sh -c 'find /sys/fs/cgroup/shoal -mindepth 2 -name cgroup.procs -exec cat {} + ; ip netns list; grep /var/lib/shoal/volumes /proc/mounts')" ]
    }
    eventually 60 "no process, network or mount on machine $host" gone
    expect_equal "active devices of volumes on machine $host" "" "$(on "$host" sh -c 'ls /dev/shoal | grep "^shoal-"; true')"
done
step "nothing runs, is mounted or connected; the volumes are in the trash"
