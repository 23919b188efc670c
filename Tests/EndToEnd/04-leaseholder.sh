# The leaseholder dies while changes are made: none that was acknowledged is lost, others go on within 3 s.
# shellcheck shell=bash

# Nothing offers this pool, so a change costs no containers and can follow the last at once.
apply_text 1 <<'YAML' > /dev/null || failed "apply" "exit 0" "an error"
service: ledger
pool: nowhere
sets: 1
containers:
  - {name: app, image: demo/web:1, command: [sleep, '1'], cpu: {request: 10m, limit: 10m}, memory: {request: 8Mi, limit: 8Mi}}
YAML
holder=$(lease_number 1)
writer=$(follower_number)
reader=$((6 - holder - writer))
rm -f "$WORK/acknowledged" "$WORK/stop"
write_on() {
    local count=1
    while [ ! -e "$WORK/stop" ]; do
        count=$((count + 1))
        if shoal "$writer" scale "ledger=$count" > /dev/null 2>> "$WORK/unacknowledged"; then
            echo "$count $(now_ms)" >> "$WORK/acknowledged"
        fi
    done
}
helper write_on
writing=$HELPER
some_acknowledged() { [ "$(wc -l < "$WORK/acknowledged")" -ge "$1" ]; }
eventually 10 "ten changes" some_acknowledged 10
before=$(wc -l < "$WORK/acknowledged")
kill_agent "$holder"
eventually 10 "five changes after the kill" some_acknowledged $((before + 6))
touch "$WORK/stop"
wait "$writing"
# The one under way during the kill may have been acknowledged just before it.
gap=$(awk 'NR > 1 && $2 - last > gap { gap = $2 - last } { last = $2 } END { print gap }' "$WORK/acknowledged")
expect_between "longest time without an acknowledged change, in ms" 0 $((3000 * SLOWNESS)) "$gap"
[ "$(lease_number "$writer")" != "$holder" ] || failed "the lease moved" "not h$holder" "h$holder"
expect_equal "both that are left agree who leads" "$(leaseholder "$writer")" "$(leaseholder "$reader")"

# Changes are made one after the other, so the last acknowledged is what there is; every one of
# them is in the log.
last=$(tail -n 1 "$WORK/acknowledged" | cut -d' ' -f1)
for host in "$writer" "$reader"; do
    as_acknowledged() { [ "$(shoal "$host" services --json | jq '.[] | select(.name == "ledger") | .sets')" = "$last" ]; }
    eventually 3 "h$host knows $last sets" as_acknowledged
    shoal "$host" events --limit 10000 --json > "$WORK/events"
    while read -r count _; do
        jq -e --arg text "to $count sets" \
            'any(.[]; .kind == "serviceScaled" and (.message | contains($text)))' "$WORK/events" > /dev/null \
            || failed "the change to $count sets, acknowledged, is in h$host's log" "an event" "none"
    done < "$WORK/acknowledged"
done
start_agent "$holder"
eventually 10 "the killed agent is back" all_see_three
back_as_acknowledged() { [ "$(shoal "$holder" services --json | jq '.[] | select(.name == "ledger") | .sets')" = "$last" ]; }
eventually 5 "it knows $last sets" back_as_acknowledged
expect "delete" shoal "$holder" delete ledger --yes --wait
