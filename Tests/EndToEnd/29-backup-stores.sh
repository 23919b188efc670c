# Backups go to a rest-server and to an S3 store: wrong keys, one that is away or breaks off say so, and a later try makes good.
# shellcheck shell=bash disable=SC2016

if ! command -v rclone > /dev/null || ! command -v restic > /dev/null; then
    skipped "backups to stores" "needs rclone and restic: apt-get install rclone restic"
    exit 0
fi

# Where both servers are: on the switch between the hosts.
store=10.77.0.254
secret=first-secret-of-two
export SHOAL_BACKUP_CREDENTIALS=$WORK/keys.yaml
on_switch() { nsenter "--net=/run/netns/$CLUSTER-switch" -- "$@"; }
answers() { on_switch curl -s -o "$WORK/curl" "http://$store:$1/"; }
# keys SECRET [S3 SECRET]: who the hosts are to the servers.
keys() {
    (
        umask 077
        cat > "$WORK/keys.new" <<YAML
- {for: "rest:http://$store:8001/", user: shoal, password: $1}
- {for: "s3:http://$store:8002/", access-key: "$s3_key", secret-key: "${2:-$1}", region: us-east-1}
YAML
    )
    mv "$WORK/keys.new" "$WORK/keys.yaml"
}
s3_key=none s3_secret=none
right_keys() { keys "$secret" "$s3_secret"; }
right_keys
cluster_up
ip -n "$CLUSTER-switch" addr add $store/24 dev br0
make_image "$WORK/web.tar" demo/web:1
expect "loading the example image" shoal 1 image load "$WORK/web.tar"

database() {
    cat <<YAML
service: db
sets: 1
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, 'exec sleep 100000']
    cpu: {request: 100m, limit: 500m}
    memory: {request: 16Mi, limit: 64Mi}
volumes:
  - {name: data, size: 96Mi, mount: /data, backup: {every: $1, keep: {last: 2}, to: "$2"}}
YAML
}
inside() { shoal 1 exec -n db.0 -- "$@"; }
backups() { shoal 1 volume backups db.0/data --json | jq -r ".[0] | $1"; }
count_is() { [ "$(backups '.backups | length')" = "$1" ]; }
# slow COMMAND...: one that waits for a server that is away.
slow() { local host=$1; shift; SHOAL_SOCKET=$RUN/h$host.sock timeout 120 "$SHOAL" "$@"; }
# says WHAT PATTERN COMMAND...: fails with that sentence, and tells no secret.
says() {
    local what=$1 pattern=$2
    shift 2
    if "$@" > "$WORK/out" 2>&1; then failed "$what" "exit 1" "success"; fi
    expect_match "$what" "$pattern" "$(cat "$WORK/out")"
    ! grep -qF -e "$secret" -e "$s3_secret" -e wrong-secret "$WORK/out" || failed "$what" "no secrets" "$(cat "$WORK/out")"
}
# same_as_restored NAME: what came back is what db.0 has.
same_as_restored() {
    local id
    id=$(shoal 1 volume show "$1" --json | jq -r .id)
    mkdir -p "$WORK/mount"
    mount -o loop,ro,noload "$DATA/h$holder/volumes/data/$id.image" "$WORK/mount" || failed "mount $1" "a file system" "none"
    (cd "$WORK/mount" && sha256sum a big) > "$WORK/restored"
    umount "$WORK/mount"
    expect_equal "what $1 has" "$(inside sh -c 'cd /data && busybox sha256sum a big')" "$(cat "$WORK/restored")"
    expect "remove $1" shoal 1 volume rm "$1"
}

# try_store KIND TARGET SIZE START: everything, against the store that START starts; SIZE tells the
# bytes in it.
try_store() {
    local kind=$1 target=$2 size=$3 start=$4 before begun
    "$start"
    database 1d "$target" | apply_text 1 --wait > /dev/null || failed "apply" "exit 0" "an error"
    holder=$(host_of db.0)
    inside sh -c 'echo precious > /data/a; dd if=/dev/urandom of=/data/big bs=1M count=12 2> /dev/null'
    eventually 30 "the schedule makes the first backup to $kind" count_is 1
    expect "a backup to $kind" shoal 1 volume backup db.0/data
    expect "restored from $kind" shoal 1 volume restore db.0/data --as test.0/data
    same_as_restored test.0/data

    # --- what nobody wants any more is pruned ------------------------------------------------
    before=$("$size")
    expect_between "bytes at $kind" $((12 << 20)) $((40 << 20)) "$before"
    inside sh -c 'echo short > /data/big'
    expect "one without the large file" shoal 1 volume backup db.0/data
    expect "and another" shoal 1 volume backup db.0/data
    expect_equal "backups that are kept at $kind" 2 "$(backups '.backups | length')"
    # An agent prunes a repository at its first backup, and once a day.
    kill_agent "$holder"
    start_agent "$holder"
    eventually 20 "three hosts after a restart" all_see_three
    expect "one that prunes" shoal 1 volume backup db.0/data
    expect_between "bytes at $kind after that" 1 $((before - (11 << 20))) "$("$size")"

    # --- wrong keys ----------------------------------------------------------------------------
    keys wrong-secret
    says "wrong keys for $kind" 'does not let us in' shoal 1 volume backup db.0/data
    says "wrong keys for a restore from $kind" 'does not let us in' shoal 1 volume restore db.0/data --as half.0/data
    right_keys
    expect "the right keys again" shoal 1 volume backup db.0/data

    # --- the agent is killed in the middle -----------------------------------------------------
    inside sh -c 'dd if=/dev/urandom of=/data/big bs=1M count=40 2> /dev/null'
    before=$("$size")
    grows() { [ "$("$size")" -gt $((before + (4 << 20))) ]; }
    helper shoal $((holder % 3 + 1)) volume backup db.0/data
    eventually 30 "a backup to $kind has begun" grows
    kill_agent "$holder"
    start_agent "$holder"
    eventually 20 "three hosts after a kill in the middle" all_see_three
    expect "a backup to $kind after that, with the dead one's lock there" shoal 1 volume backup db.0/data

    # --- the store breaks off in the middle ------------------------------------------------------
    inside sh -c 'dd if=/dev/urandom of=/data/big bs=1M count=40 2> /dev/null'
    before=$("$size")
    helper slow 1 volume backup db.0/data
    begun=$HELPER
    eventually 30 "another has begun" grows
    ip -n "$CLUSTER-switch" addr del $store/24 dev br0
    sleep 3
    ip -n "$CLUSTER-switch" addr add $store/24 dev br0
    wait "$begun" || failed "a backup over a cut of three seconds" "exit 0" "exit $?"
    expect "restored from $kind after that" shoal 1 volume restore db.0/data --as test.0/data
    same_as_restored test.0/data

    # --- away: said, and made good by the schedule -----------------------------------------------
    ip -n "$CLUSTER-switch" addr del $store/24 dev br0
    begun=$(now_ms)
    says "$kind is away" 'does not answer' slow 1 volume backup db.0/data
    measured "until a $kind store that is away is told" "$(since "$begun")"
    database 10s "$target" | apply_text 1 > /dev/null || failed "apply" "exit 0" "an error"
    expect_match "the failure is kept" 'does not answer' "$(backups '.failure.reason // ""')"
    newest=$(backups '[.backups[].time] | max')
    ip -n "$CLUSTER-switch" addr add $store/24 dev br0
    later() { [[ "$(backups '[.backups[].time] | max')" > "$newest" ]] && [ "$(backups '.failure.reason // "none"')" = none ]; }
    eventually 90 "the schedule makes it good" later
    expect "delete" shoal 1 delete db --yes --wait
    expect "forget the backups" shoal 1 volume forget-backups db.0/data
}

# --- a server of restic's REST protocol ----------------------------------------------------------
mkdir "$WORK/rest"
start_rest() {
    helper on_switch env RCLONE_PASS=$secret rclone serve restic --config "$WORK/none" \
        --addr $store:8001 --user shoal "$WORK/rest"
    eventually 20 "the rest-server answers" answers 8001
}
rest_size() { du -sb --exclude=locks "$WORK/rest" | cut -f1; }
try_store rest "rest:http://$store:8001/" rest_size start_rest

# --- an S3 store -----------------------------------------------------------------------------------
# Debian has no small one. moto's, from Python's packages, checks signatures and rights as S3 does; nothing
# that always runs may depend on those.
if [ -z "${SHOALT_S3:-}" ]; then
    skipped "backups to S3" "SHOALT_S3=1 installs a store from Python's packages and tries it"
    exit 0
fi
if ! { python3 -m venv "$WORK/python" && timeout 120 "$WORK/python/bin/pip" install -q \
    --disable-pip-version-check 'moto[s3]' flask flask-cors; } > "$WORK/pip" 2>&1; then
    skipped "backups to S3" "no store could be installed (pip install moto): $(tail -n 1 "$WORK/pip" | cut -c1-200)"
    exit 0
fi
cat > "$WORK/store.py" <<'PYTHON'
import json, os, sys, threading
host, port, told = sys.argv[1], int(sys.argv[2]), sys.argv[3]
# The four requests below are nobody's; whatever follows must be signed by somebody who may.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"
import boto3
from moto.server import ThreadedMotoServer
ThreadedMotoServer(host, port, verbose=False).start()
there = dict(endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
             aws_access_key_id="anybody", aws_secret_access_key="anybody")
iam = boto3.client("iam", **there)
iam.create_user(UserName="shoal")
iam.put_user_policy(UserName="shoal", PolicyName="all", PolicyDocument=json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}))
key = iam.create_access_key(UserName="shoal")["AccessKey"]
boto3.client("s3", **there).create_bucket(Bucket="bucket")
with open(told + ".new", "w") as file: file.write(f"{key['AccessKeyId']} {key['SecretAccessKey']}\n")
os.rename(told + ".new", told)
threading.Event().wait()
PYTHON
start_s3() {
    helper on_switch "$WORK/python/bin/python" "$WORK/store.py" $store 8002 "$WORK/s3-keys" > "$WORK/s3.log" 2>&1
    eventually 30 "the S3 store runs" test -s "$WORK/s3-keys"
    read -r s3_key s3_secret < "$WORK/s3-keys"
    right_keys
}
s3_size() {
    on_switch env -u AWS_CA_BUNDLE RCLONE_CONFIG_STORE_TYPE=s3 RCLONE_CONFIG_STORE_PROVIDER=Other \
        RCLONE_CONFIG_STORE_ACCESS_KEY_ID="$s3_key" RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY="$s3_secret" \
        RCLONE_CONFIG_STORE_ENDPOINT="http://$store:8002" \
        rclone --config "$WORK/none" size store:bucket --json 2> /dev/null | jq .bytes
}
try_store S3 "s3:http://$store:8002/bucket/backups" s3_size start_s3
