# A changed command replaces the sets one after the other; logs and exec reach every set from every host; the end leaves nothing.
# shellcheck shell=bash

service() {
    cat <<YAML
service: web
sets: 6
containers:
  - name: app
    image: demo/web:1
    command:
      - sh
      - -c
      - 'trap "exit 0" TERM; echo $1 > /www/index.html; httpd -p 8080 -h /www; i=0; while :; do i=\$((i + 1)); echo "$1 \$i of \$HOSTNAME"; sleep 0.2 & wait \$!; done'
    cpu: {request: 50m, limit: 300m}
    memory: {request: 16Mi, limit: 32Mi}
    pids: 16
network: {publish: [{port: 8080, host: 18081}]}
YAML
}
expect "apply" apply_text 1 --wait < <(service one)
expect_equal "revisions" 1 "$(shoal 1 sets web --json | jq -c '[.[].revision] | unique | .[]')"
expect_equal "outcome of the same file again" "web unchanged (6 sets, revision 1)" "$(apply_text 2 < <(service one))"

# --- logs and exec from every socket ----------------------------------------------------------
for host in 1 2 3; do
    for slot in web.0 web.1 web.2; do
        expect_equal "exec in $slot by way of h$host" "$slot" "$(shoal "$host" exec -n "$slot" -- hostname)"
        expect_match "last line of $slot by way of h$host" "one [0-9]+ of $slot\$" \
            "$(shoal "$host" logs "$slot" --tail 1)"
    done
    expect_equal "sets in the service's log by way of h$host" 6 \
        "$(shoal "$host" logs web --tail 5 | awk '{ print $NF }' | sort -u | grep -c '^web\.')"
done
shoal 1 exec -n web.1 -- sh -c 'exit 7' > /dev/null
expect_equal "exit code of a command inside" 7 $?
expect_equal "standard input through exec" "in and out" "$(echo "in and out" | shoal 3 exec web.0 -- cat)"
expect_equal "bytes of a long output through exec" 20971520 \
    "$(shoal 2 exec -n web.0 -- dd if=/dev/zero bs=1M count=20 2> /dev/null | wc -c)"
for host in 1 2; do
    # Ctrl-C after two seconds; killed, with exit code 137, if it does not end then.
    timeout -k 5 -s INT 2 "$SHOAL" logs web.2 -f --tail 1 --socket "$RUN/h$host.sock" > "$WORK/followed" 2>&1
    expect_equal "how following logs ends on Ctrl-C" 124 $?
    expect_between "lines that came in two seconds" 4 14 "$(wc -l < "$WORK/followed")"
done

# --- rolling ----------------------------------------------------------------------------------
watch_running() {
    while [ ! -e "$WORK/stop" ]; do
        shoal 3 sets web --json | jq -r '[.[] | select(.phase == "running")] | length'
    done > "$WORK/running"
}
rm -f "$WORK/stop"
helper watch_running
watching=$HELPER
expect "apply of another command" apply_text 3 --wait < <(service two)
touch "$WORK/stop"
wait "$watching"
expect_equal "revisions afterwards" 2 "$(shoal 1 sets web --json | jq -c '[.[].revision] | unique | .[]')"
expect_between "fewest sets running meanwhile, as the log knew" 5 6 "$(sort -n "$WORK/running" | head -n 1)"
for host in 1 2 3; do
    eventually 5 "the log and the kernel agree, as h$host knows it" exactly_as_told "$host" web 6
    for slot in $(slots_on "$host"); do
        expect_equal "page from $slot" two \
            "$(in_host "$host" curl -sS --retry 5 --retry-connrefused -m 5 "http://$(set_field "$slot" .address):8080/")"
    done
done

# A revision that cannot run stops by itself.
apply_text 1 < <(service three | sed 's/- sh$/- nosuchprogram/') > /dev/null || failed "apply of a bad command" "exit 0" "an error"
bad_one() { shoal 1 sets web --json | jq -e 'any(.[]; .revision == 3 and .phase != "running" and .reason != null)'; }
eventually 10 "the first set of the bad revision fails, and says why" bad_one
sleep 3
expect_equal "sets of the revision before that still run" 5 \
    "$(shoal 1 sets web --json | jq '[.[] | select(.revision == 2 and .phase == "running")] | length')"
expect "apply of a good command" apply_text 2 --wait < <(service four)

# --- none, and gone ---------------------------------------------------------------------------
expect "scale to none" shoal 2 scale web=0 --wait
eventually 15 "nothing runs after that" nothing_runs
expect "scale up again" shoal 1 scale web=3 --wait
expect "the log and the kernel agree" exactly_as_told 1 web 3
expect "delete" shoal 3 delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
for host in 1 2 3; do
    for slot in web.0 web.1 web.2 web.3 web.4 web.5; do
        eventually 10 "no trace of $slot on h$host" no_trace_of "$host" "$slot"
    done
    expect_equal "cables on h$host" "" "$(in_host "$host" ip -o link show | grep -o 'shl[a-z0-9-]*')"
    expect_equal "published ports on h$host" "" "$(in_host "$host" nft list ruleset | grep 18081)"
done
