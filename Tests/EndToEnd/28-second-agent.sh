# A second agent on a machine that would share groups, bridge, socket or folder is refused, and the first one's sets run on.
# shellcheck shell=bash

expect "apply" shoal 1 apply -f "$REPO/Config/examples/web.yaml" --wait
before=$(slots_and_pids)
other=$DATA/other
# second_agent FLAG...: on h1, with a folder, a socket and a port of its own unless said otherwise.
second_agent() {
    in_host 1 timeout 20 "$SHOAL" agent --name h1b --data "$other" --socket "$RUN/other.sock" \
        --address "$(host_address 1):7500" --cpu 1 --memory 1Gi \
        --join "$(host_address 1):$PEER_PORT" --token-file "$DATA/token" "$@"
}
refused "the same control groups" 1 'another agent on this machine has the control group.*--cgroup-root' \
    second_agent --cgroup-root "$(namespace 1)" --bridge shoal9
refused "the same bridge" 1 'another agent on this machine has the bridge.*--bridge' \
    second_agent --cgroup-root "$(namespace 4)"
refused "the same folder" 1 "$DATA/h1" second_agent --data "$DATA/h1" --cgroup-root "$(namespace 4)" --bridge shoal9
refused "nothing to offer" 1 'cpu: 0' second_agent --cpu 0
refused "a name that none can be" 1 'name: ' second_agent --name ../x
expect_equal "sets, hosts and processes" "$before" "$(slots_and_pids)"
expect_equal "restarts" 0 "$(shoal 1 sets web --json | jq '[.[].containers[].restarts] | add')"
expect_equal "hosts" 3 "$(shoal 1 hosts --json | jq length)"
expect "delete" shoal 1 delete web --yes --wait
