/// One step of making or changing control groups; doing a step again changes nothing.
package enum CgroupStep: Equatable, Sendable {
    /// Make this folder; it is fine when it exists.
    case makeDirectory(String)
    /// Write the text to the file. An optional file may be absent, and the step is then left out.
    case write(file: String, value: String, optional: Bool)
    /// Set the memory limit, never by killing: what is in use above it is reclaimed first, and when
    /// that fails the step is refused and nothing changes.
    ///
    /// Version 1 refuses by itself (EBUSY), but `swapFile`, memory with swap, may never be below
    /// memory: it is written first when the limit rises and last when it falls, and it is absent
    /// without swap accounting. On version 2 `swapFile` is nil; writing less than is in use would
    /// kill there, so reclaim first and compare.
    case setMemory(file: String, swapFile: String?, bytes: Int)
    /// Read the file back and compare: a limit that the kernel did not take is no limit.
    case expect(file: String, Expectation, optional: Bool)

    /// What a limit's file must say.
    package enum Expectation: Equatable, Sendable, CustomStringConvertible {
        /// Exactly these words, whatever space is between them.
        case words(String)
        /// A number in this range: the kernel rounds memory down to whole pages (4 to 64 KiB).
        case number(ClosedRange<Int>)

        /// True when the file's text is as expected.
        package func matches(_ text: String) -> Bool {
            let found = text.prefix(256).split(whereSeparator: \.isWhitespace)
            switch self {
            case .words(let words): return found == words.split(separator: " ")
            case .number(let range):
                guard found.count == 1, let value = Int(found[0]) else { return false }
                return range.contains(value)
            }
        }

        package var description: String {
            switch self {
            case .words(let words): words
            case .number(let range): "\(range.upperBound)"
            }
        }
    }
}

/// The steps that give a set and its containers their limits.
///
/// One group per set below the root, one per container below that; the set's limits are the sums of
/// its containers'. Sources: Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst and
/// Documentation/scheduler/sched-bwc.rst in the kernel's tree.
package enum CgroupPlan {
    /// A container's group: its name below the set's, and its limits.
    package typealias Container = (name: String, limits: CgroupLimits)

    /// The most bytes a page has on the machines we know: the rounding that is tolerated.
    private static let pageBytesMax = 65_536

    /// All steps for a set, in order: `root` is such as `shoal`, `set` such as `web.3`.
    ///
    /// Memory comes first, since only that may be refused. On version 1 the set's quota is lifted
    /// before the containers' are written and put in place last: the kernel refuses a quota above
    /// the parent's as well as one below a child's.
    package static func steps(
        layout: CgroupLayout, root: String, set: String, containers: [Container]
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
            let file = "\(layout.mountPoint(of: "cpu") ?? "")/\(path)/cpu.cfs_quota_us"
            steps.append(.write(file: file, value: "-1", optional: false))
        case .two:
            // All of a container dies at once, so that it never limps on without a part.
            for (path, _) in groups.dropLast() {
                let file = "\(layout.unifiedMount ?? "")/\(path)/memory.oom.group"
                steps.append(.write(file: file, value: "1", optional: true))
            }
        }
        for (path, limits) in groups {
            steps += processor(layout: layout, path: path, limits: limits)
        }
        return steps
    }

    /// The steps that write one group's limits and read them back; the group exists already.
    package static func steps(
        layout: CgroupLayout, path: String, limits: CgroupLimits
    ) -> [CgroupStep] {
        memory(layout: layout, path: path, limits: limits)
            + processor(layout: layout, path: path, limits: limits)
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
            for mount in neededMounts(layout) {
                steps += (folders + leaves).map { .makeDirectory("\(mount)/\($0)") }
            }
        case .two:
            let mount = layout.unifiedMount ?? ""
            for parent in [""] + folders {
                let folder = parent.isEmpty ? mount : "\(mount)/\(parent)"
                if !parent.isEmpty { steps.append(.makeDirectory(folder)) }
                steps.append(
                    .write(
                        file: "\(folder)/cgroup.subtree_control", value: "+cpu +memory +pids",
                        optional: false))
            }
            steps += leaves.map { .makeDirectory("\(mount)/\($0)") }
        }
        return steps
    }

    /// The version 1 mounts that hold limits or figures we read, each once.
    private static func neededMounts(_ layout: CgroupLayout) -> [String] {
        var mounts: [String] = []
        for controller in ["cpu", "cpuacct", "memory", "pids"] {
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
        let bytes = memoryBytes(limits)
        let rounded = CgroupStep.Expectation.number(max(0, bytes - pageBytesMax + 1)...bytes)
        let processes = kept(file("pids", "max"), "\(min(max(limits.pidsMax, 1), pidsMax))")
        switch layout.version {
        case .one:
            let limit = file("memory", "limit_in_bytes")
            let swap = file("memory", "memsw.limit_in_bytes")
            return [
                .setMemory(file: limit, swapFile: swap, bytes: bytes),
                .expect(file: limit, rounded, optional: false),
                .expect(file: swap, rounded, optional: true),
            ] + processes
        case .two:
            let limit = file("memory", "max")
            // No swap: a limit that can be escaped to disk is none. Absent on kernels without.
            let swap = file("memory", "swap.max")
            return [
                .write(file: swap, value: "0", optional: true),
                .setMemory(file: limit, swapFile: nil, bytes: bytes),
                .expect(file: limit, rounded, optional: false),
                .expect(file: swap, .words("0"), optional: true),
            ] + processes
        }
    }

    /// Weight and quota of the processors.
    private static func processor(
        layout: CgroupLayout, path: String, limits: CgroupLimits
    ) -> [CgroupStep] {
        let folder = "\(layout.mountPoint(of: "cpu") ?? "")/\(path)"
        let period = CgroupLimits.periodMicroseconds
        switch layout.version {
        case .one:
            return kept("\(folder)/cpu.shares", "\(limits.shares)")
                + kept("\(folder)/cpu.cfs_period_us", "\(period)")
                + kept("\(folder)/cpu.cfs_quota_us", "\(limits.quotaMicroseconds)")
        case .two:
            return kept("\(folder)/cpu.weight", "\(limits.weight)")
                + kept("\(folder)/cpu.max", "\(limits.quotaMicroseconds) \(period)")
        }
    }

    /// A value that the kernel keeps as it is, and the check that it did.
    private static func kept(_ file: String, _ value: String) -> [CgroupStep] {
        [
            .write(file: file, value: value, optional: false),
            .expect(file: file, .words(value), optional: false),
        ]
    }

    /// The limit within what every kernel takes: one page at least, and less than "no limit".
    private static func memoryBytes(_ limits: CgroupLimits) -> Int {
        min(max(limits.memoryLimitBytes, pageBytesMax), 1 << 60)
    }

    /// The kernel's PID_MAX_LIMIT.
    private static let pidsMax = 4 << 20
}
