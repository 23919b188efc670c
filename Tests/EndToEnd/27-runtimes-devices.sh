# Sets run with the runtime they name, and have the devices and capabilities that a host's configuration allows, nowhere else and nothing beyond.
# shellcheck shell=bash disable=SC2016

# Not called host: that is a variable of what starts agents.
chosen=3
allowed=(--allow-devices "/dev/fuse,/dev/shoalt-none" --allow-capabilities "CAP_NET_RAW,mknod")
agent_flags() {
    local rights=()
    [ "$1" = "$chosen" ] && rights=("${allowed[@]}")
    echo --name "h$1" --data "$DATA/h$1" \
        --socket "$RUN/h$1.sock" --address "$(host_address "$1"):$PEER_PORT" \
        --cgroup-root "$(namespace "$1")" --rack "r$1" --cpu 2 --memory 4Gi "${rights[@]}"
}
again() {
    kill_agent "$1"
    start_agent "$1"
    eventually 20 "three hosts again" all_see_three
}
again $chosen
offers() { shoal 1 hosts --json | jq -c --arg host "h$1" ".[] | select(.name == \$host) | .$2"; }
expect_equal "devices of a host that allows none" '[]' "$(offers 1 devices)"
if [ -c /dev/fuse ]; then
    offers_fuse() { [ "$(offers $chosen devices)" = '["/dev/fuse"]' ]; }
    eventually 10 "the host's devices are known, without the one it does not have" offers_fuse
fi
offers_capabilities() { [ "$(offers $chosen capabilities)" = '["MKNOD","NET_RAW"]' ]; }
eventually 10 "the host's capabilities are known" offers_capabilities
expect "the log names the device that is not there" grep -q 'no device /dev/shoalt-none' "$RUN/h$chosen.log"
waits() { [[ "$(shoal 1 services --json | jq -r --arg name "$1" '.[] | select(.name == $name) | .problems[0]')" =~ $2 ]]; }

# --- runtimes -----------------------------------------------------------------------------------
one() {
    cat <<YAML
service: $1
sets: ${3:-1}
$2
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'while true; do nc -l -p 9002 -e cat; done']
    cpu: {request: 50m, limit: 200m}
    memory: {request: 8Mi, limit: 32Mi}
YAML
}
one nowhere 'runtime: shoalt-none' | apply_text 1 > /dev/null || failed "apply" "exit 0" "an error"
eventually 10 "a set whose runtime no host has waits and says so" waits nowhere 'no host fits: 3 of 3 hosts have no runtime shoalt-none'
one bad 'runtime: ../x' > "$WORK/bad.yaml"
refused "a runtime that is a path" 1 "no runtime's name" shoal 1 apply -f "$WORK/bad.yaml"
expect "delete" shoal 1 delete nowhere --yes --wait

if command -v runc > /dev/null; then
    one other 'runtime: runc' 3 | apply_text 1 --wait > /dev/null || failed "apply with runc" "exit 0" "$(shoal 1 services)"
    before=$(slots_and_pids)
    at=$(host_of other.0)
    id=$(cat "$DATA/h$at/instance")-other.0-app
    expect "runc knows the container" [ -e "$DATA/h$at/runtime/run-runc/$id/state.json" ]
    expect "crun does not" [ ! -e "$DATA/h$at/runtime/run/$id" ]
    expect_equal "memory limit in the kernel" $((32 << 20)) "$(cgroup_file "$at" other.0/app memory memory.limit_in_bytes memory.max)"
    expect_equal "a command in it" "other.0" "$(shoal 1 exec -n other.0 -- hostname)"
    expect_equal "its exit code" 7 "$(shoal 1 exec -n other.0 -- sh -c 'exit 7' > /dev/null 2>&1; echo $?)"
    expect "a resize" shoal 1 resize other --memory 48Mi --cpu 300m
    expect_equal "memory limit after a resize" $((48 << 20)) "$(cgroup_file "$at" other.0/app memory memory.limit_in_bytes memory.max)"
    again "$at"
    expect_equal "processes after a restart of the agent" "$before" "$(slots_and_pids)"
    kill -KILL "$(container_field other.0 .pid)"
    restarted() { [ "$(container_field other.0 .restarts)" = 1 ] && [ "$(set_field other.0 .phase)" = running ]; }
    eventually 15 "a container that was killed starts again" restarted
    expect "runc made that one too" [ -e "$DATA/h$at/runtime/run-runc/$id/state.json" ]
    expect "delete" shoal 1 delete other --yes --wait
    eventually 15 "nothing runs after that" nothing_runs
    for number in 0 1 2; do
        for each in 1 2 3; do eventually 10 "no trace of other.$number on h$each" no_trace_of "$each" "other.$number"; done
    done
else
    skipped "runtimes" "runc is not installed"
fi

# --- devices and capabilities --------------------------------------------------------------------
rights() { one "$1" '' | sed "s|    cpu:|    devices: $2\\n    capabilities: $3\\n    cpu:|"; }
inside() { shoal 1 exec -n "$1" -- sh -c "$2"; }
rights closed '[/dev/kvm]' '[]' | apply_text 1 > /dev/null || failed "apply" "exit 0" "an error"
eventually 10 "a set whose device no host allows waits and says so" waits closed 'no host fits: 3 of 3 hosts do not allow the device /dev/kvm'
rights strong '[]' '[SYS_ADMIN]' | apply_text 1 > /dev/null || failed "apply" "exit 0" "an error"
eventually 10 "so does one whose capability none allows" waits strong '3 of 3 hosts do not allow the capability SYS_ADMIN'
rights bad '[/etc/passwd]' '[FLY]' > "$WORK/bad.yaml"
refused "what is no device and no capability" 1 'no device file below /dev' shoal 1 apply -f "$WORK/bad.yaml"
for service in closed strong; do expect "delete" shoal 1 delete $service --yes --wait; done

rights raw '[]' '[NET_RAW, MKNOD]' | apply_text 1 --wait > /dev/null || failed "apply" "exit 0" "$(shoal 1 services)"
one plain '' 3 | apply_text 1 --wait > /dev/null || failed "apply" "exit 0" "$(shoal 1 services)"
expect_equal "where the set went" $chosen "$(host_of raw.0)"
effective() { inside "$1" 'while read -r key value; do if [ "$key" = CapEff: ]; then echo $value; fi; done < /proc/1/status'; }
# CAP_NET_RAW is bit 13, CAP_MKNOD bit 27: on top of what every container has.
expect_equal "the capabilities it has more than another" $(((1 << 13) | (1 << 27))) \
    $((0x$(effective raw.0) ^ 0x$(effective plain.0)))
expect_equal "a further command has them too" "$(effective raw.0)" \
    "$(inside raw.0 'while read -r key value; do if [ "$key" = CapEff: ]; then echo $value; fi; done < /proc/self/status')"
# The right to make device files opens none: the kernel asks the control group too.
expect_match "a device file of the kernel's log" 'not permitted' \
    "$(inside raw.0 'busybox mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg' 2>&1)"
expect_equal "one that every container may have" made "$(inside raw.0 'busybox mknod /tmp/null c 1 3 && echo x > /tmp/null && echo made' 2>&1)"
if [ -c /dev/fuse ]; then
    rights disk '[/dev/fuse]' '[]' | apply_text 1 --wait > /dev/null || failed "apply" "exit 0" "$(shoal 1 services)"
    expect_equal "where the set with the device went" $chosen "$(host_of disk.0)"
    # Read and write are for a mounted file system; to open is what is at stake.
    expect_equal "the device opens" opened "$(inside disk.0 '[ -c /dev/fuse ] && exec 3<> /dev/fuse && echo opened' 2>&1)"
    expect_equal "others still do not have it" absent "$(inside raw.0 '[ -e /dev/fuse ] || echo absent' 2>&1)"
    expect_match "nor can they make it" 'not permitted' "$(inside raw.0 'busybox mknod /tmp/fuse c 10 229 && exec 3<> /tmp/fuse && echo opened' 2>&1)"
    # What is not allowed any more runs on until it ends, and is not started again.
    pid=$(container_field disk.0 .pid)
    allowed=()
    again $chosen
    expect_equal "its process after the permission went" "$pid" "$(container_field disk.0 .pid)"
    kill -KILL "$pid"
    told() { [[ "$(set_field disk.0 .reason)" =~ 'does not allow the device /dev/fuse' ]]; }
    eventually 20 "it is not started again, and the reason says why" told
    expect "delete" shoal 1 delete disk --yes --wait
else
    skipped "a device that is allowed" "this machine has no /dev/fuse"
fi
for service in raw plain; do expect "delete" shoal 1 delete $service --yes --wait; done
eventually 15 "nothing runs after that" nothing_runs
unset -f agent_flags
# shellcheck source=Tools/cluster.sh
. "$REPO/Tools/cluster.sh"
again $chosen
