# Ports that could not be published are published as soon as that works again, without another change.
# shellcheck shell=bash

# The agent on one host finds a program for address translation that can be made to fail.
victim=$(follower_number)
mkdir -p "$WORK/programs"
cat > "$WORK/programs/nft" << TEXT
#!/bin/sh
[ ! -e "$WORK/nft-is-broken" ] || { echo "Error: no such luck" >&2; exit 1; }
exec $(command -v nft) "\$@"
TEXT
chmod +x "$WORK/programs/nft"
kill_agent "$victim"
PATH=$WORK/programs:$PATH start_agent "$victim"
eventually 20 "three hosts see each other" all_see_three
# Its network works first: where translation never did, no set starts at all.
sed 's/^service: web/service: first/; s/sets: 6/sets: 3/; /publish:/,+1d' "$REPO/Config/examples/web.yaml" \
    | apply_text 1 --wait > /dev/null || failed "a set on every host" "exit 0" "an error"
touch "$WORK/nft-is-broken"
expect "apply" shoal 1 apply -f "$REPO/Config/examples/web.yaml" --wait
page() { in_host "$victim" curl -fsS -m 1 "http://$(host_address "$victim"):18080/"; }
page > /dev/null 2>&1 && failed "a port that could not be published" "no answer" "a page"
expect_match "the agent says so, once" '^1$' "$(grep -c 'could not publish ports' "$RUN/h$victim.log")"
sleep 3
page > /dev/null 2>&1 && failed "a port that still cannot be published" "no answer" "a page"
expect_match "and does not repeat it" '^1$' "$(grep -c 'could not publish ports' "$RUN/h$victim.log")"
rm "$WORK/nft-is-broken"
eventually 8 "a page through the port" page
kill_agent "$victim"
start_agent "$victim"
eventually 20 "three hosts see each other again" all_see_three
expect "delete" shoal 1 delete web --yes --wait
expect "delete" shoal 1 delete first --yes --wait
