import CLinux
import HostPlan

/// What a container sees of the machine in `/proc`: its own limits instead of the host's, as far as
/// lxcfs (lxcfs(8), Debian's package) serves them on this host.
///
/// lxcfs computes each file from the cgroup of whoever reads it, so a live resize shows at once. A quota
/// counts as processors only when it was started with `--enable-cfs`.
/// Without it a container sees the whole machine, which misleads programs that size themselves.
enum SystemView {
    /// The files below lxcfs's mount point, and where they belong in a container.
    private static let files = [
        "proc/cpuinfo", "proc/diskstats", "proc/loadavg", "proc/meminfo", "proc/stat",
        "proc/swaps", "proc/uptime", "sys/devices/system/cpu/online",
    ]

    /// The mounts for a container; empty when nothing is served there.
    ///
    /// Asked for each container: a file that answers nobody would keep it from starting.
    static func mounts(from folder: String) -> [RuntimeBundle.FileMount] {
        guard clinux_is_fuse(folder) else { return [] }
        return files.compactMap { file in
            let source = "\(folder)/\(file)"
            guard HostFiles.read(source, bytesMax: 4 << 20)?.isEmpty == false else { return nil }
            return RuntimeBundle.FileMount(source: source, destination: "/\(file)")
        }
    }
}
