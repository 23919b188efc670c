# The root image of the machines of `Tools/lab up`, and what boots it. Sourced by Tools/lab.
#
# One Debian root folder is made once; each engine has an image of it with its kernel's modules.
# Machines never write to the image: each has an overlay file of its own.
# shellcheck shell=bash

IMAGE_SUITE=bookworm
# What Shoal needs on a host, what its tests call, and what one looks around with.
IMAGE_PACKAGES="systemd-sysv dbus udev kmod openssh-server iproute2 iputils-ping nftables procps
    util-linux-extra crun conmon busybox-static libuv1 libsodium23 libsqlite3-0 libarchive13
    lvm2 thin-provisioning-tools xfsprogs e2fsprogs python3-minimal curl jq strace"
IMAGE_SIZE=3G
# Units that only cost time in a machine without screen, clock and internet.
MASKED_UNITS="getty@tty1.service serial-getty@ttyS0.service console-getty.service getty.target
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
    e2scrub_reap.service fstrim.timer systemd-update-utmp.service systemd-random-seed.service"

# prepare_image ENGINE: makes whatever is missing of what that engine boots.
prepare_image() {
    local reason status
    install_packages mmdebstrap e2fsprogs openssh-client iproute2 util-linux
    if [ "$1" = qemu ]; then
        install_packages qemu-system-x86 qemu-utils busybox-static cpio kmod
        find_cloud_kernel || fail "apt-get could not download Debian's cloud kernel: is the machine online?"
    else
        find_user_mode_kernel || fail "$reason"
    fi
    # Not as part of a condition, which would switch off its `set -e`.
    with_cache_lock fill_cache "$1"
    status=$?
    [ "$status" = 0 ] || fail "the root image could not be made; the lines above say why"
}

# What the root folder is made of, as one number.
image_recipe() {
    {
        echo "$IMAGE_SUITE" $IMAGE_PACKAGES ${LAB_PACKAGES:-} "$MASKED_UNITS"
        cat "$TOOLS"/lab.d/guest/{machine-init,machine-network,lab-network.service}
    } | sha256sum | cut -d' ' -f1
}

# Runs in a subshell, with the cache locked. What is half made bears the name *.new and goes.
fill_cache() {
    local engine=$1
    set -e
    trap 'rm -rf --one-file-system "$CACHE"/*.new' EXIT
    trap 'exit 130' INT TERM HUP
    [ -f "$CACHE/key" ] || ssh-keygen -q -t ed25519 -N '' -C shoal-lab -f "$CACHE/key"
    # Machines that run keep the image that they began with.
    if [ ! -d "$MACHINES" ] && [ "$(cat "$CACHE/recipe" 2> /dev/null)" != "$(image_recipe)" ]; then
        rm -rf --one-file-system "$CACHE/root" "$CACHE"/{uml,qemu}.ext4
    fi
    [ -d "$CACHE/root" ] || make_root
    if [ "$engine" = qemu ]; then
        [ -f "$CACHE/cloud-start.gz" ] || make_initial_root
        [ -f "$CACHE/qemu.ext4" ] || make_image_file qemu "$CLOUD_MODULES"
    else
        [ -f "$CACHE/uml.ext4" ] || make_image_file uml "$USER_MODE_MODULES"
    fi
}

# Debian's kernel for virtual machines, smaller than that for all hardware.
find_cloud_kernel() {
    local package
    if [ ! -d "$CACHE/cloud-kernel" ]; then
        package=$(apt-cache depends linux-image-cloud-amd64 2> /dev/null | awk '/Depends/ { print $2; exit }')
        [ -n "$package" ] && unpack_package "$package" cloud-kernel || return 1
    fi
    CLOUD_MODULES=$CACHE/cloud-kernel/lib/modules
    # shellcheck disable=SC2034 # machines.sh boots it.
    CLOUD_KERNEL=$(echo "$CACHE"/cloud-kernel/boot/vmlinuz-*)
}

# The root folder, without kernel modules.
make_root() {
    local root=$CACHE/root.new guest=$TOOLS/lab.d/guest packages unit source
    say "Making the root image of the machines (a minute or two, once)"
    rm -rf "$root"
    # shellcheck disable=SC2086
    packages=$(echo $IMAGE_PACKAGES ${LAB_PACKAGES:-} | tr ' ' ',')
    source=/etc/apt/sources.list.d/debian.sources
    grep -qs "^Suites:.*\b$IMAGE_SUITE\b" "$source" \
        || source="deb http://deb.debian.org/debian $IMAGE_SUITE main"
    mmdebstrap --quiet --variant=minbase "--include=$packages" \
        --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        "$IMAGE_SUITE" "$root" "$source"
    install -D -m 600 "$CACHE/key.pub" "$root/root/.ssh/authorized_keys"
    chmod 700 "$root/root/.ssh"
    printf 'UseDNS no\nPermitRootLogin prohibit-password\nUsePAM no\nPrintMotd no\n' \
        > "$root/etc/ssh/sshd_config.d/lab.conf"
    # The slow keys are never asked for.
    rm -f "$root"/etc/ssh/ssh_host_{rsa,ecdsa}_key*
    rm -f "$root"/etc/apt/apt.conf.d/99* "$root"/var/cache/apt/*.bin "$root/etc/resolv.conf"
    # Empty, so that each machine makes its own.
    : > "$root/etc/machine-id"
    : > "$root/etc/fstab"
    mkdir -p "$root/host" "$root/lib/modules"
    install -m 755 "$guest/machine-init" "$root/usr/sbin/lab-init"
    install -m 755 "$guest/machine-network" "$root/usr/sbin/lab-network"
    install -m 644 "$guest/lab-network.service" "$root/etc/systemd/system/lab-network.service"
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -sf ../lab-network.service "$root/etc/systemd/system/multi-user.target.wants/"
    for unit in $MASKED_UNITS; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
    ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
    mv "$root" "$CACHE/root"
    image_recipe > "$CACHE/recipe"
}

# make_image_file ENGINE MODULES: a sparse ext4 file of the root folder with these modules.
make_image_file() {
    local file=$CACHE/$1.ext4 release
    release=$(basename "$2"/*)
    rm -rf "$CACHE/root/lib/modules"
    mkdir "$CACHE/root/lib/modules"
    cp -a "$2/$release" "$CACHE/root/lib/modules/"
    chroot "$CACHE/root" depmod "$release"
    rm -f "$file.new"
    truncate -s "$IMAGE_SIZE" "$file.new"
    # No journal: a machine is thrown away, never repaired.
    mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1 -d "$CACHE/root" "$file.new"
    rm -rf "$CACHE/root/lib/modules"
    mv "$file.new" "$file"
}

# The cloud kernel's first root: busybox and the drivers of the disk, just enough to mount the image.
make_initial_root() {
    local work=$CACHE/initial.new release modules module file
    release=$(basename "$CLOUD_MODULES"/*)
    modules=$CLOUD_MODULES/$release
    [ -f "$modules/modules.dep" ] || depmod -b "$CACHE/cloud-kernel" "$release"
    rm -rf "$work"
    mkdir -p "$work"/{bin,modules,proc,dev,root}
    cp "$(command -v busybox)" "$work/bin/busybox"
    install -m 755 "$TOOLS/lab.d/guest/initial-init" "$work/init"
    : > "$work/modules/order"
    for module in virtio_pci virtio_blk; do
        # A line of modules.dep names a module and then what it needs, the nearest first.
        for file in $(grep "/$module\.ko:" "$modules/modules.dep" | tr -d : | tr ' ' '\n' | tac); do
            [ ! -f "$work/modules/$(basename "$file")" ] || continue
            cp "$modules/$file" "$work/modules/"
            basename "$file" >> "$work/modules/order"
        done
    done
    (cd "$work" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) > "$CACHE/cloud-start.gz.new"
    rm -rf "$work"
    mv "$CACHE/cloud-start.gz.new" "$CACHE/cloud-start.gz"
}
