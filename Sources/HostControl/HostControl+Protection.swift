import Glibc
import HostPlan

/// Keeps the host and the agent alive beside the sets: one group around all sets, and one of the
/// agent's own beside it.
extension HostControl {
    /// How unlikely the kernel's out-of-memory killer takes the agent: -1,000 is never.
    package static let agentOutOfMemoryScore = -900

    /// Moves a process, the agent's own, into the agent's group, before anything else is started:
    /// what it starts, the containers' monitors among it, is born there.
    ///
    /// Monitors stay with the agent: 2 MiB each and idle, they must live as long as it does, and
    /// have no limit there. Returns a sentence for whatever protection is missing; running without
    /// it is better than not running.
    package func protectAgent(process: Int32 = getpid(), wall: SetsWall) -> [String] {
        var notices: [String] = []
        let layout = capabilities.cgroups
        if layout.version == .two, let unit = HostControl.unit(of: process) {
            notices += [unitNotice(unit)].compactMap { $0 }
        } else {
            do {
                try moveAgent(process, wall: wall)
            } catch {
                notices.append(
                    "the agent has no control group of its own, so busy sets can slow it down: \(error)"
                )
            }
        }
        let file = "/proc/\(process)/oom_score_adj"
        let score = KernelFile.line(file).flatMap { Int($0) } ?? 0
        if score > HostControl.agentOutOfMemoryScore {
            do {
                try KernelFile.write("\(HostControl.agentOutOfMemoryScore)", to: file)
            } catch {
                notices.append(
                    "the agent may be killed when the whole host runs out of memory: it needs "
                        + "CAP_SYS_RESOURCE, or OOMScoreAdjust=-900 in its unit, to avoid that")
            }
        }
        return notices
    }

    /// Limits all sets together; sets that run are inside at once.
    ///
    /// Returns a sentence when memory in use keeps the limit from being lowered: nothing is killed
    /// for that, and another call tries again. Throws when the kernel does not take the wall.
    package func setWall(_ wall: SetsWall) async throws -> [String] {
        let layout = capabilities.cgroups
        let root = settings.cgroupRoot
        for step in CgroupPlan.rootSteps(layout: layout, root: root) { try apply(step) }
        if layout.version == .one, let mount = layout.mountPoint(of: "memory") {
            let file = "\(mount)/\(root)/memory.use_hierarchy"
            if KernelFile.line(file) == "0" { try KernelFile.write("1", to: file) }
        }
        let steps = CgroupPlan.wallSteps(layout: layout, root: root, wall: wall)
        do {
            try await changeLimits(steps.processors)
            try await changeLimits(steps.memory)
        } catch HostControlError.memoryInUse(_, let wanted, let used) {
            return [
                "the sets together use \(used) bytes of memory, more than the \(wanted) that this "
                    + "host offers: the former limit stays until they use less"
            ]
        }
        return []
    }

    /// Makes the agent's group, moves the process there and gives the group its weights.
    private func moveAgent(_ process: Int32, wall: SetsWall) throws(HostControlError) {
        let layout = capabilities.cgroups
        let root = settings.cgroupRoot
        let group = CgroupPlan.agentGroup(root: root)
        for step in CgroupPlan.agentFolders(layout: layout, root: root) { try apply(step) }
        for mount in CgroupPlan.agentMounts(layout) {
            try fillProcessors("\(mount)/\(group)")
            try KernelFile.write("\(process)", to: "\(mount)/\(group)/cgroup.procs")
        }
        // Hands controllers down to the agent's group as well, which is beside the sets'.
        for step in CgroupPlan.rootSteps(layout: layout, root: root) { try apply(step) }
        for step in CgroupPlan.agentSteps(layout: layout, root: root, wall: wall) {
            try apply(step)
        }
    }

    /// Where `cpuset` shares a version 1 hierarchy, a group without processors takes no process.
    private func fillProcessors(_ folder: String) throws(HostControlError) {
        for name in ["cpuset.cpus", "cpuset.mems"] {
            var parts = folder.split(separator: "/")
            var empty: [String] = []
            // The nearest group above that has some has what this one may have.
            while parts.count > 1 {
                let file = "/\(parts.joined(separator: "/"))/\(name)"
                guard let text = KernelFile.line(file) else { break }
                guard text.isEmpty else {
                    for file in empty.reversed() { try KernelFile.write(text, to: file) }
                    break
                }
                empty.append(file)
                parts.removeLast()
            }
            if capabilities.cgroups.version == .two { break }
        }
    }

    /// The systemd unit that a process belongs to on version 2; nil when to none, or to a login.
    private static func unit(of process: Int32) -> String? {
        let lines = (KernelFile.line("/proc/\(process)/cgroup") ?? "").split(separator: "\n")
        guard let path = lines.first(where: { $0.hasPrefix("0::/") })?.dropFirst(3),
            path.split(separator: "/").contains(where: { $0.hasSuffix(".service") })
        else { return nil }
        return String(path)
    }

    /// What the unit's groups say of its protection.
    private func unitNotice(_ unit: String) -> String? {
        guard let mount = capabilities.cgroups.unifiedMount else { return nil }
        var minima: [Int] = []
        var path = ""
        for part in unit.split(separator: "/") {
            path += "/\(part)"
            let text = KernelFile.line("\(mount)\(path)/memory.min")
            minima.append(text == "max" ? Int.max : text.flatMap { Int($0) } ?? 0)
        }
        return CgroupPlan.unitNotice(
            unit: unit, weight: KernelFile.line("\(mount)\(unit)/cpu.weight").flatMap { Int($0) },
            memoryMin: minima)
    }
}
