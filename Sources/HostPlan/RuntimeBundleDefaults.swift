/// What every container gets unless its spec says otherwise, as Docker and Podman have it.
package enum RuntimeBundleDefaults {
    /// A file system mounted into every container.
    package struct Mount: Hashable, Sendable {
        /// Where.
        package var destination: String
        /// The file system's type.
        package var type: String
        /// What is shown as its source.
        package var source: String
        /// mount(8) options.
        package var options: [String]
    }

    /// A character device a container may open.
    package struct Device: Hashable, Sendable {
        /// The driver's number.
        package var major: Int
        /// The device's number; nil means every one of the driver.
        package var minor: Int?
    }

    /// One kernel setting of the container's namespaces.
    package struct KernelSetting: Hashable, Sendable {
        /// The name, as sysctl(8) takes it.
        package var name: String
        /// The value.
        package var value: String
    }

    /// Podman's eleven capabilities.
    ///
    /// Docker adds three, which are left out: NET_RAW lets one container forge packets of another
    /// on the bridge (`ping` works without, see `kernelSettings`); MKNOD is of no use where the
    /// device cgroup denies what it makes; AUDIT_WRITE lets a container write the host's audit log.
    package static let capabilities = [
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
        "CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ]

    /// The search path for commands when the image sets none.
    package static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    /// Open files, as Docker and Podman give: 2^20, the kernel's default `fs.nr_open`.
    package static let openFilesMax = 1_048_576

    /// When the whole host runs out of memory a container goes before the host's own services.
    package static let oomScoreAdjustment = 100

    /// `ping` for every group, and ports below 1024 for every user, inside the network namespace.
    package static let kernelSettings = [
        KernelSetting(name: "net.ipv4.ip_unprivileged_port_start", value: "0"),
        KernelSetting(name: "net.ipv4.ping_group_range", value: "0 2147483647"),
    ]

    /// The usual file systems; `/sys` and the container's own cgroups are read-only.
    package static let mounts = [
        Mount(
            destination: "/proc", type: "proc", source: "proc",
            options: ["nosuid", "noexec", "nodev"]),
        Mount(
            destination: "/dev", type: "tmpfs", source: "tmpfs",
            options: ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        Mount(
            destination: "/dev/pts", type: "devpts", source: "devpts",
            options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        Mount(
            destination: "/dev/shm", type: "tmpfs", source: "shm",
            options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        Mount(
            destination: "/dev/mqueue", type: "mqueue", source: "mqueue",
            options: ["nosuid", "noexec", "nodev"]),
        Mount(
            destination: "/sys", type: "sysfs", source: "sysfs",
            options: ["nosuid", "noexec", "nodev", "ro"]),
        Mount(
            destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup",
            options: ["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]

    /// null, zero, full, random, urandom, tty, ptmx and the pseudo-terminals; all else is denied.
    package static let devices = [
        Device(major: 1, minor: 3), Device(major: 1, minor: 5), Device(major: 1, minor: 7),
        Device(major: 1, minor: 8), Device(major: 1, minor: 9), Device(major: 5, minor: 0),
        Device(major: 5, minor: 2), Device(major: 136, minor: nil),
    ]

    /// Files of the host's kernel that say too much or do too much.
    package static let maskedPaths = [
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
        "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
        "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
    ]

    /// Parts of `/proc` that set up the host.
    package static let readOnlyPaths = [
        "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
    ]
}
