# A slot moves to another host with its volumes: same bytes, never twice, whoever is killed on the way.
# shellcheck shell=bash disable=SC2016

# MiB of content in the folder; larger to measure with.
folder_mib=${SHOALT_FOLDER_MIB:-8}

mover() {
    cat <<YAML
service: ship
sets: 1
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'trap exit TERM; n=0; while read -r line; do n=\$line; done < /data/log; echo >> /data/starts; while :; do n=\$((n + 1)); echo \$n >> /tree/log; echo \$n >> /data/log; echo \$n > /tree/new; ln -f /tree/state /tree/old; mv /tree/new /tree/state; sleep 0.05; done']
    cpu: {request: 100m, limit: 500m}
    memory: {request: 16Mi, limit: 64Mi}
volumes:
  - {name: data, size: 96Mi, mount: /data, class: loop}
  - {name: more, size: 32Mi, mount: /more, class: loop}
  - {name: tree, size: $((folder_mib * 2 + 48))Mi, mount: /tree, class: directory}
YAML
}
mover | apply_text 1 --wait > /dev/null || failed "apply" "exit 0" "an error"
inside() { shoal "${ASKED:-1}" exec -n ship.0 -- "$@"; }
inside sh -c 'dd if=/dev/urandom of=/data/content bs=1M count=24 2> /dev/null; dd if=/dev/urandom of=/more/content bs=1M count=4 2> /dev/null; sync'
# What a file system can have, in the folder; attributes and sockets have tests of their own.
inside sh -c "mkdir -p /tree/kept/deep/er && dd if=/dev/urandom of=/tree/kept/noise bs=1M count=$folder_mib 2> /dev/null"
inside sh -c 'cd /tree/kept
    echo text > plain && ln plain deep/linked && ln -s deep/er link && ln -s nowhere dangling && mkfifo -m 620 pipe
    dd if=/dev/urandom of=holes bs=1 count=9 seek=20000000 2> /dev/null; : > empty; chown 1234:4321 empty; chmod 6755 plain; chmod 1777 deep
    for name in -rf "$(printf "new\nline")" "quote\"" "glob*?[a]" " blank " .hidden "$(printf "bytes-\377")"; do echo odd > "./$name"; done
    touch -h -d "2009-02-13 23:31:30" link plain deep .; sync' || failed "making a tree" "exit 0" "an error"
# Everything there is to say of the files: content, kind, mode, owner, size, time, number of names.
sums() {
    inside sh -c 'cat /data/content /more/content; cd /tree/kept && find . -type f -exec md5sum {} + | sort
        find . ! -type d -exec stat -c "%n %f %u %g %s %Y %h %t %T" {} + | sort; find . -type d -exec stat -c "%n %f %u %g %Y" {} + | sort
        readlink link dangling; [ plain -ef deep/linked ] && echo linked; [ "$(du -k holes | cut -f 1)" -lt 1000 ] && echo holes' | md5sum
}
lines() { inside cat /data/log | wc -l; }
sum=$(sums)
expect_between "bytes to move" $((28 << 20)) $((28 << 20)) "$(inside cat /data/content /more/content | wc -c)"

# whole LINES: the content is what it was, every line is there once and in order, at least so many,
# and exactly one container runs, where the log says.
whole() {
    local text count
    [ "$(sums)" = "$sum" ] || failed "the content" "$sum" "$(sums)"
    text=$(inside cat /tree/log)
    count=$(wc -l <<< "$text")
    # A set that ended between its two lines wrote the first one again.
    [ "$(uniq <<< "$text")" = "$(seq "$(tail -1 <<< "$text")")" ] && [ "$count" -ge "$1" ] \
        || failed "the lines in the folder" "1 to $count, and at least $1" "$(diff <(echo "$text") <(seq "$count") | head -5)"
    text=$(inside cat /data/log)
    count=$(wc -l <<< "$text")
    [ "$text" = "$(seq "$count")" ] || failed "the lines" "1 to $count" "$(diff <(echo "$text") <(seq "$count") | head -5)"
    [ "$count" -ge "$1" ] || failed "no line is lost" "at least $1" "$count"
    exactly_as_told "${ASKED:-1}" ship 1 > "$WORK/told" || failed "one set, where the log has it" "it" "$(cat "$WORK/told")"
}
in_use() { shoal "${ASKED:-1}" volumes --json | jq -r '.[] | select(.service == "ship" and .state != "trash") | "\(.volume) \(.host)"' | sort; }
placed_with_volumes() {
    local host
    host=$(HOST_ASKED=${ASKED:-1} set_field ship.0 .host)
    [ "$(HOST_ASKED=${ASKED:-1} set_field ship.0 .phase)" = running ] \
        && [ "$(in_use)" = "ship.0/data $host"$'\n'"ship.0/more $host"$'\n'"ship.0/tree $host" ]
}

# --- refused before anything begins --------------------------------------------------------------
source=$(host_of ship.0)
target=$((source % 3 + 1))
other=$((target % 3 + 1))
move() { shoal "${ASKED:-$other}" volume move "$@"; }
refused "an unknown host" 1 'there is no host h9' move ship.0/data --to h9
refused "an unknown slot" 1 'there is no set ship.7' move ship.7 --to "h$target"
refused "the host it is on" 1 "are on h$source already" move ship.0 --to "h$source"
refused "no host at all" 64 'either --to HOST or --cancel' move ship.0
refused "no move to cancel" 1 'ship.0 is not being moved' move ship.0 --cancel
# An agent that cannot find rsync, as on a host that lacks it.
cat > "$WORK/without-rsync" <<SH
#!/bin/sh
exec unshare -m --propagation slave sh -c 'mount --bind /dev/null /usr/bin/rsync && exec "\$@"' sh "$SHOAL" "\$@"
SH
chmod +x "$WORK/without-rsync"
kill_agent "$target"
SHOAL=$WORK/without-rsync start_agent "$target"
eventually 30 "three hosts, one without rsync" all_see_three
refused "a host without rsync" 1 "cannot move to h$target: .*needs the program .rsync.: install it there with .apt-get install rsync" \
    move ship.0 --to "h$target"
kill_agent "$target"
start_agent "$target"
eventually 30 "three hosts again" all_see_three

# --- moved -----------------------------------------------------------------------------------------
before=$(lines)
start=$(now_ms)
output=$(move ship.0/data --to "h$target" 2> "$WORK/progress") || failed "the move" "exit 0" "$output $(cat "$WORK/progress")"
took=$(($(now_ms) - start))
event_ms() { date -d "$(shoal 1 events --limit 100 --json | jq -r --arg what "$1" '[.[] | select(.kind == "slotMoved" and (.message | startswith($what)))][-1].time')" +%s%3N; }
held=$(($(event_ms "moved from") - $(event_ms "held: what")))
printf '  moved 2 images with 28 MiB and a folder with %s MiB in %s ms, held %s ms until the switch\n' "$folder_mib" "$took" "$held"
expect_equal "what the command says" "moved ship.0 from h$source to h$target" "$output"
expect_match "progress was shown" 'ship.0/(data|more): [0-9]+ %' "$(cat "$WORK/progress")"
eventually 20 "the slot runs on the target with its volumes" placed_with_volumes
expect_equal "the host it runs on" "h$target" "$(set_field ship.0 .host)"
whole "$before"
expect_equal "it was started twice in all" 2 "$(inside cat /data/starts | wc -l)"
left() { [ "$(shoal $other volumes --json | jq -r --arg host "h$source" '[.[] | select(.service == "ship" and .host == $host)] | map(.state) | join(" ")')" = "trash trash trash" ]; }
eventually 20 "what it left is in the source's trash" left
expect_match "events tell each step" 'copying while it runs.*held: what changed.*moved from' \
    "$(shoal 1 events --limit 100 --json | jq -r '[.[] | select(.kind == "slotMoved") | .message] | join("; ")')"

# --- cancelled ---------------------------------------------------------------------------------------
SHOAL_SOCKET=$RUN/h$other.sock "$SHOAL" volume move ship.0 --to "h$other" > /dev/null 2> "$WORK/cancelled" &
caller=$!
under_way() { shoal $other events --limit 5 --json | jq -e --arg host "to h$other: copying" '[.[] | select(.kind == "slotMoved")][-1].message | contains($host)' > /dev/null; }
eventually 10 "a move back is under way" under_way
if output=$(move ship.0 --cancel 2>&1); then
    wait "$caller" && failed "a cancelled move" "an error" "exit 0"
    expect_match "the caller hears of it" 'cancelled by an operator' "$(cat "$WORK/cancelled")"
    expect_equal "the host it stays on" "h$target" "$(set_field ship.0 .host)"
else
    wait "$caller"
    skipped "cancelling" "the move was over before: $output"
fi
eventually 20 "the slot runs after a cancelled move" placed_with_volumes
whole "$before"

# --- killed on the way ---------------------------------------------------------------------------------
# Of each kind of victim, at several moments: the move comes to its end, and nothing is lost.
for victim in target source lease; do
    for percent in 10 50 85; do
        delay=$(printf '%d.%03d' $((took * percent / 100000)) $((took * percent / 100 % 1000)))
        source=$(host_of ship.0)
        target=$((source % 3 + 1))
        ASKED=$((target % 3 + 1))
        before=$(lines)
        SHOAL_SOCKET=$RUN/h$ASKED.sock timeout 60 "$SHOAL" volume move ship.0 --to "h$target" > /dev/null 2>&1 &
        caller=$!
        sleep "$delay"
        case $victim in
            target) killed=$target ;;
            source) killed=$source ;;
            lease) killed=$(lease_number $ASKED) ;;
        esac
        kill_agent "$killed"
        sleep 0.2
        start_agent "$killed"
        wait "$caller"
        eventually 30 "three hosts after the $victim was killed at $percent %" all_see_three
        # The same command goes on with what is under way, or begins anew.
        moved() { [ "$(HOST_ASKED=$ASKED set_field ship.0 .host)" = "h$target" ] || move ship.0 --to "h$target"; }
        eventually 60 "the move is done although the $victim was killed at $percent %" moved
        eventually 30 "the slot runs there with its volumes" placed_with_volumes
        whole "$before"
    done
done
unset ASKED

# --- the target dies for good while the slot is on its way: the slot stays and runs -----------------------
source=$(host_of ship.0)
target=$((source % 3 + 1))
ASKED=$source
before=$(lines)
SHOAL_SOCKET=$RUN/h$source.sock timeout 60 "$SHOAL" volume move ship.0 --to "h$target" > /dev/null 2>&1 &
caller=$!
sleep "$delay"
kill_host "$target"
runs() { [ "$(HOST_ASKED=$source set_field ship.0 .phase)" = running ] || [ "$(HOST_ASKED=$source set_field ship.0 .host)" = "h$target" ]; }
eventually 30 "the slot runs, or had moved already" runs
start_agent "$target"
eventually 30 "three hosts again" all_see_three
wait "$caller"
eventually 60 "the slot runs with its volumes" placed_with_volumes
# Had it moved already, its container died with the target, which the log learns only from the new agent.
one_runs() { exactly_as_told "$ASKED" ship 1 > /dev/null; }
eventually 60 "the one set runs where the log has it" one_runs
whole "$before"

# --- a service that was moved, deleted and restored has the newest of its volumes --------------------------
unset ASKED
before=$(lines)
expect "delete" shoal 1 delete ship --yes --wait
expect "restore" shoal 2 restore ship --wait
eventually 20 "the slot runs with its volumes again" placed_with_volumes
whole "$before"
expect "delete at the end" shoal 1 delete ship --yes --wait
eventually 20 "nothing runs after that" nothing_runs
