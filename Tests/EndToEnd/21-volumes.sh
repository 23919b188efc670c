# Volumes outlive containers, agents, updates and hosts; full ones harm nobody; deleted ones come back.
# shellcheck shell=bash disable=SC2016

database() {
    cat <<YAML
service: db
sets: 2
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'cat /data/name 2> /dev/null || hostname > /data/name; hostname >> /data/starts; exec sleep 100000']
    env: {REVISION: "$1"}
    cpu: {request: 100m, limit: 300m}
    memory: {request: 16Mi, limit: 64Mi}
placement: {spread: [host]}
volumes:
  - {name: data, size: 64Mi, mount: /data, class: loop}
  - {name: logs, size: 32Mi, mount: /logs, class: directory}
YAML
}
database 1 | apply_text 1 --wait > /dev/null || failed "apply" "exit 0" "an error"
inside() { local slot=$1; shift; shoal "${ASKED:-1}" exec -n "$slot" -- "$@"; }
name_in() { inside "$1" cat /data/name; }
starts_in() { inside "$1" cat /data/starts | wc -l; }
volume_field() { shoal "${ASKED:-1}" volumes --json | jq -r --arg volume "$1" "[.[] | select(.volume == \$volume and .state == \"$2\")][0] | $3"; }
mounts() { grep -c " $DATA/h[0-9]/volumes/" /proc/self/mounts; }
expect_equal "what db.0 wrote" db.0 "$(name_in db.0)"
expect_equal "what db.1 wrote" db.1 "$(name_in db.1)"
holder=$(host_of db.0)
other=$((holder % 3 + 1))
kept=$((other % 3 + 1))
listed() { [ "$(ASKED=$other volume_field db.0/data ready .host)" = "h$holder" ]; }
eventually 5 "the volumes are known on every host" listed
expect_equal "its size" $((64 << 20)) "$(volume_field db.0/data ready .sizeBytes)"
expect_equal "volumes that are mounted" 4 "$(mounts)"

# --- full: this one alone ----------------------------------------------------------------------
full() { inside db.0 dd if=/dev/zero of=/data/fill bs=1M count=100 2>&1; }
expect_match "a full volume" 'No space left on device' "$(full)"
expect "the other set writes on" inside db.1 dd if=/dev/zero of=/data/fill bs=1M count=10
expect "the full one can be cleaned up" inside db.0 sh -c ': > /data/fill'

# --- crashes, restarts, updates ----------------------------------------------------------------
kill -KILL "$(container_field db.0 .pid)"
restarted() { [ "$(container_field db.0 .restarts)" = 1 ] && [ "$(set_field db.0 .phase)" = running ]; }
eventually 10 "the container is started again" restarted
expect_equal "what db.0 wrote, after a crash" db.0 "$(name_in db.0)"
expect_equal "its starts" 2 "$(starts_in db.0)"
pid=$(container_field db.0 .pid)
kill_agent "$holder"
start_agent "$holder"
eventually 20 "three hosts after a restart of the agent" all_see_three
expect_equal "the process after a restart of the agent" "$pid" "$(ASKED=$other HOST_ASKED=$other container_field db.0 .pid)"
expect_equal "volumes that are mounted then" 4 "$(mounts)"
database 2 | apply_text $other --wait > /dev/null || failed "update" "exit 0" "an error"
expect_equal "the host after an update" "h$holder" "$(set_field db.0 .host)"
expect_equal "what db.0 wrote, after an update" db.0 "$(name_in db.0)"
expect_equal "its starts after an update" 3 "$(starts_in db.0)"

# --- growth, and refusals ----------------------------------------------------------------------
expect "a volume grows while it is used" shoal $other resize db --volume logs=48Mi
expect_equal "its new size" $((48 << 20)) "$(volume_field db.0/logs ready .sizeBytes)"
refused() { ! shoal 1 "$@" > "$WORK/out" 2> "$WORK/err"; }
expect "a volume does not shrink in use" refused resize db --volume logs=16Mi
expect_match "with the reason" 'logs of db has 48Mi and cannot shrink to 16Mi' "$(cat "$WORK/err")"
expect "an unknown volume is refused" refused resize db --volume none=16Mi
expect_match "and named" "no volume 'none'; it has data, logs" "$(cat "$WORK/err")"
database 3 | sed 's/class: loop/class: directory/' > "$WORK/other.yaml"
expect "another class is refused" refused apply -f "$WORK/other.yaml"
expect_match "with what to do" 'is of class loop and stays so' "$(cat "$WORK/err")"
# What this process may do the agent may: it grows a mounted ext4 only with CAP_SYS_RESOURCE.
quota_of() {
    local file; file=$(cgroup_file "$holder" db.0/app cpu cpu.cfs_quota_us cpu.max)
    echo "${file%% *}"
}
if [ $((0x$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status) >> 24 & 1)) = 1 ]; then
    skipped "a volume that no host can grow" "this machine lets us grow a mounted ext4"
else
    expect "a growth that no host can do is refused" refused resize db --cpu 400m --volume data=80Mi
    expect_match "and taken back" 'CAP_SYS_RESOURCE.*is taken back' "$(tr '\n' ' ' < "$WORK/err")"
    expect_match "the size from before is wanted" 'has these limits already' "$(shoal 1 resize db --volume data=64Mi)"
    expect_equal "the quota is the one from before" 30000 "$(quota_of)"
    # Nobody waits for it: it stays wanted, and stands in the way of nothing.
    expect "without waiting" shoal 1 resize db --no-wait --cpu 400m --volume data=80Mi
    told() { [[ $(set_field db.0 .reason) == *CAP_SYS_RESOURCE* && $(set_field db.1 .reason) == *CAP_SYS_RESOURCE* ]]; }
    eventually 10 "both hosts refuse it" told
    expect_equal "the quota is still the one from before" 30000 "$(quota_of)"
    expect "other limits afterwards" shoal 1 resize db --cpu 250m
    expect_equal "are in force" 25000 "$(quota_of)"
    lacking() { [[ $(set_field db.0 .reason) == "volume data keeps 64 MiB and does not get the 80 MiB that are wanted"* ]]; }
    eventually 5 "what the volume lacks is told" lacking
    expect_equal "and explained" "$((64 << 20)) $((80 << 20))" \
        "$(shoal 1 explain db.0 --json | jq -r '.[0] | "\(.volumes[0].sizeBytes) \(.wanted.volumes[0].sizeBytes)"')"
    expect_equal "with the command that gives it up" 'shoal resize db --volume data=64Mi' \
        "$(shoal 1 explain db.0 --json | jq -r '.[0].wanted.takeBack[]')"
    expect "giving it up" shoal 1 resize db --volume data=64Mi
    whole() { [ "$(set_field db.0 .reason)" = null ] && [ "$(shoal 1 explain db.0 --json | jq '.[0].wanted')" = null ]; }
    eventually 5 "nothing is lacking then" whole
fi
expect_equal "the starts, after growth and refusals" 3 "$(starts_in db.0)"

# --- a host is lost: its sets wait for it ------------------------------------------------------
kill_host "$holder"
waits() {
    [ "$(HOST_ASKED=$other set_field db.0 .phase)" = pending ] \
        && HOST_ASKED=$other set_field db.0 .reason | grep -q "waits for host h$holder, which holds its volumes data, logs: it is lost"
}
eventually 20 "the set waits and says for what" waits
expect_equal "the other set meanwhile" db.1 "$(ASKED=$kept name_in db.1)"
expect_equal "its volume is listed as lost" lost \
    "$(shoal $other volumes --json | jq -r '[.[] | select(.volume == "db.0/data")][0].state')"
start_agent "$holder"
again() { [ "$(HOST_ASKED=$other set_field db.0 .phase)" = running ] && [ "$(ASKED=$other name_in db.0)" = db.0 ]; }
eventually 40 "the host returns and the set has its volume again" again
eventually 20 "three hosts again" all_see_three

# --- deleted, and brought back -----------------------------------------------------------------
identity=$(volume_field db.0/data ready .id)
expect "delete" shoal 1 delete db --yes --wait
in_trash() { [ "$(shoal 2 trash --json | jq -r '[.[] | select(.service == "db")][0].volumes | map(.state) | join(" ")')" = "trash trash trash trash" ]; }
eventually 20 "all four volumes are in the trash" in_trash
expect_equal "volumes that are mounted after delete" 0 "$(mounts)"
expect "restore" shoal 3 restore db --wait
expect_equal "what db.0 wrote, after restore" db.0 "$(name_in db.0)"
expect_equal "the volume's identity after restore" "$identity" "$(volume_field db.0/data ready .id)"
expect "restoring what is there is refused" refused restore db
expect_match "with the reason" 'there is a service db' "$(cat "$WORK/err")"

# --- a new service of the name starts with new volumes; the old ones stay in the trash ----------
expect "delete again" shoal 1 delete db --yes --wait
eventually 20 "all four volumes are in the trash again" in_trash
database 9 | apply_text 1 --wait > /dev/null || failed "apply anew" "exit 0" "an error"
expect_equal "starts in a new volume" 1 "$(starts_in db.0)"
old_is_kept() { shoal 1 volumes --json | jq -e --arg id "$identity" '.[] | select(.id == $id and .state == "trash")' > /dev/null; }
expect "the old volume is still in the trash" old_is_kept
expect "scale in" shoal 1 scale db=1
one_gone() { [ "$(volume_field db.1/data trash .host)" != null ] && [ "$(mounts)" = 2 ]; }
eventually 20 "the volumes of the set that went are in the trash" one_gone
expect "scale out" shoal 1 scale db=2 --wait
expect_equal "the set that came back has its own" 2 "$(starts_in db.1)"
expect "delete at the end" shoal 1 delete db --yes --wait
eventually 20 "nothing runs after that" nothing_runs
nothing_mounted() { [ "$(mounts)" = 0 ]; }
eventually 10 "nothing is mounted after that" nothing_mounted
