# A host cut off keeps what it runs and refuses changes; the others go on; healed, every set runs once.
# shellcheck shell=bash

expect "apply" shoal 1 apply -f "$REPO/Config/examples/web.yaml" --wait

# The first moments of a leaseholder cut off are too early: it may still be right.
no_quorum='no quorum: nobody holds the lease'
change_is_refused() { refused "a change at the host cut off" 1 "$no_quorum" shoal "$1" scale web=1; }
consistent_is_refused() {
    refused "a consistent answer of the host cut off" 1 "$no_quorum" shoal "$1" status --consistent
}

# cut_and_heal HOST: what must hold whoever is cut off.
cut_and_heal() {
    local cut=$1 asked=$(($1 % 3 + 1)) kept kept_pids pid host change consistent
    kept=$(slots_on "$cut" "$asked")
    kept_pids=$(slots_and_pids "$asked" | awk -v host="h$cut" '$2 == host { print $3 }')
    in_host "$cut" ip link set uplink down
    # A write waits ten seconds for a leaseholder; both wait at once.
    helper consistent_is_refused "$cut"
    consistent=$HELPER
    helper change_is_refused "$cut"
    change=$HELPER
    eventually 20 "six sets run on the hosts that see each other" has_running_away "$asked" web 6 "h$cut"
    expect "a change at a host of the majority" shoal "$asked" scale web=7 --wait

    wait "$change" || exit 1
    wait "$consistent" || exit 1
    expect_equal "quorum as the host cut off knows it" false "$(shoal "$cut" status --json | jq '.[0].quorum')"
    for pid in $kept_pids; do
        process_ended "$pid" && failed "the host cut off keeps its sets" "process $pid" "none"
    done
    for slot in $kept; do
        all_containers | grep -Fxq "h$cut $slot" \
            || failed "the host cut off keeps its sets" "h$cut $slot" "$(all_containers)"
    done

    in_host "$cut" ip link set uplink up
    eventually 20 "three hosts see each other again" all_see_three
    eventually 20 "seven sets run, each once" exactly_as_told "$asked" web 7
    for host in 1 2 3; do
        eventually 5 "h$host knows them" exactly_as_told "$host" web 7
        expect_equal "sets wanted as h$host knows it, not what was refused" 7 \
            "$(shoal "$host" status --json | jq '.[0].setsWanted')"
    done
    expect "a change at the host that was cut off" shoal "$cut" scale web=6 --wait
    eventually 15 "six sets run, each once" exactly_as_told "$asked" web 6
}
cut_and_heal "$(follower_number)"
cut_and_heal "$(lease_number 1)"
expect "delete" shoal 1 delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
