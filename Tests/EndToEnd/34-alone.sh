# All agents end and one starts again alone: it answers from its copy, says so, and restarts its containers; nothing is doubled later.
# shellcheck shell=bash

expect "apply" shoal 1 apply -f "$REPO/Config/examples/web.yaml" --wait
before=$(slots_and_pids)
applied=$(shoal 3 status --json | jq '.[0].appliedIndex')
# An agent notes within a second or so how far the log is committed.
sleep 3
for host in 1 2 3; do kill_agent "$host"; done
start_agent 3

knows_service() { [ "$(shoal 3 services --json | jq -r '.[].name')" = web ]; }
eventually 15 "h3 alone knows the service" knows_service
expect_equal "sets, hosts and processes as h3 knows them alone" "$before" "$(slots_and_pids 3)"
status=$(shoal 3 status --json)
expect_equal "quorum as h3 alone knows it" false "$(jq '.[0].quorum' <<< "$status")"
expect_equal "age of an answer when no leaseholder was heard" null "$(jq '.[0].staleMilliseconds' <<< "$status")"
expect_between "the log's index as h3 alone knows it" "$applied" 1000000 "$(jq '.[0].appliedIndex' <<< "$status")"
text=$(shoal 3 status)
expect_match "shoal status without a leaseholder" 'quorum no' "$text"
expect_match "shoal status without a leaseholder" 'of unknown age: no leaseholder was heard' "$text"
expect_equal "three hosts are known" 3 "$(shoal 3 hosts --json | jq length)"

slot=$(slots_on 3 3 | head -n 1)
[ -n "$slot" ] || failed "a set runs on h3" "one at least" "none"
expect "logs of a set here, without quorum" shoal 3 logs "$slot"
expect_equal "exec in a set here, without quorum" "still $slot" \
    "$(shoal 3 exec -n "$slot" -- sh -c "echo still $slot" 2>&1)"

# A container that dies is started again in its set; nobody has to agree.
pid=$(HOST_ASKED=3 container_field "$slot" .pid)
address=$(HOST_ASKED=3 set_field "$slot" .address)
kill -KILL "$pid"
serves() { [ "$(in_host 3 curl -sS -m 2 "http://$address:8080/")" = "hello from $slot" ]; }
runs_again() { process_ended "$pid" && all_containers | grep -Fxq "h3 $slot" && serves; }
eventually 20 "a container that died runs again, without quorum" runs_again

for host in 1 2; do start_agent "$host"; done
eventually 20 "three hosts see each other" all_see_three
eventually 20 "one leaseholder" agree_on_leaseholder
eventually 20 "six sets run, each once, where the log has them" exactly_as_told 3 web 6
expect_equal "the other sets kept host and process" "$(grep -v "^$slot " <<< "$before")" \
    "$(slots_and_pids 3 | grep -v "^$slot ")"
counts_restart() { [ "$(container_field "$slot" .restarts)" -ge 1 ]; }
eventually 15 "the restart is known to all" counts_restart
expect_equal "no set moved" 6 "$(exactly_as_told 1 web 6 && shoal 1 sets web --json | jq length)"
expect "a change afterwards" shoal 3 scale web=7 --wait
expect "delete" shoal 1 delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
