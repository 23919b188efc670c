# A followed log goes on through a restart of the set's agent and the set's move: every line once, in order.
# shellcheck shell=bash

apply_text 1 --wait <<'YAML' > /dev/null || failed "apply" "exit 0" "an error"
service: ticker
sets: 3
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'i=0; while :; do i=$((i + 1)); echo "tick $i"; sleep 0.1; done']
    cpu: {request: 50m, limit: 200m}
    memory: {request: 8Mi, limit: 16Mi}
placement: {spread: [host]}
YAML
# Every host has the image now, also when the one that loaded it is killed.
expect "one set of three stays" shoal 1 scale ticker=1
host=$(host_of ticker.0)
asked=$((host % 3 + 1))
# The last line must not be the first one, which is to show that a process began anew.
has_begun() { shoal 1 logs ticker.0 | grep -c ' tick 3$' > /dev/null; }
eventually 10 "three lines before the log is followed" has_begun
followed=$WORK/followed
"$SHOAL" logs ticker.0 -f --tail 1 --socket "$RUN/h$asked.sock" > "$followed" 2> "$WORK/follower" < /dev/null &
follower=$!
HELPERS+=("$follower")
ticks() { wc -l < "$followed"; }
has_ticks() { [ "$(ticks)" -ge "$1" ] || { echo "$(ticks) lines: $(tail -n 1 "$followed") $(cat "$WORK/follower")"; return 1; }; }
# in_order: the numbers rise by one; a new process begins anew at 1.
in_order() {
    awk '{ n = $NF; if (NR > 1 && n != last + 1 && n != 1) { print last " then " n; exit 1 } last = n }' "$followed"
}
begins() { grep -c ' tick 1$' "$followed"; }

eventually 5 "ten lines" has_ticks 10
for signal in KILL TERM; do
    kill "-$signal" "$(agent_pid "$host")"
    eventually 5 "the agent ends on $signal" process_ended "$(agent_pid "$host")"
    before=$(ticks)
    sleep 0.5
    start_agent "$host"
    eventually 15 "thirty more lines after SIG$signal" has_ticks $((before + 30))
    expect "every line once and in order after SIG$signal" in_order
    process_ended "$follower" && failed "the follower goes on after SIG$signal" "its process" "$(cat "$WORK/follower")"
done
expect_equal "beginnings of the same process" 0 "$(begins)"
eventually 10 "three hosts see each other" all_see_three

# Killed with its host, it begins anew elsewhere.
kill_host "$host"
eventually 20 "the set runs on another host" has_running_away "$asked" ticker 1 "h$host"
anew() { [ "$(begins)" = 1 ]; }
eventually 10 "the first line of the new process" anew
eventually 10 "more of its lines" has_ticks $(($(ticks) + 20))
expect "every line once and in order after the move" in_order
expect_equal "words of the follower" "" "$(cat "$WORK/follower")"
start_agent "$host"
eventually 10 "three hosts see each other" all_see_three

# A host that does not answer hides its own lines only, and is named.
expect "a set on every host" shoal "$asked" scale ticker=3 --wait
silent=$(follower_number)
[ "$silent" != "$asked" ] || silent=$((asked % 3 + 1))
[ "h$silent" != "$(leaseholder "$asked")" ] || silent=$((silent % 3 + 1))
[ "$silent" != "$asked" ] || silent=$((asked % 3 + 1))
kill -STOP "$(agent_pid "$silent")"
said=$(shoal "$asked" logs ticker --tail 1 2> "$WORK/said")
expect_equal "exit code of logs without one host" 1 $?
kill -CONT "$(agent_pid "$silent")"
expect_equal "lines of the two others" 2 "$(wc -l <<< "$said")"
expect_match "the host that is missing" "h$silent" "$(cat "$WORK/said")"
eventually 20 "three hosts see each other" all_see_three

# A log that has come to its end lets go.
expect "delete" shoal "$asked" delete ticker --yes --wait
eventually 10 "the follower ends with the service" process_ended "$follower"
wait "$follower"
expect_equal "exit code of the follower" 0 $?
eventually 15 "nothing runs after that" nothing_runs
