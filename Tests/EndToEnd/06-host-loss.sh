# A dead host's sets run elsewhere within 10 s; the host that comes back stops what is not its own any more.
# shellcheck shell=bash

expect "apply" shoal 1 apply -f "$REPO/Config/examples/web.yaml" --wait
victim=$(follower_number)
asked=$((victim % 3 + 1))
steady=$(slots_and_pids "$asked" | grep -v " h$victim ")
lost=$(slots_on "$victim" "$asked")

start=$(now_ms)
kill_host "$victim"
eventually 20 "six sets run on the other hosts" has_running_away "$asked" web 6 "h$victim"
expect_between "milliseconds from the kill to six sets running elsewhere" 0 $((10000 * SLOWNESS)) $(($(now_ms) - start))
for slot in $lost; do
    host=$(HOST_ASKED=$asked host_of "$slot")
    expect_equal "page from $slot in its new place" "hello from $slot" \
        "$(in_host "$host" curl -sS --retry 5 --retry-connrefused -m 5 "http://$(HOST_ASKED=$asked set_field "$slot" .address):8080/")"
done
status_of() { shoal "$asked" hosts --json | jq -r --arg name "h$1" '.[] | select(.name == $name) | .status'; }
expect_equal "what the others call the dead host" lost "$(status_of "$victim")"

start_agent "$victim"
eventually 10 "three hosts see each other" all_see_three
is_alive() { [ "$(status_of "$victim")" = alive ]; }
eventually 5 "the host counts as alive" is_alive
for slot in $lost; do
    eventually 10 "no trace of the old copy of $slot" no_trace_of "$victim" "$slot"
done
expect "the log and the kernel agree" exactly_as_told "$victim" web 6
expect_equal "the sets that were not lost kept their processes" "$steady" \
    "$(slots_and_pids "$asked" | grep -F "$(cut -d' ' -f1 <<< "$steady")")"
expect "scale" shoal "$victim" scale web=9 --wait
[ "$(slots_on "$victim" | wc -l)" -ge 1 ] || failed "the host gets sets again" "some" "none"

# Only the agent dies, and longer than others wait for it: two copies run, until it is back.
before=$(slots_on "$victim" "$asked")
kill_agent "$victim"
eventually 20 "nine sets run on the other hosts" has_running_away "$asked" web 9 "h$victim"
for slot in $before; do
    all_containers | grep -Fxq "h$victim $slot" \
        || failed "$slot runs on without its agent" "h$victim $slot" "$(all_containers)"
done
steady=$(slots_and_pids "$asked")
start_agent "$victim"
eventually 10 "three hosts see each other" all_see_three
for slot in $before; do
    eventually 15 "the returned host ends its old copy of $slot" no_trace_of "$victim" "$slot"
done
eventually 5 "the log and the kernel agree" exactly_as_told "$victim" web 9
expect_equal "the other sets kept their processes" "$steady" "$(slots_and_pids "$asked")"
expect "delete" shoal "$victim" delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
