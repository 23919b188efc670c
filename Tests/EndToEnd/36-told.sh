# What goes wrong with volumes and processes on one host is told on every host: listings, reasons, events.
# shellcheck shell=bash disable=SC2016

frail() {
    cat <<YAML
service: frail
sets: 1
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'exec sleep 100000']
    cpu: {request: 100m, limit: 300m}
    memory: {request: 16Mi, limit: 32Mi}
volumes:
  - {name: data, size: 32Mi, mount: /data, class: loop}
  - {name: logs, size: 20Mi, mount: /logs, class: directory}
YAML
}
frail | apply_text 1 --wait > /dev/null || failed "apply" "exit 0" "an error"
holder=$(host_of frail.0)
asked=$((holder % 3 + 1))
inside() { shoal "$asked" exec -n frail.0 -- "$@"; }
volume_field() { shoal "$asked" volumes --json | jq -r --arg volume "frail.0/$1" "[.[] | select(.volume == \$volume)][0].$2"; }
told() { shoal "$asked" events --limit 1000 --json | jq -r --arg kind "$1" --arg subject "$2" '[.[] | select(.kind == $kind and .subject == $subject)] | length'; }
is_told() { [ "$(told "$1" "$2")" = "${3:-1}" ]; }
last_told() { shoal "$asked" events --limit 1000 --json | jq -r --arg kind "$1" '[.[] | select(.kind == $kind)][-1].message'; }
is_state() { [ "$(volume_field "$1" state)" = "$2" ]; }

# --- filling up ----------------------------------------------------------------------------------
write_logs() { inside dd if=/dev/zero of="/logs/$1" bs=1M count="$2"; }
write_logs first 17 > /dev/null 2>&1
eventually 10 "80 % is told" is_told volumeFilling frail.0/logs
expect_match "with the numbers" "is 80 % full on h$holder, of 20 MiB" "$(last_told volumeFilling)"
write_logs second 4 > /dev/null 2>&1 || true
if shoal "$asked" explain frail.0 | grep -q 'limit of volume logs is soft'; then
    eventually 10 "read-only is told" is_told volumeReadOnly frail.0/logs
    eventually 5 "and listed" is_state logs read-only
    expect_match "with what to do" 'shoal volume clean frail.0/logs' "$(volume_field logs problem)"
    expect "a clean-up" shoal "$asked" volume clean frail.0/logs --for 1m
    inside sh -c 'rm /logs/first /logs/second'
    eventually 10 "writable again is told" is_told volumeWritable frail.0/logs
    eventually 5 "and listed so" is_state logs ready
else
    skipped "a soft volume" "the file system of $DATA counts by project"
    inside sh -c 'rm /logs/first /logs/second'
fi
filled=$(told volumeFilling frail.0/logs)
for _ in 1 2 3; do
    write_logs again 17 > /dev/null 2>&1
    sleep 1.2
    inside rm /logs/again
    sleep 1.2
done
expect_equal "lines told of a volume that is filled and emptied" "$filled" "$(told volumeFilling frail.0/logs)"

# --- a killed process of a container that goes on --------------------------------------------------
pid=$(container_field frail.0 .pid)
inside sh -c 'tail /dev/zero' > /dev/null 2>&1
inside sh -c 'tail /dev/zero' > /dev/null 2>&1
eventually 15 "the kill is told" is_told processOutOfMemory frail.0
expect_match "with container, host and numbers" "in container app w.* killed on h$holder, .* of limit 32 MiB" "$(last_told processOutOfMemory)"
expect_equal "the container goes on" "$pid" "$(container_field frail.0 .pid)"

# --- content that is gone, content without a record, an agent that starts again --------------------
volumes="$DATA/h$holder/volumes"
image="$volumes/data/$(volume_field data id).image"
kill_agent "$holder"
mv "$image" "$WORK/away"
echo mine > "$volumes/data/0123456789abcdef.image"
start_agent "$holder"
eventually 20 "three hosts after a restart of the agent" all_see_three
eventually 10 "gone content is listed" is_state data gone
expect_equal "and told" 1 "$(told volumeFailed frail.0/data)"
eventually 10 "what has no record is told" is_told volumeUnrecorded "h$holder"
expect_match "with its place" "found .*/volumes/data/0123456789abcdef.image, which has no record" "$(last_told volumeUnrecorded)"
mv "$WORK/away" "$image"
eventually 40 "it is back" is_told volumeRecovered frail.0/data
expect_equal "as the listing says" ready "$(volume_field data state)"

# --- a file system that met an error --------------------------------------------------------------
device=$(awk -v point="$volumes/mounts/frail.0.data" '$2 == point { print $1 }' /proc/self/mounts)
expect "the kernel is told of an error" sh -c "echo 'a test' > /sys/fs/ext4/${device#/dev/}/trigger_fs_error"
eventually 10 "it is listed" is_state data failed
expect_equal "and told" 2 "$(told volumeFailed frail.0/data)"
expect_equal "show says so" 'failed true' "$(shoal "$asked" volume show frail.0/data --json | jq -r '"\(.state) \(.readOnly)"')"
expect_match "with what to do, for people" 'Problem +its file system met an error.*start it again' "$(shoal "$asked" volume show frail.0/data)"
expect_match "the list of volumes, too" 'frail.0/data on h[1-3]: its file system met an error' "$(shoal "$asked" volumes)"
expect_match "and explain" 'volume data: its file system met an error' "$(shoal "$asked" explain frail.0)"
expect_match "the set's reason" 'volume data: its file system met an error' "$(set_field frail.0 .reason)"
kill_agent "$holder"
start_agent "$holder"
eventually 20 "three hosts after another restart" all_see_three
# More than one look and one report later.
sleep 3
expect_equal "the state then" failed "$(volume_field data state)"
expect_equal "what was told of failures" 2 "$(told volumeFailed frail.0/data)"
expect_equal "what was told of their end" 1 "$(told volumeRecovered frail.0/data)"
expect_equal "what was told of what has no record" 1 "$(told volumeUnrecorded "h$holder")"
rm "$volumes/data/0123456789abcdef.image"
expect "the set ends, and the volume with it" shoal "$asked" delete frail --yes --wait
is_trashed() { is_state data trash; }
eventually 20 "the volume is in the trash" is_trashed
expect "it starts again" shoal "$asked" restore frail --wait
eventually 40 "the volume was checked and is well" is_told volumeRecovered frail.0/data 2
expect "it can be written to" inside sh -c 'echo well > /data/file'
expect "delete at the end" shoal 1 delete frail --yes --wait
eventually 20 "nothing runs after that" nothing_runs
