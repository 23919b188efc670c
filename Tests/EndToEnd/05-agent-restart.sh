# A killed agent comes back: its containers kept their processes, are adopted and still controlled.
# shellcheck shell=bash

expect "apply" shoal 1 apply -f "$REPO/Config/examples/web.yaml" --wait
victim=$(follower_number)
other=$((victim % 3 + 1))
before=$(slots_and_pids "$other")
kill_agent "$victim"
read -r kept ended <<< "$(slots_on "$victim" "$other" | xargs)"
for slot in $kept $ended; do
    expect_equal "page from $slot without its agent" "hello from $slot" \
        "$(in_host "$victim" curl -sS -m 5 "http://$(set_field "$slot" .address):8080/" 2>&1)"
done
start_agent "$victim"
eventually 10 "the agent listens again" shoal "$victim" status
eventually 10 "three hosts see each other" all_see_three
eventually 5 "six sets run" has_running "$victim" web 6
expect_equal "sets, hosts and processes" "$before" "$(slots_and_pids "$victim")"
while read -r slot _ pid; do
    [ -d "/proc/$pid" ] || failed "$slot runs on" "process $pid" "none"
done <<< "$before"
expect_equal "restarts" 0 "$(shoal "$victim" sets web --json | jq '[.[].containers[].restarts] | add')"
expect_equal "exec in an adopted container" adopted "$(shoal "$victim" exec -n "$kept" -- echo adopted)"
expect_match "published port" '^hello from web\.' \
    "$(in_host "$victim" curl -sS -m 5 "http://$(host_address "$victim"):18080/")"

# An exit is noticed, the container started again, and that counted.
pid=$(container_field "$ended" .pid)
kill -KILL "$pid"
restarted_once() { [ "$(HOST_ASKED=${1:-1} container_field "$ended" '| "\(.restarts) \(.running) \(.exitCode)"')" = "1 true 137" ]; }
eventually 10 "the restart of $ended is counted" restarted_once "$victim"
[ "$(container_field "$ended" .pid)" != "$pid" ] || failed "a new process" "not $pid" "$pid"
expect_equal "page from it" "hello from $ended" \
    "$(in_host "$victim" curl -sS --retry 5 --retry-connrefused -m 5 "http://$(set_field "$ended" .address):8080/")"

# So is one while the agent is away.
pid=$(container_field "$kept" .pid)
kill_agent "$victim"
kill -KILL "$pid"
sleep 0.5
start_agent "$victim"
noticed() { [ "$(container_field "$kept" '| "\(.restarts) \(.running)"')" = "1 true" ]; }
eventually 10 "the restart of $kept, which ended without an agent" noticed
eventually 5 "the log and the kernel agree" exactly_as_told 1 web 6
expect_equal "its exit code is known" 137 "$(container_field "$kept" .exitCode)"
expect "delete" shoal "$victim" delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
