# `Tools/lab test`: runs tests of the host's build in a machine with control groups version 2.
# Sourced by Tools/lab.
# shellcheck shell=bash

# The limits: of groups by themselves, and of containers as crun makes them. The whole of
# ContainerRuntimeTests takes two minutes, process starts being slow in such a machine. And volumes
# where they need device-mapper, quota or the right to grow what is mounted; all of VolumeStoreTests
# with a kill at every step takes half an hour.
TEST_FILTERS=(
    'HostControlTests\.(CgroupTests|MemoryAndBurstTests|DiskLimitTests|VolumeDiskTests)'
    'ContainerRuntimeTests\.ContainerTests/(lifecycle|sandbox|outOfMemory)'
    'ContainerRuntimeTests\.KeptLimitTests'
    'VolumeStoreTests\.(LogicalTests|QuotaTests|FailingDiskTests)'
    'VolumeStoreTests\.ResizeTests/growExt4'
)
# The long run: all of it, with kills at random moments by the hundred, and what fills a pool slowly.
LONG_FILTERS=(HostControlTests ContainerRuntimeTests VolumeStoreTests)
LONG_KILLS=500
LONG_SECONDS=14400
# NAME=VALUE for the tests.
TEST_ENVIRONMENT=()
# The machine's memory; taken from the host only as it is touched.
TEST_MEBIBYTES=768

test_run='' test_pid=''

lab_test() {
    local bundle=$REPO/.build/debug/shoalPackageTests.xctest seconds=600 verbose='' filters=()
    while [ $# -gt 0 ]; do
        case $1 in
            --verbose) verbose=yes; shift; continue ;;
            --long)
                filters+=("${LONG_FILTERS[@]}")
                seconds=$LONG_SECONDS
                TEST_ENVIRONMENT+=("SHOALT_KILLS=$LONG_KILLS" SHOALT_LONG=1)
                shift
                continue
                ;;
            --bundle | --filter | --time) [ $# -ge 2 ] || fail "$1 needs a value" ;;
            *) fail "test does not know $1: see Tools/lab --help" ;;
        esac
        case $1 in
            --bundle) bundle=$2 ;;
            --filter) filters+=("$2") ;;
            --time) seconds=$2 ;;
        esac
        shift 2
    done
    [[ $seconds =~ ^[1-9][0-9]{0,4}$ ]] || fail "--time takes a number of seconds: $seconds"
    [ -x "$bundle" ] || fail "there are no tests at $bundle: run swift build --build-tests first"
    bundle=$(realpath "$bundle")
    [ ${#filters[@]} -gt 0 ] || filters=("${TEST_FILTERS[@]}")

    # Programs that the tests call, seen by the machine through the host's files; tests skip what
    # is not there.
    # shellcheck disable=SC2086 # a list
    [ "$(id -u)" != 0 ] || (install_packages crun conmon busybox-static iproute2 python3-minimal \
        $VOLUME_PACKAGES)
    local reason
    find_user_mode_kernel || { say "lab: skipped: $reason"; exit 0; }
    trap end_test EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    test_run=$(mktemp -d "$LAB/test.XXXXXX") || fail "cannot make a folder in $LAB"
    start_test_machine "$bundle" "${filters[@]}"
    follow_test_machine "$seconds" "$verbose"
    judge_test "$seconds"
}

# kills [N]: nothing but kills at random moments of operations on volumes.
lab_kills() {
    local count=$LONG_KILLS
    if [[ ${1:-} =~ ^[1-9][0-9]{0,4}$ ]]; then
        count=$1
        shift
    elif [ $# -gt 0 ] && [[ $1 != --* ]]; then
        fail "kills takes a number of kills: Tools/lab kills 500"
    fi
    TEST_ENVIRONMENT+=("SHOALT_KILLS=$count")
    # Some seconds each: the store starts three times for one kill, in a machine that is slow at that.
    lab_test --filter 'VolumeStoreTests\.KillTests/anyMoment' --time $((count * 30 + 300)) "$@"
}

# Kills the machine if it still runs, with its processes: they are processes of the host, in the
# same group.
end_test() {
    if [ -n "$test_pid" ]; then
        kill -KILL -- "-$test_pid" 2> /dev/null
        wait "$test_pid" 2> /dev/null
    fi
    [ -z "$test_run" ] || rm -rf "$test_run"
}

start_test_machine() {
    local bundle=$1 filter
    shift
    {
        printf '%s\0' "$bundle" --testing-library swift-testing --no-parallel
        for filter in "$@"; do printf '%s\0' --filter "$filter"; done
    } > "$test_run/command"
    boot_test_machine
}

# Boots the machine, which does what $test_run/command says.
boot_test_machine() {
    local variable
    cp "$TOOLS/lab.d/guest/test-init" "$test_run/init"
    for variable in "${TEST_ENVIRONMENT[@]}"; do printf '%s\0' "$variable"; done > "$test_run/environment"
    : > "$test_run/console"
    # Drivers that the kernel does not have inside, and an empty disk for the tests of volumes.
    echo "$USER_MODE_MODULES"/* > "$test_run/modules"
    truncate -s 4G "$test_run/disk"
    # One more that takes room only as it is written to; the machine makes a file system on it.
    truncate -s 1G "$test_run/files" || fail "cannot make a disk in $test_run"
    # A kernel that panics aborts its process: no core file of the machine's size.
    ulimit -c 0
    TMPDIR=$(memory_folder "$TEST_MEBIBYTES") setsid "$USER_MODE_KERNEL" \
        "mem=${TEST_MEBIBYTES}M" umid=test "uml_dir=$test_run/" \
        "ubd0=$test_run/disk" "ubd1=$test_run/files" rootfstype=hostfs rootflags=/ ro "init=$test_run/init" \
        con=null con0=null,fd:1 ssl=null quiet loglevel=1 \
        < /dev/null > "$test_run/console" 2>&1 &
    test_pid=$!
}

# Prints what the tests say while the machine runs, for so many seconds at most.
follow_test_machine() {
    local limit=$1 verbose=$2 start running line='' part console
    start=$(now_ms)
    exec {console}< "$test_run/console"
    while :; do
        running=yes
        kill -0 "$test_pid" 2> /dev/null || running=
        # A line may arrive in pieces.
        while IFS= read -r part <&"$console"; do
            tell "${line}${part}" "$verbose"
            line=
        done
        line+=$part
        [ -n "$running" ] || break
        [ ! -e "$test_run/status" ] || [ "$(since_ms "$test_run/status")" -lt 5000 ] || break
        [ $(($(now_ms) - start)) -lt $((limit * 1000)) ] || break
        sleep 0.2
    done
    exec {console}<&-
}

# Milliseconds since a file was written. The machine has written its verdict and should have powered
# off at once; a few seconds later we no longer wait for that.
since_ms() { echo $((($(date +%s) - $(stat -c %Y "$1")) * 1000)); }

# Prints a line of the console when it is a verdict, or any line when `verbose`.
tell() {
    local line=${1%$'\r'}
    if [ -n "$2" ] || [[ $line == "kills: "* ]]; then
        say "$line"
    elif [[ $line =~ ^.\ Test\ .*\ (passed|failed)\ after || $line =~ (skipped|recorded an issue) ||
        $line == *"↳"* && $line != *"Testing Library"* && $line != *"Target Platform"* ]]; then
        [[ $line == *" Test run with "* ]] || say "$line"
    fi
}

# How many tests ended like this.
count_tests() { grep -aE "^. Test .* $1 after " "$test_run/console" | grep -avc ' Test run with '; }

judge_test() {
    local seconds=$1 passed failed kernel status problem
    if [ ! -s "$test_run/booted" ]; then
        say "lab: skipped: user-mode Linux does not boot here: $(grep -av '^[[:space:]]*$' "$test_run/console" | tail -n 1)"
        exit 0
    fi
    kernel=$(cat "$test_run/booted")
    if [ -s "$test_run/obstacle" ]; then
        say "lab: skipped: $(cat "$test_run/obstacle") (kernel $kernel)"
        exit 0
    fi
    passed=$(count_tests passed)
    failed=$(count_tests failed)
    problem=''
    if [ ! -s "$test_run/status" ]; then
        problem="the machine gave no verdict within $seconds s; --time allows it more"
    else
        status=$(cat "$test_run/status")
        if [ $((passed + failed)) = 0 ]; then
            problem="no test was run (status $status): see --filter and --bundle"
        elif [ "$failed" != 0 ]; then
            problem="tests failed; --verbose prints the machine's whole console"
        elif [ "$status" != 0 ]; then
            problem="the tests ended with status $status, though none failed"
        fi
    fi
    if [ -n "$problem" ]; then
        # Where no failed test tells what went wrong, the last words may.
        [ "$failed" != 0 ] || tail -n 20 "$test_run/console" >&2
        say "error: $problem" >&2
    fi
    say "lab: $passed passed, $failed failed on cgroup v2 (kernel $kernel)"
    [ -z "$problem" ] || exit 1
    exit 0
}
