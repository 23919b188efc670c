# Deleting with --wait returns when the last process has ended, and names hosts that do not answer.
# shellcheck shell=bash

# A shell that is process 1 ignores the stop signal: it is killed when its time is up.
stubborn='service: stubborn
sets: 3
containers:
  - name: app
    image: demo/web:1
    command: [sh, -c, "trap : TERM; while :; do sleep 1; done"]
    cpu: {request: 50m, limit: 200m}
    memory: {request: 8Mi, limit: 32Mi}'
apply_text 1 --wait <<< "$stubborn" > /dev/null || failed "apply" "exit 0" "an error"
expect_equal "containers before" 3 "$(all_containers | wc -l)"
waited=$(shoal 2 delete stubborn --yes --wait 2>&1) || failed "delete --wait" "exit 0" "$waited"
expect_equal "containers when it returns" "" "$(all_containers)"
expect_match "it told what it waited for" '3 sets left' "$waited"

apply_text 1 --wait <<< "$stubborn" > /dev/null || failed "apply" "exit 0" "an error"
victim=$(follower_number)
other=$((victim % 3 + 1))
kill_agent "$victim"
waited=$(shoal "$other" delete stubborn --yes --wait --timeout 8 2>&1)
expect_equal "exit code when a host does not answer" 1 $?
expect_match "it says which" "what runs on h$victim ends when it answers again" "$waited"
start_agent "$victim"
eventually 20 "three hosts see each other again" all_see_three
eventually 15 "its set ends when it is back" nothing_runs
