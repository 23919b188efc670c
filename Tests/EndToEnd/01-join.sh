# Three agents find each other: one leads, all three vote; who has no right token is refused.
# shellcheck shell=bash

for host in 1 2 3; do
    expect_equal "hosts alive as h$host sees them" "h1 h2 h3" \
        "$(shoal "$host" hosts --json | jq -r '[.[] | select(.status == "alive") | .name] | sort | join(" ")')"
    expect_equal "voters as h$host knows them" "h1 h2 h3" \
        "$(shoal "$host" status --json | jq -r '[.[0].voters[].name] | sort | join(" ")')"
    expect_equal "leaseholders among the hosts as h$host lists them" 1 \
        "$(shoal "$host" hosts --json | jq '[.[] | select(.leaseholder)] | length')"
    expect_equal "quorum as h$host knows it" true "$(shoal "$host" status --json | jq '.[0].quorum')"
done
expect "all agree who leads" agree_on_leaseholder
expect_equal "mode of the host's key" 600 "$(stat -c %a "$DATA/h1/host.key")"
expect_equal "mode of the cluster's secret" 600 "$(stat -c %a "$DATA/h1/cluster-secret")"

# A fourth agent, with whatever flags are given; it shares h2's network.
fourth() {
    in_host 2 timeout 20 "$SHOAL" agent --name h4 --data "$DATA/h4" \
        --socket "$RUN/h4.sock" --address "$(host_address 2):7500" \
        --cgroup-root "$(namespace 4)" --bridge shoal4 --cpu 1 --memory 1Gi "$@"
}
joined=$(host_address 1):$PEER_PORT
token=$(cat "$DATA/token")
refused "an agent that belongs to no cluster" 1 'belongs to no cluster yet' fourth
refused "a token with a wrong character" 1 'checksum' \
    fourth --join "$joined" --token "${token%??}$([ "${token: -1}" = a ] && echo bb || echo aa)"
refused "a text that is no token" 1 'no join token' fourth --join "$joined" --token secret
refused "a token without a host to join" 1 'needs --join' fourth --token "$token"
refused "a host name nobody knows" 1 'could not look up' \
    fourth --join nowhere.invalid:7400 --token "$token"
refused "a data folder in use" 1 'another agent uses' \
    in_host 2 "$SHOAL" agent --name h2 --data "$DATA/h2" \
    --socket "$RUN/h4.sock" --address "$(host_address 2):7500"
rm -rf "${DATA:?}/h4"

# The right token of another cluster: nobody answers, and the agent says what that may mean.
in_host 1 "$SHOAL" init --data "$DATA/other" --address "$(host_address 1):7500" > "$WORK/other.txt" \
    || failed "a second cluster" "exit 0" "$(cat "$WORK/other.txt")"
other=$(grep -o 'shoal1-[A-Za-z0-9_=-]*' "$WORK/other.txt" | head -n 1)
wrong_cluster() { shoal 1 status --json | jq '.[0].peerPlane.wrongCluster'; }
before=$(wrong_cluster)
mkdir -p "$RUN/h4"
helper fourth --join "$joined" --token "$other" 2> "$RUN/h4.log"
says_nobody_answered() { grep -q "no host of cluster .* answered at .*$joined.*token" "$RUN/h4.log"; }
eventually 15 "an agent with another cluster's token says so" says_nobody_answered
pkill -TERM -f -- "--name h4 --data $DATA/h4"
wait "$HELPER"
[ "$(wrong_cluster)" -gt "$before" ] || failed "datagrams of the other cluster counted at h1" "more than $before" "$(wrong_cluster)"
expect_equal "hosts after all that" 3 "$(shoal 1 hosts --json | jq length)"

refused "a second init on the same folder" 1 'already|belongs' \
    in_host 1 "$SHOAL" init --data "$DATA/other" --address "$(host_address 1):7500"
refused "init on the folder of a running agent" 1 'another agent uses' \
    in_host 1 "$SHOAL" init --data "$DATA/h1" --address "$(host_address 1):$PEER_PORT"
rm -rf "${DATA:?}/h4" "${DATA:?}/other"
