# Two hosts are replaced by empty machines, one after the other; the old ones are forgotten; then the loss of a third is borne: writes go on.
# shellcheck shell=bash

expect "apply" shoal 1 apply -f "$REPO/Config/examples/web.yaml" --wait

# Voters as h1 knows them, and whether all of them are live hosts.
voters_are_three_live() {
    [ "$(shoal 1 hosts --json | jq '[.[] | select(.voter)] | length')" = 3 ] \
        && [ "$(shoal 1 hosts --json | jq '[.[] | select(.voter and .status == "alive")] | length')" = 3 ] \
        && [ "$(shoal 1 status --json | jq '.[0].voters | length')" = 3 ]
}
# Its folder is gone with it: what comes back has another identity.
replace_host() {
    local host=$1
    kill_host "$host"
    eventually 20 "six sets run on the other hosts than h$host" has_running_away 1 web 6 "h$host"
    note_instances
    wipe_host "$host"
    start_agent "$host"
    eventually 20 "three voters, all alive, after h$host was replaced" voters_are_three_live
}
# Nothing of the old machine remains: folder, mounts, cgroups, networks, rules.
wipe_host() {
    local host=$1 instance path
    instance=$(cat "$DATA/h$host/instance")
    grep -o " $DATA/h$host/[^ ]*" /proc/self/mounts | sort -r \
        | while read -r path; do umount "$path" || umount -l "$path"; done
    set_namespaces "$instance" 2> /dev/null | while read -r path; do ip netns del "$path"; done
    in_host "$host" ip -o link show 2> /dev/null | grep -o '^[0-9]*: [a-z0-9-]*' | cut -d' ' -f2 \
        | grep -vx 'lo\|uplink' | while read -r path; do in_host "$host" ip link del "$path" 2> /dev/null; done
    in_host "$host" nft flush ruleset
    find /sys/fs/cgroup -depth -type d -path "*/$(namespace "$host")*" \
        | while read -r path; do rmdir "$path" 2> /dev/null; done
    rm -rf "${DATA:?}/h$host" "${RUN:?}/h$host"
}

replace_host 3
replace_host 2
# The old machines stay listed until they are forgotten; who is alive cannot be.
count_hosts() { shoal 1 hosts --json | jq length; }
expect_equal "hosts with the two that are gone" 5 "$(count_hosts)"
refused "forgetting a host that is alive" 1 'h1 is alive' shoal 1 forget h1
refused "forgetting a host nobody knows" 1 'no host h9' shoal 1 forget h9
expect "forgetting the old h3, of two of that name" shoal 1 forget h3
old=$(shoal 1 hosts --json | jq -r '.[] | select(.status == "lost") | .id')
expect "forgetting the old h2 by its identity" shoal 3 forget "${old:0:12}"
expect_equal "hosts after that" "h1 h2 h3" "$(shoal 1 hosts --json | jq -r '[.[] | select(.status == "alive") | .name] | sort | join(" ")')"
expect_equal "how many hosts after that" 3 "$(count_hosts)"
refused "forgetting it again" 1 'h2 is alive' shoal 1 forget h2
expect "scale with everybody there" shoal 3 scale web=8 --wait
kill_host 2
eventually 15 "somebody holds the lease" has_leaseholder 1
expect "a write with two hosts of three" shoal 1 scale web=5
eventually 20 "five sets run on the other hosts" has_running_away 1 web 5 h2
expect "a write at the replaced host" shoal 3 scale web=4 --wait
start_agent 2
eventually 20 "three voters, all alive, at the end" voters_are_three_live
expect "delete" shoal 2 delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
# The scenarios after this one begin with a cluster that knows no lost hosts.
cluster_down_all
