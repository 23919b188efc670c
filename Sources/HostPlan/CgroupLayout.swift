/// Where this machine's control groups are, and of which version.
///
/// Read from `/proc/self/mountinfo` (proc(5)) and never assumed: distributions, containers and old
/// init systems put the hierarchies at different places. Where version 1 has the controllers and a
/// version 2 hierarchy without them is mounted beside it (*hybrid*), the layout counts as version 1
/// and says where that mount is, since some runtimes refuse to see it.
package struct CgroupLayout: Equatable, Sendable {
    /// The kernel interface: Documentation/admin-guide/cgroup-v1 or cgroup-v2.rst.
    package enum Version: Int, Sendable {
        /// One hierarchy per controller.
        case one = 1
        /// One hierarchy for all.
        case two = 2
    }

    /// One mounted version 1 hierarchy.
    package struct Hierarchy: Equatable, Sendable {
        /// Its controllers, sorted; a named hierarchy has one entry such as `name=systemd`.
        package let controllers: [String]
        /// Where it is mounted.
        package let mountPoint: String
    }

    /// The version that has the controllers.
    package let version: Version
    /// The version 1 hierarchies, in the order of their mount points; empty for version 2.
    package let hierarchies: [Hierarchy]
    /// The version 2 mount: where the controllers are (version 2) or the hybrid mount (version 1).
    package let unifiedMount: String?
    /// The controllers that version 2 offers; empty for version 1.
    package let offered: [String]

    /// What every set needs limited.
    package static let neededControllers = ["cpu", "memory", "pids"]

    /// The most bytes of mountinfo that are looked at; a machine with 10,000 mounts has about 2 MiB.
    package static let mountInfoBytesMax = 8 << 20

    /// Where the version 2 hierarchy is mounted; nil when it is not.
    package static func unifiedMount(mountInfo: String) -> String? {
        mounts(in: mountInfo).first { $0.type == "cgroup2" }?.point
    }

    /// Finds the layout.
    ///
    /// `v2Controllers` is the text of `cgroup.controllers` in `unifiedMount(mountInfo:)`, nil when
    /// there is none. Version 1 wins when it has all that is needed: a controller is never in both.
    package static func detect(
        mountInfo: String, v2Controllers: String?
    ) throws(CgroupLayoutError) -> CgroupLayout {
        guard mountInfo.utf8.count <= mountInfoBytesMax else {
            throw .mountInfoTooLong(bytes: mountInfo.utf8.count)
        }
        let mounts = mounts(in: mountInfo)
        let unified = mounts.first { $0.type == "cgroup2" }?.point
        var hierarchies: [Hierarchy] = []
        for mount in mounts where mount.type == "cgroup" {
            let controllers = mount.options.filter { known.contains($0) || $0.hasPrefix("name=") }
                .sorted()
            guard !controllers.isEmpty,
                !hierarchies.contains(where: { $0.controllers == controllers })
            else { continue }
            hierarchies.append(Hierarchy(controllers: controllers, mountPoint: mount.point))
        }
        hierarchies.sort { Array($0.mountPoint.utf8).lexicographicallyPrecedes($1.mountPoint.utf8) }

        let legacy = hierarchies.flatMap(\.controllers)
        let missingInLegacy = neededControllers.filter { !legacy.contains($0) }
        if missingInLegacy.isEmpty {
            return CgroupLayout(
                version: .one, hierarchies: hierarchies, unifiedMount: unified, offered: [])
        }
        let offered =
            v2Controllers.map { $0.split(whereSeparator: \.isWhitespace).map(String.init) } ?? []
        let missing = neededControllers.filter { !offered.contains($0) }
        if let unified, missing.isEmpty {
            return CgroupLayout(
                version: .two, hierarchies: [], unifiedMount: unified, offered: offered)
        }
        guard unified != nil || !hierarchies.isEmpty else { throw .notMounted }
        throw .controllersMissing(missing.filter { !legacy.contains($0) })
    }

    /// The mount point of a controller; nil when the machine does not have it.
    package func mountPoint(of controller: String) -> String? {
        switch version {
        case .one: hierarchies.first { $0.controllers.contains(controller) }?.mountPoint
        case .two: offered.contains(controller) ? unifiedMount : nil
        }
    }

    /// The name of the controller of input and output.
    package var ioController: String { version == .one ? "blkio" : "io" }

    /// The controllers whose files we use, as far as the machine has them.
    package var usedControllers: [String] {
        (CgroupLayout.neededControllers + [ioController, "cpuset"])
            .filter { mountPoint(of: $0) != nil }
    }

    /// The version 2 mount beside version 1 controllers; nil on every other machine.
    package var hybridMount: String? { version == .one ? unifiedMount : nil }

    /// Every place where a group's folder may exist, each once, sorted.
    ///
    /// Runtimes make a folder in every hierarchy, those without limits too.
    package var allMountPoints: [String] {
        var points: [String] = []
        for point in hierarchies.map(\.mountPoint) + [unifiedMount].compactMap({ $0 })
        where !points.contains(point) {
            points.append(point)
        }
        return points
    }

    /// The version 1 controllers of kernels 3.10 to 6.18.
    private static let known = [
        "blkio", "cpu", "cpuacct", "cpuset", "debug", "devices", "freezer", "hugetlb", "memory",
        "misc", "net_cls", "net_prio", "perf_event", "pids", "rdma",
    ]

    /// One line of mountinfo that is a control group.
    private struct Mount {
        var point: String
        var type: String
        var options: [String]
    }

    /// The control group mounts; those of a whole hierarchy (root `/`) come first.
    private static func mounts(in text: String) -> [Mount] {
        var whole: [Mount] = []
        var parts: [Mount] = []
        for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
            // 36 35 98:0 /root /point options optional... - type source superoptions
            let fields = line.split(separator: UInt8(ascii: " ")).map { Substring($0) }
            guard fields.count >= 10, let dash = fields[6...].firstIndex(of: "-"),
                dash + 3 < fields.count, fields[dash + 1].hasPrefix("cgroup")
            else { continue }
            let options = fields[dash + 3].split(separator: ",").map(String.init)
            guard let point = unescaped(fields[4]), point.hasPrefix("/") else { continue }
            let mount = Mount(point: point, type: String(fields[dash + 1]), options: options)
            if fields[3] == "/" { whole.append(mount) } else { parts.append(mount) }
        }
        return whole + parts
    }

    /// The text with the kernel's octal escapes (`\040` for a space) undone; nil when they are broken.
    private static func unescaped(_ text: Substring) -> String? {
        guard text.utf8.contains(UInt8(ascii: "\\")) else { return String(text) }
        var result: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\") else {
                result.append(byte)
                continue
            }
            guard rest.count >= 3, let value = UInt8(Substring(rest.prefix(3)), radix: 8) else {
                return nil
            }
            result.append(value)
            rest = rest.dropFirst(3)
        }
        return String(decoding: result, as: UTF8.self)
    }
}

/// Why a machine's control groups cannot be used.
package enum CgroupLayoutError: Error, Equatable, CustomStringConvertible {
    /// No hierarchy is mounted at all.
    case notMounted
    /// These controllers are in no hierarchy.
    case controllersMissing([String])
    /// The table of mounts is larger than is looked at.
    case mountInfoTooLong(bytes: Int)

    package var description: String {
        switch self {
        case .notMounted:
            "no control groups are mounted; mount version 2 with "
                + "`mount -t cgroup2 none /sys/fs/cgroup` and start the agent again"
        case .controllersMissing(let names):
            "the kernel offers no control group controller \(names.joined(separator: ", ")), "
                + "so limits could not be kept; enable it (cgroup_enable=memory on the kernel's "
                + "command line for memory) and start again"
        case .mountInfoTooLong(let bytes):
            "/proc/self/mountinfo has \(bytes) bytes, more than the "
                + "\(CgroupLayout.mountInfoBytesMax) that are read; remove stale mounts"
        }
    }
}
