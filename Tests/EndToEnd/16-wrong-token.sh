# A wrong join token binds nothing: the same data folder joins with the right one, and then needs none any more.
# shellcheck shell=bash

# A fourth agent on h2's network.
fourth() {
    helper nsenter "--net=/run/netns/$(namespace 2)" -- "$SHOAL" agent --name h4 \
        --data "$DATA/h4" --socket "$RUN/h4.sock" --address "$(host_address 2):7500" \
        --cgroup-root "$(namespace 4)" --bridge shoal4 --cpu 1 --memory 1Gi "$@" 2>> "$RUN/h4.log"
}
ends() {
    kill -TERM "$HELPER"
    eventually 5 "the fourth agent ends" process_ended "$HELPER"
}
joined=$(host_address 1):$PEER_PORT
mkdir -p "$RUN/h4"
in_host 1 "$SHOAL" init --data "$DATA/other" --address "$(host_address 1):7500" > "$WORK/other.txt" \
    || failed "a second cluster" "exit 0" "$(cat "$WORK/other.txt")"
other=$(grep -o 'shoal1-[A-Za-z0-9_=-]*' "$WORK/other.txt" | head -n 1)

# Twice: the first try must not be in the way of the second either.
for _ in 1 2; do
    : > "$RUN/h4.log"
    fourth --join "$joined" --token "$other"
    says_nobody_answered() { grep -q "no host of cluster .* answered at .*$joined" "$RUN/h4.log"; }
    eventually 15 "an agent with another cluster's token says so" says_nobody_answered
    expect_equal "its kept secret" none "$([ -e "$DATA/h4/cluster-secret" ] && echo kept || echo none)"
    ends
done
expect_equal "its kept secret after the end" none "$([ -e "$DATA/h4/cluster-secret" ] && echo kept || echo none)"
refused "the folder without a token" 1 'belongs to no cluster yet' \
    in_host 2 timeout 20 "$SHOAL" agent --name h4 --data "$DATA/h4" --socket "$RUN/h4.sock" \
    --address "$(host_address 2):7500" --cgroup-root "$(namespace 4)" --bridge shoal4 --cpu 1 --memory 1Gi

fourth --join "$joined" --token-file "$DATA/token"
eventually 15 "h1 sees four hosts" sees_alive 1 4
is_kept() { [ "$(stat -c %a "$DATA/h4/cluster-secret")" = 600 ] && [ ! -e "$DATA/h4/cluster-secret.joining" ]; }
eventually 5 "the secret is kept once a host answered" is_kept
sees_cluster() { [ "$(shoal 4 status --json | jq -r '.[0].clusterID')" = "$(shoal 1 status --json | jq -r '.[0].clusterID')" ]; }
eventually 10 "it is of the same cluster" sees_cluster
ends

# From now on the folder is bound: no token is needed, and another cluster's is refused.
fourth
eventually 15 "it is back without a token" sees_alive 4 4
ends
refused "another cluster's token on a bound folder" 1 'belongs to cluster .*, the token to' \
    in_host 2 timeout 20 "$SHOAL" agent --name h4 --data "$DATA/h4" --socket "$RUN/h4.sock" \
    --address "$(host_address 2):7500" --join "$joined" --token "$other"

# The fourth host is known for good: the next scenario gets a cluster of three.
note_instances
cluster_down_all
