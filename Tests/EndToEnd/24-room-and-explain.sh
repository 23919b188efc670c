# Room for volumes counts where sets are placed; explain says why and what does not hold; top shows what sets use.
# shellcheck shell=bash disable=SC2016,SC2317

# Hosts that give little of their disks to volumes.
export SHOAL_VOLUME_SPACE=300Mi
cluster_up
make_image "$WORK/web.tar" demo/web:1
expect "loading the example image" shoal 1 image load "$WORK/web.tar"
restart_with() { kill_agent "$1"; SHOAL_VOLUME_SPACE=$2 start_agent "$1"; }
restart_with 3 150Mi
eventually 20 "three hosts after a restart of one agent" all_see_three
room_of() { shoal "${ASKED:-1}" hosts --json | jq -r ".[] | select(.name == \"h$1\") | .volumes[0].$2"; }
room_is() { [ "$(ASKED=$1 room_of "$2" capacityBytes)" = $(($3 << 20)) ]; }
for asked in 1 2 3; do
    eventually 15 "h$asked knows the room on h1" room_is $asked 1 300
    eventually 15 "h$asked knows the room on h3" room_is $asked 3 150
done

volumes_of() {
    cat <<YAML
service: db
sets: 3
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'exec sleep 100000']
    cpu: {request: 100m, limit: 300m}
    memory: {request: 16Mi, limit: 64Mi, soft: 32Mi}
    io: {write: 5MBps}
volumes: [{name: data, size: $1, mount: /data, class: directory}]
YAML
}

# --- two fit, the third waits and says for what ---------------------------------------------------
volumes_of 200Mi | apply_text 2 > /dev/null || failed "apply" "exit 0" "an error"
two_run() { [ "$(shoal 1 sets db --json | jq '[.[] | select(.phase == "running")] | length')" = 2 ]; }
eventually 20 "two of three sets run" two_run
waiting=$(shoal 1 sets db --json | jq -r '.[] | select(.phase == "pending") | .slot')
expect_equal "why the third waits" 'no host fits: 3 of 3 hosts lack room for directory volumes (need 200 MiB)' "$(set_field "$waiting" .reason)"
running=$(shoal 1 sets db --json | jq -r '[.[] | select(.phase == "running")][0].slot')
holder=$(host_of "$running")
asked=$((holder % 3 + 1))
expect_equal "promised on a host" $((200 << 20)) "$(ASKED=$asked room_of "$holder" promisedBytes)"
expect_match "free, for people" '100Mi of 300Mi' "$(shoal 1 hosts)"

# --- what can be placed can be backed up, also where there is no room for a copy beside it ---------
mkdir "$WORK/room-target"
shoal 1 exec -n "$running" -- sh -c 'echo kept > /data/file' > /dev/null 2>&1 || failed "writing" "exit 0" "an error"
answer=$(shoal "$asked" volume backup "$running/data" --to "$WORK/room-target" 2>&1) || failed "a backup without a copy" "exit 0" "$answer"
expect_match "it says how" 'not of one moment' "$answer"
expect_match "so does the log" "$running/data is backed up without a snapshot" "$(cat "$RUN/h$holder.log")"

# --- explain, asked at a host that runs nothing of it ----------------------------------------------
explained() { shoal "${ASKED:-3}" explain "$1" --json | jq -r ".[0] | $2"; }
expect_equal "what the waiting set lacks on h1" 'has 100 MiB of 300 MiB free for directory volumes' \
    "$(explained "$waiting" '.hosts[] | select(.host == "h1") | .obstacle')"
expect_equal "what it lacks on h3" 'has 150 MiB of 150 MiB free for directory volumes' \
    "$(explained "$waiting" '.hosts[] | select(.host == "h3") | .obstacle')"
expect_equal "where it would go" null "$(explained "$waiting" .best)"
expect_match "the same for people" "h3 +no .*has 150 MiB of 150 MiB free for directory volumes" "$(shoal 2 explain "$waiting")"
expect_equal "the host of a running set" "h$holder true" \
    "$(explained "$running" '.hosts[] | select(.isPlacedHere) | "\(.host) \(.fits)"')"
expect_equal "the others do not hold its volume" 2 \
    "$(explained "$running" "[.hosts[] | select(.obstacle == \"does not hold its volumes, which are on h$holder\")] | length")"
expect_equal "its write cap" 5000000 "$(explained "$running" '.containers[0].io.writeBytesPerSecond')"
notes=$(ASKED=$asked explained "$running" '.notes | join("\n")')
if ! grep -q "not on one disk" "$RUN/h$holder.log"; then
    expect_match "what a cap is of" 'hold for each container and each disk by itself' "$notes"
fi
if cgroups_are_v2; then
    expect "version 2 charges writing" test "$(grep -c 'charge writing only' <<< "$notes")" = 0
else
    expect_match "what version 1 does not charge" 'charge writing only to who writes directly' "$notes"
    expect_match "what version 1 does with a soft limit" 'soft limit of memory only when' "$notes"
    expect_match "what version 1 does not tell" 'does not tell how long sets waited' "$notes"
fi
expect_match "notes, for people" "note of h$holder: " "$(shoal "$asked" explain "$running")"
refused "explaining what is not there" 1 'there is no set db\.7' shoal 1 explain db.7
refused "explaining what is no set" 1 "'db' is no set" shoal 1 explain db

# --- growth: refused as a whole with the wall, done as far as there is room ------------------------
refused "more than the disk gives" 1 'no room to resize db\.[0-9] on h[12], which has 100 MiB of 300 MiB free for directory volumes' \
    shoal 3 resize db --volume data=320Mi
expect "as much as it gives" shoal 3 resize db --volume data=260Mi
expect_equal "promised then" $((260 << 20)) "$(room_of "$holder" promisedBytes)"

# --- more room, told by the host, is used ----------------------------------------------------------
restart_with 3 1Gi
eventually 30 "the third set runs where there is room now" has_running 1 db 3
expect_equal "its host" h3 "$(set_field "$waiting" .host)"
eventually 20 "three hosts again" all_see_three

# --- how volumes are mounted -----------------------------------------------------------------------
apply_text 1 --wait <<'YAML' > /dev/null || failed "apply" "exit 0" "an error"
service: options
sets: 1
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'exec sleep 100000']
    cpu: {request: 50m, limit: 300m}
    memory: {request: 16Mi, limit: 64Mi}
    io: {write: 8MBps}
volumes:
  - {name: nested, size: 16Mi, mount: /wide/in/side, class: directory}
  - {name: wide, size: 16Mi, mount: /wide, class: directory}
  - {name: fast, size: 320Mi, mount: /fast, class: loop, file-system: xfs, no-exec: true}
  - {name: fixed, size: 16Mi, mount: /fixed, class: directory, read-only: true}
YAML
expect_equal "the one host with room" h3 "$(set_field options.0 .host)"
inside() { shoal 1 exec -n options.0 -- "$@" 2>&1; }
expect_match "a volume in another is there, though it is listed first" '/wide/in/side ' "$(inside cat /proc/mounts)"
expect "writing into it" inside sh -c 'echo inner > /wide/in/side/file'
expect_match "is not seen in the outer one's place" inner "$(cat "$DATA/h3/volumes/mounts/options.0.nested/file" 2>&1)"
expect_match "the file system" '/fast xfs [^ ]*noexec' "$(inside cat /proc/mounts)"
device=$(awk -v point="$DATA/h3/volumes/mounts/options.0.fast" '$5 == point { print $3 }' /proc/self/mountinfo)
expect_match "the volume's own device is capped" "(^|[[:space:]])$device (rbps=max wbps=)?8000000" \
    "$(cgroup_file 3 options.0/app blkio blkio.throttle.write_bps_device io.max)"
expect "writing" inside sh -c 'echo "#!/bin/sh" > /fast/program; chmod +x /fast/program 2> /dev/null || busybox chmod +x /fast/program'
expect_match "no program starts there" '[Pp]ermission denied' "$(inside /fast/program)"
expect_match "nothing is written to what is read-only" 'Read-only file system' "$(inside sh -c 'echo x > /fixed/file')"
printf '%s\n' 'service: options' 'containers: [{name: app, image: "demo/web:1"}]' \
    'volumes: [{name: fast, size: 320Mi, mount: /fast, class: loop}]' > "$WORK/other.yaml"
refused "another file system" 1 'has the file system xfs and keeps it' shoal 1 apply -f "$WORK/other.yaml"

# --- top -------------------------------------------------------------------------------------------
apply_text 1 <<'YAML' > /dev/null || failed "apply" "exit 0" "an error"
service: burner
sets: 1
containers:
  - {name: app, image: "demo/web:1", command: [sh, -c, 'while true; do true; done'], cpu: {request: 100m, limit: 200m}, memory: {request: 8Mi, limit: 32Mi}}
  - {name: idle, image: "demo/web:1", command: [sleep, '100000'], cpu: {request: 10m, limit: 100m}, memory: {request: 8Mi, limit: 32Mi}}
---
service: hog
sets: 1
containers:
  - {name: app, image: "demo/web:1", command: [sh, -c, 'sleep 1; exec dd if=/dev/zero of=/dev/null bs=64M count=100'], cpu: {request: 50m, limit: 200m}, memory: {request: 8Mi, limit: 16Mi}}
YAML
eventually 20 "the burner runs" has_running 1 burner 1
from=$(($(host_of burner.0) % 3 + 1))
used() { shoal "$from" top --json | jq -r ".[] | select(.kind == \"set\" and .slot == \"$1\") | $2"; }
used burner.0 .cpuMillicores > /dev/null
sleep 2
shoal "$from" top burner --containers --json > "$WORK/top"
figure() { jq -r ".[] | select(.kind == \"$1\" and .container == $2) | $3" "$WORK/top"; }
expect_between "CPU of a set that may use 200m" 150 230 "$(figure set null .cpuMillicores)"
expect_between "microseconds it was held back" 100000 10000000 "$(figure set null .throttledMicroseconds)"
expect_between "the same of its container" 100000 10000000 "$(figure container '"app"' .throttledMicroseconds)"
expect_between "CPU of the container that sleeps" 0 20 "$(figure container '"idle"' .cpuMillicores)"
expect_equal "its memory limit" $((32 << 20)) "$(figure container '"idle"' .memoryLimitBytes)"
expect_between "its processes" 1 3 "$(figure container '"idle"' .pids)"
if [ "$(figure set null '.pressure == null')" = true ]; then
    skipped "pressure of a set" "this kernel does not tell it (control groups of version 2 with PSI do)"
else
    expect_between "ten-thousandths of ten seconds in which the burner waited for a processor" 1 10000 "$(figure set null .pressure.cpu)"
fi
killed() { [ "$(used hog.0 .outOfMemoryKills)" -ge 2 ]; }
eventually 30 "two kills for want of memory are counted" killed
expect_equal "every host is in it" "h1 h2 h3" "$(shoal 1 top --json | jq -r '[.[] | select(.kind == "host") | .host] | join(" ")')"
expect_match "for people" 'NAME +HOST +CPU +THROTTLED' "$(shoal 2 top)"
timeout 4 env SHOAL_SOCKET="$RUN/h1.sock" "$SHOAL" top --watch --json > "$WORK/watched"
expect_between "lines while watching" 2 10 "$(grep -c '^\[' "$WORK/watched")"
refused "a service that is not there" 1 'there is no service none' shoal 1 top none

# --- a host that does not answer is named, the others are shown --------------------------------------
kill_host 3
start=$(now_ms)
shoal 1 top > "$WORK/top" || failed "top beside a dead host" "exit 0" "an error"
expect_between "milliseconds that took" 0 $((12000 * SLOWNESS)) $(($(now_ms) - start))
expect_match "the dead host is named" 'h3 gave no figures: ' "$(cat "$WORK/top")"
expect_match "the others are shown" $'\nh2 ' "$(cat "$WORK/top")"
start_agent 3
eventually 40 "three hosts at the end" all_see_three
for name in burner hog options db; do expect "delete $name" shoal 1 delete "$name" --yes; done
eventually 30 "nothing runs at the end" nothing_runs
note_instances
cluster_down_all
