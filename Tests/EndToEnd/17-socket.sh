# Clients that never finish a request do not lock the local socket, and a CLI that gets no answer says so.
# shellcheck shell=bash

host=$(follower_number)
socket=$RUN/h$host.sock

# More bodies that crawl than the agent takes connections.
head -c 900000 /dev/zero > "$WORK/body"
helper curl -sS -m 60 --parallel --parallel-immediate --parallel-max 140 --limit-rate 1 \
    --unix-socket "$socket" -H 'Expect:' -X POST -T "$WORK/body" "http://agent/v1/services#[1-140]" \
    > /dev/null 2>&1
connections() { ss -Hxp state connected "src $socket" | grep -c "pid=$(agent_pid "$host"),"; }
is_full() { [ "$(connections)" -ge 128 ] || { connections; return 1; }; }
eventually 10 "every place is taken" is_full
start=$(now_ms)
expect "status in spite of them" shoal "$host" status
expect_between "milliseconds until it came" 0 $((12000 * SLOWNESS)) $(($(now_ms) - start))
none_left() { [ "$(connections)" = 0 ] || { connections; return 1; }; }
eventually $((20 * SLOWNESS)) "the agent ends what does not end" none_left
start=$(now_ms)
expect "status afterwards" shoal "$host" status
expect_between "milliseconds until it came, afterwards" 0 $((1000 * SLOWNESS)) $(($(now_ms) - start))

# An agent that is stopped takes connections, for the kernel does, and says nothing.
kill -STOP "$(agent_pid "$host")"
start=$(now_ms)
expected="the agent at $socket has not answered for"
asks=()
for command in status "logs web.0 -f" "exec web.0 -- ls" "image load $WORK/web.tar" "delete web --yes --wait"; do
    # shellcheck disable=SC2086
    (refused "a stopped agent: $command" 1 "$expected" shoal "$host" $command) &
    asks+=($!)
done
for ask in "${asks[@]}"; do wait "$ask" || exit 1; done
expect_between "milliseconds until the last of them gave up" 10000 $((30000 * SLOWNESS)) $(($(now_ms) - start))
kill -CONT "$(agent_pid "$host")"
eventually 10 "it answers again" shoal "$host" status
eventually 20 "three hosts see each other" all_see_three
