import Glibc

/// Finds and removes the cgroup folders that a runtime makes and leaves behind.
///
/// crun makes a container's cgroup with all folders above it in every hierarchy of cgroup v1, those
/// that nobody else uses too, and its `delete` removes the innermost only. What was not there
/// before a container is noted and removed after it; a folder that another container or the host
/// still uses is busy, which rmdir(2) respects.
struct CgroupLeftovers: Sendable {
    /// Where Linux has its cgroups.
    private static let mount = "/sys/fs/cgroup"

    /// The roots of the hierarchies: the mount itself with cgroup v2, its folders with v1.
    let hierarchies: [String]

    /// Finds the hierarchies; a hybrid mount is none of the runtime's.
    init(hybridMount: String?) {
        let mount = CgroupLeftovers.mount
        if HostFiles.exists("\(mount)/cgroup.procs") {
            hierarchies = [mount]
        } else {
            hierarchies = HostFiles.names(in: mount).map { "\(mount)/\($0)" }
                .filter { $0 != hybridMount && HostFiles.exists("\($0)/cgroup.procs") }
        }
    }

    /// The list of a container's processes.
    func processesPath(_ cgroupsPath: String) -> String {
        let paths = hierarchies.map { "\($0)\(cgroupsPath)/cgroup.procs" }
        return paths.first { HostFiles.exists($0) } ?? "/dev/null"
    }

    /// The folders above a container's cgroup, in every hierarchy, innermost first.
    func parents(of cgroupsPath: String) -> [String] {
        let steps = cgroupsPath.split(separator: "/").dropLast()
        return hierarchies.flatMap { hierarchy in
            (0..<steps.count).map { left in
                hierarchy + "/" + steps.dropLast(left).joined(separator: "/")
            }
        }
    }

    /// Removes a container's own cgroup everywhere, then the parents given, where they are empty.
    func remove(_ cgroupsPath: String, parents: [String]) {
        for hierarchy in hierarchies { removeTree(hierarchy + cgroupsPath, depth: 0) }
        // Innermost first, whatever the order on disk. Only below a hierarchy: the list comes from
        // a file.
        let known = Set(self.parents(of: cgroupsPath))
        for parent in parents.sorted(by: { $0.utf8.count > $1.utf8.count })
        where known.contains(parent) {
            rmdir(parent)
        }
    }

    private func removeTree(_ path: String, depth: Int) {
        guard rmdir(path) != 0, errno == EBUSY, depth < 8 else { return }
        for name in HostFiles.names(in: path) where HostFiles.isFolder("\(path)/\(name)") {
            removeTree("\(path)/\(name)", depth: depth + 1)
        }
        rmdir(path)
    }
}
