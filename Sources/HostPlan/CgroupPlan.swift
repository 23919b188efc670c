import ClusterModel

/// The steps that give a set and its containers their limits.
///
/// One group per set below the root, one per container below that; the set's limits are the sums of
/// its containers'. Sources: Documentation/admin-guide/cgroup-v1 (memory.rst, blkio-controller.rst),
/// cgroup-v2.rst and Documentation/scheduler/sched-bwc.rst in the kernel's tree.
package enum CgroupPlan {
    /// A container's group: its name below the set's, and its limits.
    package typealias Container = (name: String, limits: CgroupLimits)

    /// The most bytes a page has on the machines we know: the rounding that is tolerated.
    private static let pageBytesMax = 65_536

    /// All steps for a set, in order: `root` is such as `shoal`, `set` such as `web.3`.
    ///
    /// `devices` are the disks that hold the containers' files. Memory comes first, since only that
    /// may be refused. On version 1 the set's quota is lifted before the containers' are written and
    /// put in place last: the kernel refuses a quota above the parent's as well as one below a
    /// child's.
    package static func steps(
        layout: CgroupLayout, root: String, set: String, containers: [Container],
        devices: [BlockDevice] = []
    ) -> [CgroupStep] {
        let path = "\(root)/\(set)"
        let whole = CgroupLimits.sum(of: containers.map(\.limits))
        let groups = containers.map { ("\(path)/\($0.name)", $0.limits) } + [(path, whole)]
        var steps = folders(layout: layout, path: path, names: containers.map(\.name))
        for (path, limits) in groups {
            steps += memory(layout: layout, path: path, limits: limits)
        }
        switch layout.version {
        case .one:
            let folder = "\(layout.mountPoint(of: "cpu") ?? "")/\(path)"
            steps += [
                .write(file: "\(folder)/cpu.cfs_burst_us", value: "0", optional: true),
                .write(file: "\(folder)/cpu.cfs_quota_us", value: "-1", optional: false),
            ]
        case .two:
            // All of a container dies at once, so that it never limps on without a part.
            for (path, _) in groups.dropLast() {
                steps += kept(
                    "\(layout.unifiedMount ?? "")/\(path)/memory.oom.group", "1", optional: true)
            }
        }
        for (path, limits) in groups {
            steps += processor(layout: layout, path: path, limits: limits)
        }
        for (path, limits) in groups {
            steps += inputAndOutput(
                layout: layout, path: path, limits: limits,
                devices: path == groups.last?.0 ? [] : devices)
        }
        for (path, limits) in groups.dropLast() {
            steps += notices(layout: layout, path: path, limits: limits)
        }
        return steps
    }

    /// What to say where the kernel lacks what a container asks for and no wall is missing for that.
    private static func notices(
        layout: CgroupLayout, path: String, limits: CgroupLimits
    ) -> [CgroupStep] {
        func files(_ controller: String, _ names: [String]) -> [String] {
            layout.mountPoint(of: controller).map { mount in
                names.map { "\(mount)/\(path)/\($0)" }
            } ?? []
        }
        let isFirst = layout.version == .one
        var steps: [CgroupStep] = []
        if limits.burstMicroseconds > 0 {
            steps.append(
                .inform(
                    unlessAny: files("cpu", [isFirst ? "cpu.cfs_burst_us" : "cpu.max.burst"]),
                    sentence: "this kernel cannot save up CPU time for a burst (Linux 5.14 can); "
                        + "the limit holds without it"))
        }
        if limits.memorySoftBytes != nil {
            steps.append(
                .inform(
                    unlessAny: files(
                        "memory", [isFirst ? "memory.soft_limit_in_bytes" : "memory.high"]),
                    sentence: "this kernel has no soft limit of memory; the hard limit holds alone"
                ))
        }
        if limits.memorySwapBytes > 0 {
            steps.append(
                .inform(
                    unlessAny: files(
                        "memory", [isFirst ? "memory.memsw.limit_in_bytes" : "memory.swap.max"]),
                    sentence: "this kernel does not count swap, so the limit of swap does not hold "
                        + "(it does when booted with swapaccount=1)"))
        }
        if limits.io.weight != nil {
            steps.append(
                .inform(
                    unlessAny: files(
                        layout.ioController,
                        isFirst
                            ? ["blkio.bfq.weight", "blkio.weight"]
                            : ["io.bfq.weight", "io.weight"]),
                    sentence: "this kernel has no weight of input and output (BFQ or iocost): all "
                        + "groups weigh the same"))
        }
        return steps
    }

    /// The steps that make the root group, below which all sets' groups are.
    package static func rootSteps(layout: CgroupLayout, root: String) -> [CgroupStep] {
        folders(layout: layout, path: root, names: [])
    }

    /// The folders, and on version 2 the controllers handed down along the path.
    private static func folders(
        layout: CgroupLayout, path: String, names: [String]
    ) -> [CgroupStep] {
        var folders: [String] = []
        for part in path.split(separator: "/") {
            folders.append((folders.last.map { $0 + "/" } ?? "") + part)
        }
        let leaves = names.map { "\(path)/\($0)" }
        var steps: [CgroupStep] = []
        switch layout.version {
        case .one:
            for mount in usedMounts(layout) {
                steps += (folders + leaves).map { .makeDirectory("\(mount)/\($0)") }
            }
        case .two:
            let mount = layout.unifiedMount ?? ""
            let controllers = layout.usedControllers.map { "+\($0)" }.joined(separator: " ")
            for parent in [""] + folders {
                let folder = parent.isEmpty ? mount : "\(mount)/\(parent)"
                if !parent.isEmpty { steps.append(.makeDirectory(folder)) }
                steps.append(
                    .handDown(
                        file: "\(folder)/cgroup.subtree_control", controllers: controllers))
            }
            steps += leaves.map { .makeDirectory("\(mount)/\($0)") }
        }
        return steps
    }

    /// The version 1 mounts that hold limits or figures we read, each once.
    private static func usedMounts(_ layout: CgroupLayout) -> [String] {
        var mounts: [String] = []
        for controller in ["cpu", "cpuacct", "memory", "pids", "blkio", "cpuset"] {
            guard let mount = layout.mountPoint(of: controller), !mounts.contains(mount) else {
                continue
            }
            mounts.append(mount)
        }
        return mounts
    }

    /// Memory and the number of processes.
    private static func memory(
        layout: CgroupLayout, path: String, limits: CgroupLimits
    ) -> [CgroupStep] {
        func file(_ controller: String, _ name: String) -> String {
            "\(layout.mountPoint(of: controller) ?? "")/\(path)/\(controller).\(name)"
        }
        let isFirst = layout.version == .one
        let change = MemoryChange(
            file: file("memory", isFirst ? "limit_in_bytes" : "max"),
            swapFile: file("memory", isFirst ? "memsw.limit_in_bytes" : "swap.max"),
            softFile: isFirst ? nil : file("memory", "high"),
            bytes: within(limits.memoryLimitBytes), swapBytes: max(limits.memorySwapBytes, 0))
        let swap = isFirst ? change.totalBytes : min(change.swapBytes, MemoryChange.unlimited)
        var steps: [CgroupStep] = [
            .setMemory(change),
            .expect(file: change.file, rounded(change.bytes), optional: false),
            .expect(file: change.swapFile, rounded(swap), optional: true),
        ]
        let soft = limits.memorySoftBytes.map { within($0) } ?? MemoryChange.unlimited
        let softFile = change.softFile ?? file("memory", "soft_limit_in_bytes")
        steps += [
            .write(file: softFile, value: change.text(soft), optional: true),
            .expect(
                file: softFile,
                isFirst || limits.memorySoftBytes != nil ? rounded(soft) : .words("max"),
                optional: true),
        ]
        return steps + kept(file("pids", "max"), "\(min(max(limits.pidsMax, 1), pidsMax))")
    }

    /// Weight, quota and burst of the processors.
    ///
    /// The kernel refuses a quota below the burst, so the burst is taken away before the quota.
    private static func processor(
        layout: CgroupLayout, path: String, limits: CgroupLimits
    ) -> [CgroupStep] {
        let folder = "\(layout.mountPoint(of: "cpu") ?? "")/\(path)"
        let period = CgroupLimits.periodMicroseconds
        let isFirst = layout.version == .one
        let burst = "\(folder)/\(isFirst ? "cpu.cfs_burst_us" : "cpu.max.burst")"
        let quota =
            isFirst
            ? kept("\(folder)/cpu.cfs_period_us", "\(period)")
                + kept("\(folder)/cpu.cfs_quota_us", "\(limits.quotaMicroseconds)")
            : kept("\(folder)/cpu.max", "\(limits.quotaMicroseconds) \(period)")
        return
            (isFirst
            ? kept("\(folder)/cpu.shares", "\(limits.shares)")
            : kept("\(folder)/cpu.weight", "\(limits.weight)"))
            + [.write(file: burst, value: "0", optional: true)] + quota
            + kept(burst, "\(limits.burstMicroseconds)", optional: true)
    }

    /// Weight and caps of input and output.
    private static func inputAndOutput(
        layout: CgroupLayout, path: String, limits: CgroupLimits, devices: [BlockDevice]
    ) -> [CgroupStep] {
        let isFirst = layout.version == .one
        guard let mount = layout.mountPoint(of: layout.ioController) else { return [] }
        let folder = "\(mount)/\(path)"
        var steps: [CgroupStep] = []
        if isFirst {
            for name in ["blkio.bfq.weight", "blkio.weight"] {
                // The CFQ scheduler of old kernels begins at 10.
                let weight = name == "blkio.weight" ? max(limits.ioWeight, 10) : limits.ioWeight
                steps += kept("\(folder)/\(name)", "\(weight)", optional: true)
            }
        } else {
            for name in ["io.bfq.weight", "io.weight"] {
                steps += kept(
                    CgroupEntry(
                        file: "\(folder)/\(name)", key: "default", value: "\(limits.ioWeight)",
                        none: "\(CgroupLimits.ioWeightDefault)"), optional: true)
            }
        }
        for device in devices {
            for entry in caps(limits.io, isFirst: isFirst, folder: folder, device: device) {
                steps += kept(entry, optional: !limits.io.hasCaps)
            }
        }
        return steps
    }

    /// The entries of one device; a rate that is not limited takes an earlier limit away.
    private static func caps(
        _ io: IOSpec, isFirst: Bool, folder: String, device: BlockDevice
    ) -> [CgroupEntry] {
        let rates = [
            ("read_bps", "rbps", io.readBytesPerSecond),
            ("write_bps", "wbps", io.writeBytesPerSecond),
            ("read_iops", "riops", io.readOperationsPerSecond),
            ("write_iops", "wiops", io.writeOperationsPerSecond),
        ]
        guard !isFirst else {
            return rates.map { name, _, rate in
                CgroupEntry(
                    file: "\(folder)/blkio.throttle.\(name)_device", key: "\(device)",
                    value: "\(rate.map { max($0, 1) } ?? 0)", none: "0")
            }
        }
        let value = rates.map { "\($0.1)=\($0.2.map { "\(max($0, 1))" } ?? "max")" }
        return [
            CgroupEntry(
                file: "\(folder)/io.max", key: "\(device)", value: value.joined(separator: " "),
                none: rates.map { "\($0.1)=max" }.joined(separator: " "))
        ]
    }

    /// A value that the kernel keeps as it is, and the check that it did.
    static func kept(
        _ file: String, _ value: String, optional: Bool = false
    ) -> [CgroupStep] {
        [
            .write(file: file, value: value, optional: optional),
            .expect(file: file, .words(value), optional: optional),
        ]
    }

    static func kept(_ entry: CgroupEntry, optional: Bool) -> [CgroupStep] {
        [
            .writeEntry(entry, optional: optional),
            .expect(file: entry.file, .entry(entry), optional: optional),
        ]
    }

    /// What the kernel makes of a number of bytes: whole pages, or as good as no limit.
    static func rounded(_ bytes: Int) -> CgroupStep.Expectation {
        bytes >= MemoryChange.unlimited
            ? .number(MemoryChange.unlimited...Int.max)
            : .number(max(0, bytes - pageBytesMax + 1)...bytes)
    }

    /// The limit within what every kernel takes: one page at least, and less than "no limit".
    static func within(_ bytes: Int) -> Int {
        min(max(bytes, pageBytesMax), MemoryChange.unlimited)
    }

    /// The kernel's PID_MAX_LIMIT.
    private static let pidsMax = 4 << 20
}

/// A whole disk, by the numbers the kernel knows it by.
package struct BlockDevice: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The driver's number.
    package var major: Int
    /// The disk's number.
    package var minor: Int

    package init(major: Int, minor: Int) {
        self.major = major
        self.minor = minor
    }

    /// From the number that stat(2) gives, as the C library packs it (makedev(3)).
    package init(number: UInt64) {
        self.init(
            major: Int((number >> 8) & 0xfff | (number >> 32) & ~0xfff & 0xffff_ffff),
            minor: Int(number & 0xff | (number >> 12) & ~0xff & 0xffff_ffff))
    }

    /// As the kernel writes it: `8:0`.
    package var description: String { "\(major):\(minor)" }

    package static func < (left: BlockDevice, right: BlockDevice) -> Bool {
        (left.major, left.minor) < (right.major, right.minor)
    }
}
