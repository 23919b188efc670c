import Glibc
import HostPlan

/// One agent for the sets' groups, and one for their bridge: a second one would take the first one's
/// sets for what a crash had left, and remove them.
extension HostControl {
    /// Claims the groups and the bridge until this process ends.
    ///
    /// Locks that the kernel lets go of by itself: one on the folder of the groups, and the name of a
    /// socket, which every network namespace has its own of, for the bridge. Throws `taken` when
    /// another process has either; fine when called again.
    package func claim() throws(HostControlError) {
        guard claims.isEmpty else { return }
        let root = settings.cgroupRoot
        for step in CgroupPlan.rootSteps(layout: capabilities.cgroups, root: root) {
            try apply(step)
        }
        let folder = capabilities.cgroups.mountPoint(of: "pids").map { "\($0)/\(root)" }
        if let folder { claims.append(try HostControl.lock(folder, named: root)) }
        // Of another namespace's network nothing can be claimed from here: tests and tools only.
        guard settings.networkNamespace == nil else { return }
        claims.append(try HostControl.reserve(bridge: settings.bridge))
    }

    private static func lock(
        _ folder: String, named root: String
    ) throws(HostControlError) -> Int32 {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .file(operation: "open", path: folder, code: errno) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            guard code == EWOULDBLOCK else {
                throw .file(operation: "lock", path: folder, code: code)
            }
            throw .taken(what: "the control group `\(root)`", setting: "cgroup-root")
        }
        return descriptor
    }

    /// Binds a socket without a file (unix(7), abstract names): gone with the process.
    private static func reserve(bridge: String) throws(HostControlError) -> Int32 {
        let name = "shoal-agent-of-bridge-\(bridge)"
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .file(operation: "claim", path: name, code: errno) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // The name begins after a byte of zero, and needs no end.
        withUnsafeMutableBytes(of: &address.sun_path) { path in
            for (offset, byte) in name.utf8.enumerated() { path[offset + 1] = byte }
        }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + 1 + name.utf8.count)
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length)
            }
        }
        guard status == 0 else {
            let code = errno
            close(descriptor)
            guard code == EADDRINUSE else {
                throw .file(operation: "claim", path: name, code: code)
            }
            throw .taken(what: "the bridge `\(bridge)`", setting: "bridge")
        }
        return descriptor
    }
}
