# Kernels from Debian packages: downloaded and unpacked into the cache, never installed.
# Sourced by Tools/lab.
# shellcheck shell=bash

# with_cache_lock COMMAND...: one process at a time fills the cache.
with_cache_lock() { (flock 9 && "$@") 9< "$CACHE"; }

# unpack_package PACKAGE FOLDER: unpacks the newest version into the cache's FOLDER, once. Returns 1
# when the package cannot be had.
unpack_package() {
    [ -d "$CACHE/$2" ] || with_cache_lock unpack_package_locked "$1" "$2"
}

unpack_package_locked() {
    local package=$1 folder=$2 work
    [ -d "$CACHE/$folder" ] && return 0
    work=$(mktemp -d "$CACHE/unpack.XXXXXX") || return 1
    # Runs in a subshell, so the trap is its own.
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    trap 'exit 130' INT TERM HUP
    chmod 755 "$work"
    (cd "$work" && download "$package" && dpkg -x ./*.deb unpacked) || return 1
    mv "$work/unpacked" "$CACHE/$folder"
}

# Downloads a package into the working folder; asks for newer lists when the known ones fail.
download() {
    local quiet=(-qq -o APT::Sandbox::User=root -o DPkg::Lock::Timeout=300)
    apt-get "${quiet[@]}" download "$1" > /dev/null 2>&1 && return 0
    apt-get "${quiet[@]}" update > /dev/null 2>&1
    apt-get "${quiet[@]}" download "$1" > /dev/null 2>&1
}

# The user-mode kernel. Returns 1 with a sentence in `reason` when there is none for this machine.
find_user_mode_kernel() {
    reason=
    if ! command -v apt-get dpkg flock setsid > /dev/null; then
        reason="user-mode Linux comes as a Debian package, and this is not Debian"
    elif [ "$(dpkg --print-architecture)" != amd64 ]; then
        reason="Debian has user-mode Linux for amd64 only"
    elif ! unpack_package user-mode-linux user-mode-linux; then
        reason="apt-get could not download the package user-mode-linux"
    fi
    [ -z "$reason" ] || return 1
    # shellcheck disable=SC2034 # test.sh and machines.sh boot it.
    USER_MODE_KERNEL=$CACHE/user-mode-linux/usr/bin/linux.uml
    # shellcheck disable=SC2034 # image.sh puts them into the image.
    USER_MODE_MODULES=$CACHE/user-mode-linux/usr/lib/uml/modules
}

# memory_folder MEBIBYTES: where user-mode Linux keeps a machine's memory, as a file without a name.
# Memory when it is large enough: containers often have a tiny /dev/shm, and running over it would
# kill the machine.
memory_folder() {
    local free
    free=$(df --output=avail -m /dev/shm 2> /dev/null | tail -n 1)
    if [ "${free:-0}" -ge "$1" ] && [ -w /dev/shm ] && ! grep -q ' /dev/shm .*noexec' /proc/self/mounts; then
        echo /dev/shm
    else
        echo "$LAB"
    fi
}
