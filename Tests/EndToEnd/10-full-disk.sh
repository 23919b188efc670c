# A host with a full disk says so; the others go on, also when it was the leaseholder; with space it recovers by itself.
# shellcheck shell=bash disable=SC2317

make_disks() {
    local host
    for host in 1 2 3; do
        mkdir -p "$DATA/h$host"
        mount -t tmpfs -o size=320m,mode=700 none "$DATA/h$host"
    done
}
cluster_up
unset -f make_disks
make_image "$WORK/web.tar" demo/web:1
expect "loading the example image" shoal 1 image load "$WORK/web.tar"
expect "apply" shoal 1 apply -f "$REPO/Config/examples/web.yaml" --wait

fill() {
    fallocate -l 250m "$DATA/h$1/filler"
    dd if=/dev/zero bs=64k >> "$DATA/h$1/filler" 2> /dev/null
    dd if=/dev/zero bs=512 >> "$DATA/h$1/filler" 2> /dev/null
}
applied() { shoal "$1" status --json | jq '.[0].appliedIndex'; }
# Enough writes that the log's file must grow.
write_some() {
    local asked=$1 count
    for count in 7 6 7 6 7 6; do
        shoal "$asked" scale "web=$count" > "$WORK/scaled" 2>&1 || failed "a change at h$asked" "exit 0" "$(cat "$WORK/scaled")"
    done
}

full_and_free() {
    local full=$1 asked=$(($1 % 3 + 1)) start lines kept
    lines=$(wc -l < "$RUN/h$full.log")
    kept=$(slots_and_pids "$asked")
    fill "$full"
    start=$(now_ms)
    write_some "$asked"
    expect_between "milliseconds six changes took beside a full disk" 0 $((10000 * SLOWNESS)) $(($(now_ms) - start))
    says() { tail -n "+$((lines + 1))" "$RUN/h$full.log" | grep -Eq "$1"; }
    says_full() { says 'error: .*log\.sqlite: .*(full|space)'; }
    eventually 10 "h$full's log says that its disk is full" says_full
    expect_equal "how often it says so" 1 \
        "$(tail -n "+$((lines + 1))" "$RUN/h$full.log" | grep -Ec 'error: .*log\.sqlite')"
    agents_alive || failed "the agents live" "all three" "$(tail -n 3 "$RUN"/h[123].log)"
    expect "h$full answers" shoal "$full" sets
    refused "an image for a full disk" 1 'space|full' shoal "$full" image load "$WORK/web2.tar"
    rm "$DATA/h$full/filler"
    says_free() { says 'takes writes again'; }
    eventually 10 "h$full's log says that it can write" says_free
    caught_up() { [ "$(applied "$full")" -ge "$(applied "$asked")" ]; }
    eventually 10 "h$full catches up" caught_up
    expect "a change at the host that was full" shoal "$full" scale web=6 --wait
    eventually 15 "six sets run, each once" exactly_as_told "$full" web 6
    expect_equal "sets, hosts and processes" "$kept" "$(slots_and_pids "$full")"
}
# Large enough not to fit, and not the image that is there.
mkdir -p "$WORK/large"
head -c 20000000 /dev/urandom > "$WORK/large/large"
tar -C "$WORK/large" -cf "$WORK/large.tar" large
pack_image "$WORK/large.tar" "$WORK/web2.tar" demo/large:1
rm -r "$WORK/large" "$WORK/large.tar"
full_and_free "$(follower_number)"
full_and_free "$(lease_number 1)"
expect "delete" shoal 1 delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
cluster_down_all
