# A set keeps the image it was made from when its tag is moved, through restarts; a new revision takes the new one.
# shellcheck shell=bash

# versioned FILE TEXT: the example image with a file of its own, always under one reference.
versioned() {
    local root=$WORK/versioned
    rm -rf "$root"
    mkdir -p "$root/bin" "$root/etc" "$root/tmp"
    cp "$(command -v busybox)" "$root/bin/busybox"
    local applet
    for applet in sh cat sleep; do ln -s busybox "$root/bin/$applet"; done
    echo "$2" > "$root/version"
    tar --numeric-owner --owner=0 --group=0 --sort=name --mtime=@0 -C "$root" -cf "$WORK/layer.tar" .
    pack_image "$WORK/layer.tar" "$1" demo/version:1
    rm -rf "$root" "$WORK/layer.tar"
}
service() {
    cat <<YAML
service: versions
sets: 3
containers:
  - name: app
    image: demo/version:1
    command: [sh, -c, 'trap "exit 0" TERM; : $1; sleep 3600 & wait']
    cpu: {request: 50m, limit: 200m}
    memory: {request: 8Mi, limit: 16Mi}
placement: {spread: [host]}
YAML
}
digest() { shoal "$1" images --json | jq -r '.[] | select(.reference == "demo/version:1") | .digest'; }
slots="versions.0 versions.1 versions.2"
versions() {
    local slot
    for slot in $slots; do shoal 1 exec -n "$slot" -- cat /version; done | sort | xargs
}

versioned "$WORK/one.tar" one
versioned "$WORK/two.tar" two
expect "loading the first image" shoal 1 image load "$WORK/one.tar"
expect "apply" apply_text 1 --wait < <(service first)
expect_equal "versions" "one one one" "$(versions)"
before=$(digest 3)
expect "moving the tag" shoal 2 image load "$WORK/two.tar"
moved() { [ "$(digest "$1")" != "$before" ]; }
for host in 1 2 3; do eventually 5 "h$host knows the tag was moved" moved "$host"; done
expect_equal "versions after the tag was moved" "one one one" "$(versions)"

# Each container ends by itself and is started again; the slots are on three hosts.
restarts_are() { [ "$(shoal 1 sets versions --json | jq -c '[.[].containers[] | select(.running) | .restarts]')" = "[$1,$1,$1]" ]; }
for slot in $slots; do kill -KILL "$(container_field "$slot" .pid)"; done
eventually 15 "each set was started again" restarts_are 1
expect_equal "versions after a restart" "one one one" "$(versions)"

# The same while the agent is away: it finds a dead container and its record.
victim=$(follower_number)
slot=$(slots_on "$victim" | head -n 1)
pid=$(container_field "$slot" .pid)
kill_agent "$victim"
kill -KILL "$pid"
start_agent "$victim"
again() { [ "$(container_field "$slot" '| "\(.restarts) \(.running)"')" = "2 true" ]; }
eventually 15 "$slot was started again by the new agent" again
eventually 10 "three hosts see each other" all_see_three
expect_equal "versions after a restart of an agent" "one one one" "$(versions)"

# A new revision is made from what the tag leads to now, everywhere.
expect "apply of a new revision" apply_text 3 --wait < <(service second)
expect_equal "versions of the new revision" "two two two" "$(versions)"
expect "delete" shoal 1 delete versions --yes --wait
eventually 15 "nothing runs after that" nothing_runs
