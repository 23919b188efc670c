# Volumes are backed up while written to, and come back: beside, in place, on another host, by themselves.
# shellcheck shell=bash disable=SC2016

target=$WORK/target
mkdir "$target"
database() {
    cat <<YAML
service: db
sets: 1
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'hostname >> /data/starts; exec sleep 100000']
    cpu: {request: 100m, limit: 300m}
    memory: {request: 16Mi, limit: 64Mi}
volumes:
  - {name: data, size: 128Mi, mount: /data, backup: {every: $1, keep: {last: 3}, to: "$2"$3}}
YAML
}
inside() { shoal "${ASKED:-1}" exec -n db.0 -- "$@"; }
backups() { shoal "${ASKED:-1}" volume backups db.0/data --json | jq -r ".[0] | $1"; }
phase() { HOST_ASKED=${ASKED:-1} set_field db.0 .phase; }
work_left() { grep -lsE '^name .*(@shoal-|0restore-|0backup-|0drill-)' "$DATA"/h*/volumes/records/*; }
nothing_of_work() { ! work_left && ! grep -qE "$DATA/h[0-9]/volumes/mounts/(0|[^ ]*@shoal)" /proc/self/mounts; }

# Every host that it may run on can do without the others.
for host in 1 2 3; do expect "the image on h$host" shoal "$host" image load "$WORK/web.tar"; done
database 1d "$target" "" | apply_text 1 --wait > /dev/null || failed "apply" "exit 0" "an error"
holder=$(host_of db.0)
other=$((holder % 3 + 1))
# The host with the volume is the one that dies below: ask another.
export ASKED=$other
inside sh -c 'echo precious > /data/a; dd if=/dev/urandom of=/data/big bs=1M count=24 2> /dev/null; ln /data/a /data/b; chmod 640 /data/a'

# --- from a snapshot, under load; the schedule makes the first by itself --------------------------
first() { [ "$(backups '.backups | length')" -ge 1 ]; }
eventually 30 "the first backup is made by itself" first
writing() { while inside sh -c 'date >> /data/log; dd if=/dev/zero of=/data/load bs=64k count=16 conv=fsync' > /dev/null 2>&1; do :; done; }
helper writing
writer=$HELPER
expect "a backup while it is written to" shoal $other volume backup db.0/data
expect_equal "its moment is one" true "$(backups '.backups[0].pointInTime')"
newest=$(backups '.backups[0].id')
expect "restored beside, from another host" shoal $other volume restore db.0/data --as test.0/data
digest=$(backups '.backups[0].digest')
expect "restored and backed up again it is the same" shoal $other volume restore db.0/data --backup "${newest:0:8}" --as again.0/data
for name in test again; do
    image=$(shoal 1 volume show $name.0/data --json | jq -r .id)
    mkdir -p "$WORK/mount"
    mount -o loop,ro,noload "$DATA/h$holder/volumes/data/$image.image" "$WORK/mount" || failed "mount $name" "a file system" "none"
    expect_equal "a file in $name" precious "$(cat "$WORK/mount/a")"
    expect_equal "its mode and links in $name" "640 2" "$(stat -c '%a %h' "$WORK/mount/a")"
    sha256sum < "$WORK/mount/big" > "$WORK/big-$name"
    umount "$WORK/mount"
    expect "remove $name" shoal 1 volume rm $name.0/data
done
expect_equal "a large file" "$(inside cat /data/big | sha256sum | cut -d' ' -f1)" "$(cut -d' ' -f1 "$WORK/big-test")"
kill_tree "$writer" 2> /dev/null
expect_match "the digest" '^[0-9a-f]{64}$' "$digest"

# --- to peers, of other racks --------------------------------------------------------------------
expect "a backup to peers" shoal 1 volume backup db.0/data --to peers:2
expect_equal "the hosts that keep it" "$(for h in 1 2 3; do [ $h = "$holder" ] || echo h$h; done | tr '\n' ' ')" \
    "$(backups '[.backups[] | select(.place | startswith("h")) | .place] | unique | join(" ")') "
expect_equal "copies of the newest backup; the target has only an older one" "2 3" "$(backups '.durability | "\(.copies) \(.disks)"')"
expect_match "show tells both" "Copies +2 at h[123], h[123].*not counted: $target has only older ones" "$(shoal $other volume show db.0/data)"
expect_match "show says how safe it is" 'Durability +[0-9.]+ nines' "$(shoal $other volume show db.0/data)"
refused "an unknown backup" 1 'no backup ffff' shoal 1 volume restore db.0/data --backup ffffffff --replace
refused "in place while it is alive" 1 'which is alive; --replace' shoal 1 volume restore db.0/data
refused "to nowhere" 1 'is no target' shoal 1 volume backup db.0/data --to nowhere
refused "to a folder that is not there" 1 'does not exist' shoal 1 volume backup db.0/data --to "$WORK/none"
password=$(shoal 1 volume backup-key)
cluster=$(shoal 1 volume backup-key --json | jq -r .cluster)
listed=$(RESTIC_PASSWORD=$password restic -r "$target/$cluster/db.0.data" --no-cache --no-lock snapshots --json | jq length)
expect_between "backups that plain restic lists" 2 3 "$listed"

# --- an empty volume, and one that goes away meanwhile: nobody is blamed, nothing else is lost -----
empty() {
    apply_text 1 --wait > /dev/null << YAML || failed "apply of an empty volume" "exit 0" "an error"
service: void
sets: 1
containers:
  - {name: app, image: demo/web:1, command: [sleep, "100000"], cpu: {request: 50m, limit: 300m}, memory: {request: 16Mi, limit: 64Mi}}
volumes:
  - {name: d, size: 96Mi, mount: /d, class: directory, backup: {every: 7d, to: peers}}
YAML
}
void() { shoal 1 volume backups void.0/d --json | jq -r "$1"; }
places() { backups '[.backups[] | select(.place | startswith("h")) | .place] | unique | join(" ")'; }
kept=$(places)
empty
void_copies() { [ "$(void '[.[] | select(.deleted | not)][0].durability.copies')" = 2 ]; }
eventually 30 "an empty volume is backed up by itself" void_copies
expect "a backup of it" shoal 1 volume backup void.0/d
expect "its restore" shoal 1 volume restore void.0/d --as hollow.0/d
expect "away with that" shoal 1 volume rm hollow.0/d
expect "a backup of the full one" shoal 1 volume backup db.0/data --to peers
expect_equal "where it is" "$kept" "$(places)"
shoal 1 exec -n void.0 -- dd if=/dev/urandom of=/d/load bs=1M count=64 2> /dev/null
shoal 1 volume backup void.0/d > "$WORK/gone" 2>&1 &
gone=$!
works() { work_left > /dev/null; }
eventually 20 "the backup has begun" works
expect "delete during a backup" shoal 1 delete void --yes
wait "$gone" && failed "a backup of what is deleted" "a failure" "$(cat "$WORK/gone")"
expect_match "what it says" 'deleted while it was backed up|no volume void' "$(cat "$WORK/gone")"
eventually 20 "nothing is left of it" nothing_of_work
expect "a backup of another volume after that" shoal 1 volume backup db.0/data --to peers
expect_equal "where that is" "$kept" "$(places)"
expect_equal "why the last one failed" null "$(backups .failure)"
earlier=$(void '.[0].backups[0].id')
no_void() { [ "$(shoal 1 services --json | jq '[.[] | select(.name == "void")] | length')" = 0 ]; }
eventually 20 "the service is gone" no_void
empty
eventually 30 "the next of the name is backed up" void_copies
refused "in place of the next one's" 1 'of an earlier service void.*--as' shoal 1 volume restore void.0/d --backup "$earlier" --replace
expect "the earlier one's is still there" shoal 1 volume restore void.0/d --backup "$earlier" --as hollow.0/d
expect "away with that, too" shoal 1 volume rm hollow.0/d
expect "delete the next" shoal 1 delete void --yes --wait

# --- killed in the middle ------------------------------------------------------------------------
inside dd if=/dev/urandom of=/data/more bs=1M count=40 2> /dev/null
killed_during() {
    local what=$1
    shift
    helper shoal $other "$@"
    works() { work_left > /dev/null; }
    eventually 20 "$what has begun" works
    sleep 0.$((RANDOM % 6))
    kill_agent "$holder"
    start_agent "$holder"
    eventually 20 "three hosts after a kill in the middle of $what" all_see_three
    eventually 20 "nothing is left of $what" nothing_of_work
}
killed_during "a backup" volume backup db.0/data
before=$(backups '.backups | length')
expect "a backup after that" shoal $other volume backup db.0/data
[ "$(backups '.backups | length')" -ge "$before" ] || failed "backups are kept" "$before" "fewer"
killed_during "a restore" volume restore db.0/data --as half.0/data
expect_equal "volumes of a restore that was cut off" 0 "$(shoal 1 volumes --json | jq '[.[] | select(.volume == "half.0/data" and .state == "ready")] | length')"
expect "a restore after that" shoal $other volume restore db.0/data --as half.0/data
expect "its removal" shoal $other volume rm half.0/data

# --- in place, while its host is alive -----------------------------------------------------------
inside sh -c 'echo broken > /data/a'
expect "in place" shoal $other volume restore db.0/data --backup "$(backups '.backups[0].id')" --replace
expect_equal "what was broken" precious "$(inside cat /data/a)"
expect_equal "where it runs" "h$holder" "$(HOST_ASKED=$other set_field db.0 .host)"
in_trash() { [ "$(shoal 1 volumes --json | jq '[.[] | select(.volume == "db.0/data" and .state == "trash")] | length')" = 1 ]; }
eventually 5 "what it was is in the trash" in_trash

# --- a host is lost with its disk: one command ---------------------------------------------------
expect "a last backup" shoal $other volume backup db.0/data
kill_host "$holder"
awk -v folder="$DATA/h$holder/" 'index($2, folder) == 1 { print $2 }' /proc/self/mounts | sort -r \
    | while read -r mount; do umount -l "$mount"; done
mv "$DATA/h$holder" "$WORK/lost"
waits() { [ "$(phase)" = pending ] && HOST_ASKED=$other set_field db.0 .reason | grep -q 'its newest backup is of .*shoal volume restore db.0/data'; }
eventually 20 "the set waits and names its backup and the command" waits
start=$(now_ms)
expect "one command" shoal $other volume restore db.0/data
took=$(since "$start")
expect_equal "what was lost" precious "$(inside cat /data/a)"
[ "$(HOST_ASKED=$other set_field db.0 .host)" != "h$holder" ] || failed "where it runs" "another host" "h$holder"
measured "a lost host's volume runs elsewhere" "$took after the command"

# --- the host comes back with its disk: what it has goes into the trash -------------------------
mv "$WORK/lost" "$DATA/h$holder"
start_agent "$holder"
eventually 30 "three hosts again" all_see_three
gave_way() { [ "$(HOST_ASKED=$other set_field db.0 .phase)" = running ] && [ "$(shoal $other volumes --json | jq -r --arg host "h$holder" '[.[] | select(.volume == "db.0/data" and .host == $host and .state == "ready")] | length')" = 0 ]; }
eventually 20 "the old volume is in the trash" gave_way
expect_equal "copies of the set that run" 1 "$(all_containers | grep -c ' db.0$')"

# --- by itself -----------------------------------------------------------------------------------
database 10s peers ", restore-on-loss: 2s, drill: 10s" | apply_text $other > /dev/null || failed "apply" "exit 0" "an error"
holder=$(HOST_ASKED=$other host_of db.0)
other=$((holder % 3 + 1))
ASKED=$other
inside sh -c 'echo newest > /data/a; sync'
# Moments of backups are whole seconds: one of the second of the writing may have come before it.
sleep 1.1
begun=$(date -u +%Y-%m-%dT%H:%M:%S)
scheduled() { [[ "$(backups '[.backups[] | select(.place | startswith("h")) | .time] | max')" > "$begun" ]]; }
eventually 40 "the schedule makes a backup" scheduled
drilled() { [ "$(backups '.drill.problem // "none"')" = none ] && [ "$(backups '.drill.durationMilliseconds // 0')" -gt 0 ]; }
eventually 40 "a drill restores and verifies it" drilled
start=$(now_ms)
kill_host "$holder"
elsewhere() { [ "$(phase)" = running ] && [ "$(HOST_ASKED=$other set_field db.0 .host)" != "h$holder" ]; }
eventually 60 "the set comes back by itself" elsewhere
took=$(since "$start")
expect_equal "what it has" newest "$(inside cat /data/a)"
measured "a lost host's volume is back by itself" "$took after the kill"
start_agent "$holder"
eventually 30 "three hosts at the end" all_see_three
eventually 20 "the old volume gives way" gave_way
expect "delete" shoal "$other" delete db --yes --wait
expect_between "backups that outlive the service" 1 20 "$(backups '.backups | length')"
refused "forgetting is for good, and of what is gone" 1 'no backups of db.1/data' shoal "$other" volume forget-backups db.1/data
expect "forget them" shoal "$other" volume forget-backups db.0/data
eventually 20 "nothing runs after that" nothing_runs
eventually 20 "nothing is left of work" nothing_of_work
