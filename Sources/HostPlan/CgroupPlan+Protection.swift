import ClusterModel

/// What all sets of a host together may take, so that the host and the agent keep the rest.
package struct SetsWall: Equatable, Sendable {
    /// The hard limit of memory of all sets together: what the host offers.
    package var memoryBytes: Int
    /// The processor time that is offered, in thousandths of a core: the sets' weight against the
    /// rest of the host.
    ///
    /// A weight and not a quota: a quota that runs out stops every set until the next period, the
    /// quiet one with the loud.
    package var millicores: Int

    package init(memoryBytes: Int, millicores: Int) {
        self.memoryBytes = memoryBytes
        self.millicores = millicores
    }

    /// The version 1 weight of all sets together; 1,024 is one core's worth.
    package var shares: Int { limits.shares }

    /// The version 1 weight of the agent: as much as all sets together, which it rarely needs.
    package var agentShares: Int { max(shares, 1_024) }

    /// The version 2 weights, of the sets and of the agent; 100 is the kernel's default.
    package var weight: Int { max(limits.weight, 100) }

    private var limits: CgroupLimits {
        CgroupLimits(
            cpuRequestMillicores: millicores, cpuLimitMillicores: millicores,
            memoryLimitBytes: memoryBytes, pidsMax: 1)
    }
}

extension CgroupPlan {
    /// The agent's own group, beside the one of all sets: `shoal-agent` for `shoal`.
    ///
    /// Not inside it, so that the sets' limit does not hold for the agent, and sets that an earlier
    /// version of the agent started are where they belong already.
    package static func agentGroup(root: String) -> String { "\(root)-agent" }

    /// What version 2 guarantees the agent whatever happens; its own need, monitors included.
    package static let agentMemoryMinBytes = 128 << 20

    /// The weight of the agent's input and output: what decides must be on disk first.
    package static let agentIOWeight = CgroupLimits.ioWeightMax

    /// The steps that limit all sets together by the group that they are in, which exists.
    package static func wallSteps(
        layout: CgroupLayout, root: String, wall: SetsWall
    ) -> (processors: [CgroupStep], memory: [CgroupStep]) {
        func file(_ controller: String, _ name: String) -> String {
            "\(layout.mountPoint(of: controller) ?? "")/\(root)/\(controller).\(name)"
        }
        switch layout.version {
        case .one:
            let change = MemoryChange(
                file: file("memory", "limit_in_bytes"),
                swapFile: file("memory", "memsw.limit_in_bytes"), softFile: nil,
                bytes: within(wall.memoryBytes), swapBytes: MemoryChange.unlimited)
            return (
                kept(file("cpu", "shares"), "\(wall.shares)"),
                [
                    // Kernels before 5.11 can leave the groups inside out of the sum.
                    .expect(
                        file: file("memory", "use_hierarchy"), .words("1"), optional: true),
                    .setMemory(change),
                    .expect(file: change.file, rounded(change.bytes), optional: false),
                ]
            )
        case .two:
            let change = MemoryChange(
                file: file("memory", "max"), swapFile: file("memory", "swap.max"),
                softFile: file("memory", "high"), bytes: within(wall.memoryBytes),
                swapBytes: MemoryChange.unlimited)
            return (
                kept(file("cpu", "weight"), "\(wall.weight)"),
                [
                    .setMemory(change),
                    .expect(file: change.file, rounded(change.bytes), optional: false),
                ] + kept(file("memory", "high"), "max", optional: true)
            )
        }
    }

    /// The hierarchies in which the agent has a group of its own.
    package static func agentMounts(_ layout: CgroupLayout) -> [String] {
        switch layout.version {
        case .two: return [layout.unifiedMount].compactMap { $0 }
        case .one:
            var mounts: [String] = []
            for controller in ["cpu", "cpuacct", "memory", "blkio"] {
                guard let mount = layout.mountPoint(of: controller), !mounts.contains(mount) else {
                    continue
                }
                mounts.append(mount)
            }
            return mounts
        }
    }

    /// The steps that make the agent's group, without any limit yet: on version 2 controllers can
    /// only be handed down past a group that no process is in, so the agent moves first.
    package static func agentFolders(layout: CgroupLayout, root: String) -> [CgroupStep] {
        let group = agentGroup(root: root)
        var folders: [String] = []
        for part in group.split(separator: "/") {
            folders.append((folders.last.map { $0 + "/" } ?? "") + part)
        }
        return agentMounts(layout).flatMap { mount in
            folders.map { .makeDirectory("\(mount)/\($0)") }
        }
    }

    /// The steps that give the agent's group its weights and its memory; it has no limit.
    package static func agentSteps(
        layout: CgroupLayout, root: String, wall: SetsWall
    ) -> [CgroupStep] {
        let group = agentGroup(root: root)
        func file(_ controller: String, _ name: String) -> String {
            "\(layout.mountPoint(of: controller) ?? "")/\(group)/\(name)"
        }
        switch layout.version {
        case .one:
            return kept(file("cpu", "cpu.shares"), "\(wall.agentShares)")
                // What it needs is in memory, and must not wait for a disk that sets keep busy.
                + kept(file("memory", "memory.swappiness"), "0", optional: true)
                + kept(file("blkio", "blkio.bfq.weight"), "\(agentIOWeight)", optional: true)
                + kept(file("blkio", "blkio.weight"), "\(agentIOWeight)", optional: true)
        case .two:
            let weights = ["io.bfq.weight", "io.weight"].flatMap { name in
                kept(
                    CgroupEntry(
                        file: file("io", name), key: "default", value: "\(agentIOWeight)",
                        none: "\(CgroupLimits.ioWeightDefault)"), optional: true)
            }
            return kept(file("cpu", "cpu.weight"), "\(wall.weight)")
                + kept(file("memory", "memory.min"), "\(agentMemoryMinBytes)", optional: true)
                + weights
        }
    }

    /// What a systemd unit that the agent runs in lacks of protection, as a sentence; nil when
    /// nothing.
    ///
    /// The unit's group belongs to systemd, and controllers cannot be handed down inside it without
    /// keeping systemd from starting the unit again, so the agent stays there and only looks.
    package static func unitNotice(
        unit: String, weight: Int?, memoryMin: [Int]
    ) -> String? {
        var missing: [String] = []
        if let weight, weight <= 100 { missing.append("CPUWeight=1000") }
        // A group is guaranteed no more than the groups that it is in.
        if memoryMin.contains(where: { $0 < agentMemoryMinBytes }) {
            missing.append("MemoryMin=\(agentMemoryMinBytes >> 20)M")
            if memoryMin.count > 1 { missing.append("Slice=-.slice") }
        }
        guard !missing.isEmpty else { return nil }
        return "the agent's unit \(unit) is not protected from a busy host: its [Service] section "
            + "lacks \(missing.joined(separator: ", "))"
    }
}
