# Two hosts are replaced by empty machines, one after the other; then the loss of a third is borne: writes go on.
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
wipe_host() {
    remove_mounts "$DATA/h$1"
    rm -rf "${DATA:?}/h$1"
}
# Innermost first: file systems of its containers, which died with the host.
remove_mounts() {
    local mount
    grep -F " $1/" /proc/self/mounts | cut -d' ' -f2 | sort -r | while read -r mount; do umount "$mount"; done
}

replace_host 3
replace_host 2
expect "scale with everybody there" shoal 3 scale web=8 --wait
kill_host 2
eventually 15 "another host holds the lease, or the same still" leaseholder 1
expect "a write with two hosts of three" shoal 1 scale web=5
eventually 20 "five sets run on the other hosts" has_running_away 1 web 5 h2
expect "a write at the replaced host" shoal 3 scale web=4 --wait
start_agent 2
eventually 20 "three voters, all alive, at the end" voters_are_three_live
expect "delete" shoal 2 delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
# The scenarios after this one begin with a cluster that knows no lost hosts.
cluster_down_all
