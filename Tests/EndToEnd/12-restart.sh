# All agents end, by SIGTERM and by SIGKILL, and start again: containers keep running, services are known, a new lease.
# shellcheck shell=bash

expect "apply" shoal 1 apply -f "$REPO/Config/examples/web.yaml" --wait
before=$(slots_and_pids)
events=$(shoal 1 events --limit 10000 --json | jq length)

all_again() {
    local signal=$1 host pid epoch
    epoch=$(shoal 1 status --json | jq '.[0].epoch')
    for host in 1 2 3; do kill "-$signal" "$(agent_pid "$host")"; done
    for host in 1 2 3; do
        eventually 5 "h$host's agent ends on $signal" process_ended "$(agent_pid "$host")"
    done
    while read -r slot _ pid; do
        process_ended "$pid" && failed "$slot runs without agents" "process $pid" "none"
    done <<< "$before"
    for host in 1 2 3; do
        expect_match "page from h$host without agents" '^hello from web\.' \
            "$(in_host "$host" curl -sS -m 5 "http://$(host_address "$host"):18080/" 2>&1)"
    done
    for host in 1 2 3; do start_agent "$host"; done
    eventually 15 "three hosts see each other" all_see_three
    eventually 15 "one leaseholder" agree_on_leaseholder
    [ "$(shoal 1 status --json | jq '.[0].epoch')" -gt "$epoch" ] \
        || failed "a new lease" "an epoch above $epoch" "$(shoal 1 status --json | jq '.[0].epoch')"
    for host in 1 2 3; do
        eventually 5 "six sets run, as h$host knows it" exactly_as_told "$host" web 6
        expect_equal "sets, hosts and processes, as h$host knows them" "$before" "$(slots_and_pids "$host")"
    done
    expect_equal "restarts" 0 "$(shoal 1 sets web --json | jq '[.[].containers[].restarts] | add')"
}
all_again TERM
all_again KILL
[ "$(shoal 1 events --limit 10000 --json | jq length)" -ge "$events" ] \
    || failed "the events are still known" "$events or more" "$(shoal 1 events --limit 10000 --json | jq length)"
# A while later everything is still as it was.
sleep 6
expect_equal "sets, hosts and processes a while later" "$before" "$(slots_and_pids 2)"
expect "a change afterwards" shoal 2 scale web=7 --wait
expect "delete" shoal 3 delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
