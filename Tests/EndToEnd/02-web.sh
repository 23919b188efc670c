# An image loaded on one host runs on all three, answers on every host, and its limits are in the kernel.
# shellcheck shell=bash

web=$REPO/Config/examples/web.yaml
start=$(now_ms)
expect "apply on h2, of an image only h1 has" shoal 2 apply -f "$web" --wait
expect_between "milliseconds from apply to six sets running" 0 $((3000 * SLOWNESS)) $(($(now_ms) - start))

for host in 1 2 3; do
    expect "the log and the kernel agree, as h$host knows it" exactly_as_told "$host" web 6
    expect_equal "sets on h$host" 2 "$(slots_on "$host" | wc -l)"
    expect_match "page from h$host's published port" '^hello from web\.[0-5]$' \
        "$(in_host "$host" curl -sS -m 5 "http://$(host_address "$host"):18080/")"
    # From elsewhere too.
    expect_match "page from h$host's published port, asked by another host" '^hello from web\.[0-5]$' \
        "$(in_host $((host % 3 + 1)) curl -sS -m 5 "http://$(host_address "$host"):18080/")"
    expect_equal "h$host has the image" true \
        "$(shoal "$host" images --json | jq '.[] | select(.reference == "demo/web:1") | .present')"
    for slot in $(slots_on "$host"); do
        expect_equal "page from the own address of $slot" "hello from $slot" \
            "$(in_host "$host" curl -sS -m 5 "http://$(set_field "$slot" .address):8080/")"
    done
done

# 500m of processor, 64 MiB, 64 processes, 50 Mbit/s both ways, for the set and for its container.
for slot in web.0 web.1 web.2 web.3 web.4 web.5; do
    host=$(host_of "$slot")
    for group in "$slot" "$slot/app"; do
        if cgroups_are_v2; then
            expect_equal "processor quota of $group" "50000 100000" "$(cgroup_file "$host" "$group" cpu - cpu.max)"
        else
            expect_equal "processor quota of $group" "50000 100000" \
                "$(cgroup_file "$host" "$group" cpu cpu.cfs_quota_us -) $(cgroup_file "$host" "$group" cpu cpu.cfs_period_us -)"
        fi
        expect_equal "memory limit of $group" $((64 << 20)) \
            "$(cgroup_file "$host" "$group" memory memory.limit_in_bytes memory.max)"
        expect_equal "process limit of $group" 64 "$(cgroup_file "$host" "$group" pids pids.max pids.max)"
    done
    expect_match "what $slot may receive" 'rate 50Mbit ceil 50Mbit' \
        "$(in_host "$host" tc class show dev "$(cable_of "$host" "$slot")")"
    expect_match "what $slot may send" 'rate 50Mbit ceil 50Mbit' \
        "$(in_host "$host" tc class show dev "$(egress_device_of "$host" "$slot")")"
done

# The container sees itself and no more.
expect_equal "host name inside" web.3 "$(shoal 1 exec web.3 -- hostname)"
expect_equal "first process inside" httpd "$(shoal 1 exec web.3 -- cat /proc/1/comm)"
expect_equal "interfaces inside" "eth0 lo" \
    "$(shoal 1 exec web.3 -- ls /sys/class/net 2> /dev/null | sort | xargs)"
expect_equal "no new privileges inside" "NoNewPrivs: 1" \
    "$(shoal 1 exec web.3 -- cat /proc/1/status | grep NoNewPrivs | xargs)"
expect_equal "seccomp filter inside" "Seccomp: 2" \
    "$(shoal 1 exec web.3 -- cat /proc/1/status | grep '^Seccomp:' | xargs)"

expect "delete" shoal 3 delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
for slot in web.0 web.1 web.2 web.3 web.4 web.5; do
    for host in 1 2 3; do eventually 10 "no trace of $slot on h$host" no_trace_of "$host" "$slot"; done
done
for host in 1 2 3; do
    expect_equal "published port on h$host" closed \
        "$(in_host "$host" curl -sS -m 2 "http://$(host_address "$host"):18080/" > /dev/null 2>&1 && echo open || echo closed)"
done
