# Garbage, forged and replayed packets at the peer port, and garbage at the local socket, are counted and harm nothing.
# shellcheck shell=bash disable=SC2016

pids=$(cat "$RUN"/h[123].pid)
holder=$(lease_number 1)
epoch=$(shoal 1 status --json | jq '.[0].epoch')
counter() { shoal "$1" status --json | jq ".[0].peerPlane.$2"; }
# All that was dropped at a host.
dropped() {
    shoal "$1" status --json | jq '.[0].peerPlane
        | .forged + .replayed + .truncated + .oversized + .foreign + .wrongCluster + .staleBoot + .own
        + .misdirected + .unintroduced'
}
whole() {
    expect_equal "agents after $1" "$pids" "$(cat "$RUN"/h[123].pid)"
    agents_alive || failed "agents after $1" "alive" "$(tail -n 3 "$RUN"/h[123].log)"
    all_see_three || failed "hosts after $1" "three alive for each other" "$(shoal 1 hosts)"
    expect_equal "lease after $1" "h$holder $epoch" "$(leaseholder 1) $(shoal 1 status --json | jq '.[0].epoch')"
}
target=$(host_address 1)

# --- datagrams --------------------------------------------------------------------------------
before=$(dropped 1)
in_host 2 bash -c '
    for size in 1 2 7 16 47 64 100 300 900 1200 1400 1472; do
        for _ in 1 2 3 4 5; do head -c $size /dev/urandom > /dev/udp/$0/$1; done
    done' "$target" "$PEER_PORT"
dropped_all() { [ $(($(dropped 1) - before)) -ge "$1" ]; }
eventually 5 "60 random datagrams are counted as dropped" dropped_all 60
whole "random datagrams"

# datagram FILE: takes one real datagram from h2 to h1 off the wire.
capture() {
    timeout 10 nsenter "--net=/run/netns/$CLUSTER-switch" -- \
        tcpdump -i port1 -c 1 -w "$WORK/packet" -U "udp and src host $(host_address 2) and dst port $PEER_PORT" \
        > "$WORK/tcpdump" 2>&1
    # 24 bytes of file header, 16 of record header, 14 Ethernet, 20 IP, 8 UDP.
    [ -s "$WORK/packet" ] && tail -c +83 "$WORK/packet" > "$1" && [ -s "$1" ]
}
if command -v tcpdump > /dev/null || (install_packages tcpdump) > /dev/null 2>&1; then
    expect "a datagram from h2 to h1 is taken off the wire" capture "$WORK/datagram"
    replayed=$(counter 1 replayed)
    for _ in 1 2 3 4 5; do in_host 3 bash -c 'cat "$2" > /dev/udp/$0/$1' "$target" "$PEER_PORT" "$WORK/datagram"; done
    replays_counted() { [ $(($(counter 1 replayed) - replayed)) -ge 5 ]; }
    eventually 5 "five replays are counted" replays_counted
    # No other host takes it, not even once.
    misdirected=$(counter 3 misdirected)
    for _ in 1 2 3 4 5; do in_host 2 bash -c 'cat "$2" > /dev/udp/$0/$1' "$(host_address 3)" "$PEER_PORT" "$WORK/datagram"; done
    misdirected_counted() { [ $(($(counter 3 misdirected) - misdirected)) -ge 5 ]; }
    eventually 5 "five datagrams for another host are counted" misdirected_counted
    # Every byte matters.
    size=$(stat -c %s "$WORK/datagram")
    before=$(dropped 1)
    changed=0
    for offset in $(seq 0 7 $((size - 1))); do
        cp "$WORK/datagram" "$WORK/changed"
        old=$(od -An -tu1 -j "$offset" -N 1 "$WORK/datagram")
        # shellcheck disable=SC2059
        printf "\\x$(printf %x $(((old + 1) % 256)))" | dd of="$WORK/changed" bs=1 seek="$offset" conv=notrunc 2> /dev/null
        in_host 3 bash -c 'cat "$2" > /dev/udp/$0/$1' "$target" "$PEER_PORT" "$WORK/changed"
        changed=$((changed + 1))
    done
    eventually 5 "$changed datagrams with one byte changed are dropped" dropped_all "$changed"
    before=$(dropped 1)
    for cut in $(seq 1 9 $((size - 1))); do
        head -c "$cut" "$WORK/datagram" > "$WORK/changed"
        in_host 3 bash -c 'cat "$2" > /dev/udp/$0/$1' "$target" "$PEER_PORT" "$WORK/changed"
    done
    eventually 5 "datagrams that end early are dropped" dropped_all $(((size - 1 + 8) / 9))
    whole "replayed and forged datagrams"
    # Nor does the next start of the agent that it was for.
    kill_agent 1
    start_agent 1
    eventually 10 "h1 is back" all_see_three
    before=$(dropped 1)
    for _ in 1 2 3; do in_host 3 bash -c 'cat "$2" > /dev/udp/$0/$1' "$target" "$PEER_PORT" "$WORK/datagram"; done
    eventually 5 "recordings from before the restart are dropped" dropped_all 3
    lease_is_held() { holder=$(lease_number 1) && [ -n "$holder" ]; }
    eventually 10 "somebody holds the lease" lease_is_held
    epoch=$(shoal 1 status --json | jq '.[0].epoch')
    pids=$(cat "$RUN"/h[123].pid)
else
    skipped "replayed datagrams" "tcpdump is not installed and could not be"
fi

# --- connections ------------------------------------------------------------------------------
failures() { shoal 1 status --json | jq '.[0].peerPlane | .handshakeFailed + .protocolErrors + .silentConnections + .foreign'; }
before=$(failures)
for size in 1 40 5000 300000; do
    for _ in 1 2 3; do
        in_host 2 sh -c "head -c $size /dev/urandom | timeout 2 busybox nc -w 1 $target $PEER_PORT" > /dev/null 2>&1
    done
done
for _ in $(seq 100); do helper in_host 2 sh -c "sleep 3 | timeout 3 busybox nc $target $PEER_PORT" > /dev/null 2>&1; done
failures_counted() { [ $(($(failures) - before)) -ge 9 ]; }
eventually 10 "random connections are counted as failed" failures_counted
whole "random and silent connections"
expect "a change meanwhile" shoal 2 apply -f "$REPO/Config/examples/web.yaml" --wait

# --- the local socket -------------------------------------------------------------------------
socket() { timeout 20 curl -sS -m 15 --unix-socket "$RUN/h1.sock" "$@"; }
status_code() { socket -o "$WORK/answer" -w '%{http_code}' "$@" 2> /dev/null; }
for _ in 1 2 3 4 5; do head -c 20000 /dev/urandom | socket telnet://shoal > /dev/null 2>&1; done
printf 'GET / HTTP/9.9\r\nContent-Length: -5\r\n\r\n' | socket telnet://shoal > /dev/null 2>&1
expect_match "a path that is none" '^404$' "$(status_code http://shoal/v1/nothing)"
expect_match "a method that is none" '^4..$' "$(status_code -X BREW http://shoal/v1/status)"
expect_match "JSON that is none" '^4..$' "$(status_code -X POST --data '{"service":' http://shoal/v1/services)"
expect_match "JSON nested 100,000 deep" '^4..$' \
    "$(head -c 100000 /dev/zero | tr '\0' '[' | status_code -X POST --data-binary @- http://shoal/v1/services)"
head -c 104857600 /dev/zero > "$WORK/huge"
expect_match "a body of 100 MiB" '^(413|4..|000)$' \
    "$(status_code -X POST --data-binary "@$WORK/huge" http://shoal/v1/services)"
expect_match "a header of 1 MB" '^(4..|000)$' \
    "$(status_code -H "X: $(head -c 100000 /dev/zero | tr '\0' x)" http://shoal/v1/status)"
expect_match "an address of 100 kB" '^(4..|000)$' \
    "$(status_code "http://shoal/v1/sets?service=$(head -c 100000 /dev/zero | tr '\0' x)")"
rm "$WORK/huge"
for _ in $(seq 50); do helper timeout 3 curl -sS --unix-socket "$RUN/h1.sock" telnet://shoal > /dev/null 2>&1; done
expect "an answer with 50 idle connections open" shoal 1 status
whole "garbage at the local socket"
expect_between "resident memory of h1's agent in MiB after all that" 5 200 \
    "$(($(awk '/^VmRSS/ { print $2 }' "/proc/$(agent_pid 1)/status") / 1024))"
expect "the log and the kernel agree" exactly_as_told 1 web 6
expect "delete" shoal 2 delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
