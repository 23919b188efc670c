# Any host's socket does anything to any volume: snapshots, clones, trash, sizes; nothing is lost on the way.
# shellcheck shell=bash disable=SC2016

store() {
    cat <<YAML
service: $1
sets: ${2:-2}
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'exec sleep 100000']
    cpu: {request: 100m, limit: 300m}
    memory: {request: 16Mi, limit: 64Mi}
placement: {spread: [host]}
volumes:
  - {name: data, size: 64Mi, mount: /data, class: loop}
  - {name: logs, size: 16Mi, mount: /logs, class: directory}
YAML
}
store shelf | apply_text 1 --wait > /dev/null || failed "apply" "exit 0" "an error"
inside() { local slot=$1; shift; shoal "${ASKED:-1}" exec -n "$slot" -- "$@"; }
holder=$(host_of shelf.0)
asked=$((holder % 3 + 1))
volume() { shoal "$asked" volume "$@"; }
shown() { volume show "$1" --json | jq -r "$2"; }
listed() { shoal "$asked" volumes --json | jq -r --arg volume "$1" "[.[] | select(.volume == \$volume)] | map(.state) | sort | join(\" \")"; }
sum_in() { inside "$1" cat /data/content /data/kept | md5sum; }

inside shelf.0 sh -c 'dd if=/dev/urandom of=/data/content bs=1M count=24 2> /dev/null; echo one > /data/kept; sync'
sum=$(sum_in shelf.0)
expect_equal "bytes in the volume" $(((24 << 20) + 4)) "$(inside shelf.0 cat /data/content /data/kept | wc -c)"

# --- looking ------------------------------------------------------------------------------------
expect_equal "the host that show names" "h$holder" "$(shown shelf.0/data .host)"
expect_equal "the slot that it belongs to" shelf.0 "$(shown shelf.0/data .slot)"
expect_equal "its file system" ext4 "$(shown shelf.0/data .fileSystem)"
expect_between "what is in use" $((24 << 20)) $((64 << 20)) "$(shown shelf.0/data .usedBytes)"
expect_match "for people" "Mounted at +$DATA/h$holder/volumes/mounts/shelf.0.data" "$(volume show shelf.0/data)"

# --- snapshots ----------------------------------------------------------------------------------
expect_match "a snapshot is made from another host" 'made the snapshot shelf.0/data@monday' "$(volume snapshot shelf.0/data --label monday)"
expect_equal "it is listed at once where it was asked for" ready "$(listed shelf.0/data@monday)"
expect_equal "and shown with its volume" shelf.0/data@monday "$(shown shelf.0/data '.snapshots | map(.volume) | join(" ")')"
refused "a label that is taken" 1 'there is a snapshot shelf.0/data@monday already' volume snapshot shelf.0/data --label monday
refused "a label that is none" 1 'labels are 1 to 32 of' volume snapshot shelf.0/data --label 'Mon day'
refused "a volume in use that cannot be held" 1 'keep such data in a volume of class loop or lvm' volume snapshot shelf.0/logs
refused "an unknown volume" 1 'there is no volume shelf.0/none' volume snapshot shelf.0/none
refused "no volume at all" 1 "'shelf' is no volume" volume show shelf
inside shelf.0 sh -c 'echo two > /data/kept; sync'

# --- a clone, and the service that takes it -----------------------------------------------------
expect "a clone of the snapshot" volume clone shelf.0/data@monday test.0/data
expect_equal "it belongs to nobody" null "$(shown test.0/data .slot)"
refused "a clone over a volume" 1 "host h$holder holds a volume test.0/data already" volume clone shelf.0/data test.0/data
refused "a clone over a slot" 1 'the slot shelf.1 is there already' volume clone shelf.0/data shelf.1/data
refused "a volume in use is not removed" 1 'the slot shelf.0 uses shelf.0/data' volume rm shelf.0/data
refused "nor made smaller" 1 'the slot shelf.0 uses shelf.0/data' volume shrink shelf.0/data 32Mi
expect_match "the clone shrinks" 'test.0/data has 48 MiB now' "$(volume shrink test.0/data 48Mi)"
refused "nor is it made larger" 1 'volumes grow with the sets that use them: `shoal resize test --volume data=96Mi`' volume shrink test.0/data 96Mi
refused "not below its content" 1 'its content takes' volume shrink test.0/data 16Mi
store test 1 | sed 's/64Mi, mount/48Mi, mount/' | apply_text "$asked" --wait > /dev/null || failed "apply test" "exit 0" "an error"
expect_equal "the host of the clone's slot" "h$holder" "$(set_field test.0 .host)"
expect_equal "its content is the snapshot's" "$sum" "$(sum_in test.0)"
expect_equal "it belongs to the slot now" test.0 "$(shown test.0/data .slot)"
expect_equal "the original went on meanwhile" two "$(inside shelf.0 cat /data/kept)"

# --- into the trash, and out of it --------------------------------------------------------------
id=$(shown shelf.0/data@monday .id)
expect_match "a snapshot is removed" "put shelf.0/data@monday into the trash \\($id\\)" "$(volume rm shelf.0/data@monday)"
expect_equal "it is in the trash" trash "$(listed shelf.0/data@monday)"
expect "and comes back" shoal "$asked" trash restore "$id"
expect_equal "as it was" ready "$(listed shelf.0/data@monday)"
refused "what is there is not restored" 1 'is not in the trash' shoal "$asked" trash restore "$id"
old=$(shoal "$asked" volumes --json | jq -r '[.[] | select(.volume == "test.0/data" and .state == "trash")][0].id')
refused "a name that is taken" 1 "host h$holder holds a volume test.0/data already" shoal "$asked" trash restore "$old"
expect "what it was before it shrank comes back under another name" shoal "$asked" trash restore "$old" --as spare.0/data
expect_equal "with its old size" $((64 << 20)) "$(shown spare.0/data .sizeBytes)"
expect "and goes again, for nobody uses it" volume rm spare.0/data
expect "for good" shoal "$asked" trash rm "$old" --yes
expect_equal "so that nothing is left of it" "" "$(listed spare.0/data)"
refused "an identity that is none" 1 'is no volume.s identity' shoal "$asked" trash restore nonsense
refused "an identity nobody has" 1 'no host holds a volume of this identity' shoal "$asked" trash restore 0123456789abcdef

# --- a full soft volume can be cleaned up ---------------------------------------------------------
if [ "$(shown shelf.0/logs '.readOnly')" = false ] && ! inside shelf.0 dd if=/dev/zero of=/logs/fill bs=1M count=32 2> /dev/null; then
    skipped "a clean-up" "the host's file system limits folders hard here"
else
    held() { [ "$(shown shelf.0/logs .readOnly)" = true ]; }
    eventually 10 "the full volume is read-only" held
    refused "nothing can be written" 1 'Read-only file system' inside shelf.0 sh -c ': > /logs/fill'
    expect_match "a clean-up is allowed" 'can be written to for 120 s' "$(volume clean shelf.0/logs --for 2m)"
    expect "then files can be emptied" inside shelf.0 sh -c ': > /logs/fill'
    expect "and written" inside shelf.0 sh -c 'echo more > /logs/more'
fi
refused "a time that is none" 64 'must be a time such as' volume clean shelf.0/logs --for soon
refused "one that is never held" 1 'never turns read-only' volume clean shelf.0/data --for 1m

# --- killed on the way ----------------------------------------------------------------------------
# The caller: the work goes on without it.
SHOAL_SOCKET=$RUN/h$asked.sock timeout -s KILL 0.05 "$SHOAL" volume clone shelf.0/data copy.0/data > /dev/null 2>&1
# The holder's agent, before it can answer: its caller is told.
kill -STOP "$(agent_pid "$holder")"
SHOAL_SOCKET=$RUN/h$asked.sock "$SHOAL" volume clone shelf.0/data copy.1/data > /dev/null 2>&1 &
caller=$!
sleep 0.2
kill_agent "$holder"
wait "$caller" && failed "the caller of a killed agent" "an error" "exit 0"
start_agent "$holder"
eventually 20 "three hosts after the agent was killed" all_see_three
# At several moments: the copy is there whole or not at all, what was answered is there, the original
# always.
SHOAL_SOCKET=$RUN/h$asked.sock "$SHOAL" volume clone shelf.0/data copy.2/data > /dev/null 2>&1 &
caller=$!
sleep 0.1
kill_agent "$holder"
answered=no
wait "$caller" && answered=yes
start_agent "$holder"
eventually 20 "three hosts after the agent was killed in the middle" all_see_three
for delay in 0.02 0.3; do
    SHOAL_SOCKET=$RUN/h$asked.sock timeout 20 "$SHOAL" volume snapshot shelf.0/data --label "at-${delay#0.}" > /dev/null 2>&1 &
    caller=$!
    sleep "$delay"
    kill_agent "$holder"
    wait "$caller"
    start_agent "$holder"
    eventually 20 "three hosts after the agent was killed again" all_see_three
done
settled() { [ -z "$(shoal "$asked" volumes --json | jq -r '.[] | select(.state != "ready" and .state != "trash") | .volume')" ]; }
eventually 10 "every volume is whole" settled
[ "$answered" = no ] || expect_equal "a copy that was answered" ready "$(shown copy.2/data .state)"
expect "the original can be written" inside shelf.0 sh -c 'echo three > /data/kept; sync'
expect "a snapshot after all that" volume snapshot shelf.0/data --label last
for name in $(shoal "$asked" volumes --json | jq -r '.[] | select(.state == "ready") | .volume' | grep -E '^copy\.|@'); do
    expect "$name can be removed" volume rm "$name"
done

# --- a host that is lost --------------------------------------------------------------------------
kill_host "$holder"
lost() { [ "$(shown shelf.0/data .state)" = lost ]; }
eventually 20 "a volume of a lost host is shown as lost" lost
refused "nothing can be done to it" 1 "host h$holder" volume snapshot shelf.0/data
start_agent "$holder"
eventually 20 "three hosts again" all_see_three
expect "delete" shoal "$asked" delete shelf --yes --wait
expect "delete the other" shoal "$asked" delete test --yes --wait
eventually 20 "nothing runs after that" nothing_runs
