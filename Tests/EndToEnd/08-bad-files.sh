# Broken service files and images are refused with one sentence, and nothing of them is kept.
# shellcheck shell=bash

pids=$(cat "$RUN"/h[123].pid)
# What a refused image or file could leave behind.
store() {
    find "$DATA/h1/images" "$DATA/h1/spool" "$DATA/h1/sets" -printf '%p %s\n' | sort
    shoal 1 services --json
    shoal 1 images --json
}
before=$(store)
unharmed() {
    agents_alive || failed "after $1 the agents live" "$pids" "$(tail -n 3 "$RUN"/h[123].log)"
    [ "$(store)" = "$before" ] || failed "nothing is left of $1" "$before" "$(store)"
}

# --- service files ----------------------------------------------------------------------------
# bad_service WHAT CODE PATTERN: the file is on standard input.
bad_service() {
    cat > "$WORK/bad.yaml"
    refused "$1" "$2" "$3" shoal 1 apply -f "$WORK/bad.yaml"
    unharmed "$1"
}
good='service: web
sets: 2
containers:
  - name: app
    image: demo/web:1
    command: [sleep, "1000"]
    cpu: {request: 100m, limit: 200m}
    memory: {request: 16Mi, limit: 32Mi}'
bad_service "broken YAML" 1 'bad\.yaml:[0-9]+' <<< $'service: web\nsets: [1, 2\ncontainers: {'
bad_service "an unknown key" 1 '5:5.*imagee|imagee.*5:5' <<< "${good/image:/imagee:}"
bad_service "a negative limit" 1 'limit' <<< "${good/limit: 200m/limit: -200m}"
bad_service "a limit below the request" 1 'limit.*request|request.*limit' <<< "${good/limit: 32Mi/limit: 8Mi}"
bad_service "a quantity that is none" 1 'memory' <<< "${good/32Mi/lots}"
bad_service "a negative number of sets" 1 'sets' <<< "${good/sets: 2/sets: -2}"
bad_service "more sets than there can be" 1 'sets' <<< "${good/sets: 2/sets: 99999999999999999999}"
bad_service "an unknown image" 1 'demo/nothing:7' <<< "${good/demo\/web:1/demo/nothing:7}"
bad_service "a name with a path in it" 1 'service' <<< "${good/service: web/service: ../../etc}"
bad_service "the port of the agents themselves" 1 'talks to its peers' \
    <<< "$good"$'\nnetwork: {publish: [{port: 80, host: 7400}]}'
bad_service "a key twice" 1 'sets' <<< "$good"$'\nsets: 3'
bad_service "no service at all" 1 'describes no service' < /dev/null
bad_service "bytes that are no text" 1 'not a service|UTF-8' < <(head -c 5000 /dev/urandom)
head -c 10485760 /dev/zero | tr '\0' 'a' > "$WORK/huge.yaml"
refused "a file of 10 MiB" 1 'MiB|larger|large|bytes' shoal 1 apply -f "$WORK/huge.yaml"
unharmed "a file of 10 MiB"
# Every alias doubles what the last stood for.
{
    echo 'a0: &a0 [x, x]'
    for level in $(seq 1 40); do echo "a$level: &a$level [*a$((level - 1)), *a$((level - 1))]"; done
} > "$WORK/bomb.yaml"
refused "a file that grows when it is read" 1 'anchors' shoal 1 apply -f "$WORK/bomb.yaml"
refused "a file that is not there" 1 'none\.yaml' shoal 1 apply -f "$WORK/none.yaml"
refused "no file named" 64 'file' shoal 1 apply
refused "an unknown command" 64 "Unexpected argument 'destroy'" shoal 1 destroy
refused "an unknown flag" 64 'forever' shoal 1 sets --forever
refused "scale without a number" 64 'web=20' shoal 1 scale web
refused "scale of a service that is not there" 1 'no service' shoal 1 scale nothing=3
refused "delete of a service that is not there" 1 'no service' shoal 1 delete nothing --yes
refused "logs of a service that is not there" 1 'no service' shoal 1 logs nothing
refused "exec in a set that is not there" 1 'no set' shoal 1 exec -n nothing.0 -- true
refused "a socket that is not there" 1 'no agent listens' "$SHOAL" status --socket "$RUN/none.sock"
unharmed "wrong commands"

# --- images -----------------------------------------------------------------------------------
# bad_image WHAT PATTERN FILE
bad_image() {
    refused "$1" 1 "$2" shoal 1 image load "$3"
    unharmed "$1"
}
bad=$WORK/bad.tar
head -c $(($(stat -c %s "$WORK/web.tar") / 2)) "$WORK/web.tar" > "$bad"
bad_image "an archive that ends in the middle" 'Truncated tar' "$bad"
head -c 1048576 /dev/urandom > "$bad"
bad_image "random bytes as an archive" 'not a tar' "$bad"
: > "$bad"
bad_image "an empty archive" 'empty|archive' "$bad"
tar -C "$WORK" -cf "$bad" web.tar
bad_image "an archive that is no image" 'oci-layout|manifest|image' "$bad"

layout=$WORK/layout
mkdir "$layout"
tar -C "$layout" -xf "$WORK/web.tar"
layer=$(find "$layout/blobs/sha256" -type f -size +100k)
printf 'X' | dd of="$layer" bs=1 seek=5000 conv=notrunc 2> /dev/null
tar -C "$layout" -cf "$bad" .
bad_image "a layer that is not what its digest says" 'digest|sha256' "$bad"
bad_image "the same as a folder" 'digest|sha256' "$layout"

# layer_image MAKE...: an image whose layer the command writes to the file it is given.
mkdir -p "$WORK/layer"
echo evil > "$WORK/layer/evil"
ln -f "$WORK/layer/evil" "$WORK/layer/copy"
ln -sfn /etc "$WORK/layer/away"
bad_layer() {
    local what=$1 pattern=$2
    shift 2
    "$@" || failed "making $what" "exit 0" "an error"
    pack_image "$WORK/layer.tar" "$bad" demo/evil:1
    bad_image "$what" "$pattern" "$bad"
}
passwd=$(sha256sum /etc/passwd)
bad_layer "a layer with ../../etc/passwd" '\.\.' \
    tar -P --transform 's,^evil,../../etc/passwd,' -C "$WORK/layer" -cf "$WORK/layer.tar" evil
bad_layer "a layer with a hard link out of it" 'link' \
    tar -P --transform 's,^evil$,../../../etc/shadow,RSh' -C "$WORK/layer" -cf "$WORK/layer.tar" evil copy
# An absolute name is one below the root of the layer, or refused; it never is one of the host's.
tar -P --transform "s,^evil,$WORK/outside," -C "$WORK/layer" -cf "$WORK/layer.tar" evil
pack_image "$WORK/layer.tar" "$bad" demo/evil:2
shoal 1 image load "$bad" > /dev/null 2>&1
[ ! -e "$WORK/outside" ] || failed "a layer with an absolute name" "no file outside the store" "$WORK/outside"
# Through a link that leads out.
mkdir "$WORK/second" && mkdir "$WORK/second/away" && echo evil > "$WORK/second/away/shoal-e2e-evil"
tar -C "$WORK/layer" -cf "$WORK/layer.tar" away
tar -C "$WORK/second" -rf "$WORK/layer.tar" away/shoal-e2e-evil
pack_image "$WORK/layer.tar" "$bad" demo/evil:3
shoal 1 image load "$bad" > /dev/null 2>&1
[ ! -e /etc/shoal-e2e-evil ] || failed "a layer that writes through a link" "no file in /etc" "/etc/shoal-e2e-evil"
expect_equal "/etc/passwd" "$passwd" "$(sha256sum /etc/passwd)"
agents_alive || failed "after bad images the agents live" "$pids" "$(tail -n 3 "$RUN"/h[123].log)"
expect_equal "agents" "$pids" "$(cat "$RUN"/h[123].pid)"

# --- more than the hosts have -----------------------------------------------------------------
apply_text 1 <<< "$(sed 's/request: 100m, limit: 200m/request: 1500m, limit: 2/; s/sets: 2/sets: 5/' <<< "$good")" > /dev/null \
    || failed "apply of five sets of 1.5 processors on hosts with 2" "exit 0" "an error"
eventually 10 "three of five run, one a host" has_running 2 web 3
two_wait() { [ "$(shoal 2 sets web --json | jq '[.[] | select(.phase == "pending" and (.reason | test("CPU|processor")))] | length')" = 2 ]; }
eventually 5 "the other two wait, and say for what" two_wait
waited=$(shoal 1 scale web=6 --wait --timeout 1 2>&1)
expect_equal "exit code of waiting for what cannot be" 1 $?
expect_match "what it says" 'not done after 1 seconds.*web\.5 pending: no host fits' "$waited"
expect "fewer sets" shoal 3 scale web=3 --wait
expect "delete" shoal 3 delete web --yes --wait
eventually 15 "nothing runs after that" nothing_runs
