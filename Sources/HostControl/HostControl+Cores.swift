import ClusterModel
import Glibc
import HostPlan

/// What is known of who runs on which processors.
struct CoreBook {
    /// The containers with cores to themselves, the earliest first, and what they hold.
    var demands: [CoreSetPlan.Demand] = []
    /// The plan that was carried out last, and for which topology.
    var plan: CoreSetPlan?
    var topology: ProcessorTopology?
}

extension HostControl {
    /// The folder of the hierarchy that has processors; nil where the kernel has none.
    private var cpusetMount: String? { capabilities.cgroups.mountPoint(of: "cpuset") }

    /// How many processors the configuration keeps for groups beside us.
    package func reservedProcessorCount() throws(HostControlError) -> Int {
        guard !settings.reservations.isEmpty, let mount = cpusetMount else { return 0 }
        let plan = CoreSetPlan(
            topology: try topology(mount), reservations: settings.reservations, demands: [])
        return plan.reserved.reduce(0) { $0 + $1.processors.count }
    }

    /// Tells of the sets that an earlier start of the agent left running, before any other call: who
    /// has cores to itself keeps those it has.
    ///
    /// Returns a sentence for whatever could not be set.
    package func adoptCores(
        of sets: [(slot: SlotID, containers: [(name: String, limits: CgroupLimits)])]
    ) throws(HostControlError) -> [String] {
        guard let mount = cpusetMount else { return [] }
        cores.demands = []
        for set in sets where isProper(set.slot) {
            for container in set.containers where container.limits.cores == .dedicated {
                let folder = "\(mount)/\(settings.cgroupRoot)/\(set.slot)/\(container.name)"
                let held = KernelFile.line("\(folder)/cpuset.cpus")
                    .flatMap { ProcessorList.numbers($0) }
                cores.demands.append(
                    demand(set.slot, container.name, container.limits, held: held ?? []))
            }
        }
        return try carryOutCores(mount, changed: nil)
    }

    /// Gives a set's containers their processors, and takes those that are dedicated to them from
    /// all others; returns what was written down before, for `restoreCores`.
    ///
    /// The set's groups exist. Throws `notEnoughCores`, and `kernelLacks` where cores cannot be
    /// dedicated at all; then nothing has changed.
    func changeCores(
        of slot: SlotID, containers: [(name: String, limits: CgroupLimits)]
    ) throws(HostControlError) -> (former: [CoreSetPlan.Demand], notices: [String]) {
        let former = cores.demands
        let wanted = containers.filter { $0.limits.cores == .dedicated }
        guard let mount = cpusetMount else {
            guard wanted.isEmpty else {
                throw .kernelLacks(
                    feature: "dedicated cores",
                    cause: "control groups have no `cpuset` controller here")
            }
            return (former, [])
        }
        var changed = former.filter { demand in
            demand.owner.slot != slot || wanted.contains { $0.name == demand.owner.container }
        }
        for container in wanted {
            let new = demand(slot, container.name, container.limits, held: [])
            if let known = changed.firstIndex(where: { $0.owner == new.owner }) {
                changed[known].processors = new.processors
            } else {
                changed.append(new)
            }
        }
        let topology = try topology(mount)
        let plan = CoreSetPlan(
            topology: topology, reservations: settings.reservations, demands: changed)
        if let refused = plan.refused.first(where: { $0.slot == slot }) {
            let count = changed.first { $0.owner == refused }?.processors ?? 0
            throw .notEnoughCores(
                container: "\(slot)/\(refused.container)", wanted: count,
                free: plan.shared.count - (topology.cores.map(\.processors.count).max() ?? 1))
        }
        cores.demands = changed
        do {
            return (former, try carryOutCores(mount, changed: slot))
        } catch {
            cores.demands = former
            _ = try? carryOutCores(mount, changed: nil)
            throw error
        }
    }

    /// Takes a change of cores back.
    func restoreCores(of slot: SlotID, former: [CoreSetPlan.Demand]) throws(HostControlError) {
        guard let mount = cpusetMount else { return }
        let others = cores.demands.filter { $0.owner.slot != slot }
        cores.demands = others + former.filter { $0.owner.slot == slot }
        _ = try carryOutCores(mount, changed: slot)
    }

    /// Gives the cores of a set that is gone back to those that share.
    func releaseCores(of slot: SlotID) throws(HostControlError) {
        guard cores.demands.contains(where: { $0.owner.slot == slot }) else { return }
        try restoreCores(of: slot, former: [])
    }

    private func demand(
        _ slot: SlotID, _ container: String, _ limits: CgroupLimits, held: [Int]
    ) -> CoreSetPlan.Demand {
        // What is no whole number of cores gets the next one; a spec's rules refuse it before.
        let (whole, rest) = max(limits.cpuLimitMillicores, 1).quotientAndRemainder(
            dividingBy: 1_000)
        return CoreSetPlan.Demand(
            owner: CoreSetPlan.Owner(slot: slot, container: container),
            processors: rest == 0 ? whole : whole + 1, held: held)
    }

    private func topology(_ mount: String) throws(HostControlError) -> ProcessorTopology {
        let names = ["cpuset.effective_cpus", "cpuset.cpus.effective", "cpuset.cpus"]
        let allowed = names.lazy.compactMap { KernelFile.line("\(mount)/\($0)") }
            .compactMap { ProcessorList.numbers($0) }.first { !$0.isEmpty }
        return try TopologyReader.read(allowed: allowed)
    }

    // MARK: - Writing

    /// Makes the plan for what is written down and writes it: to all groups when the plan is
    /// another one than the last, else to those of `changed` alone.
    private func carryOutCores(
        _ mount: String, changed slot: SlotID?
    ) throws(HostControlError) -> [String] {
        let topology = try topology(mount)
        let plan = CoreSetPlan(
            topology: topology, reservations: settings.reservations, demands: cores.demands)
        for position in cores.demands.indices {
            let processors = plan.processors(of: cores.demands[position].owner)
            cores.demands[position].held = processors ?? []
        }
        let root = "\(mount)/\(settings.cgroupRoot)"
        guard plan != cores.plan || topology != cores.topology || slot == nil else {
            if let slot {
                try writeProcessors(plan, sets: [slot], made: slot, root: root, mount: mount)
            }
            return []
        }
        // Until all is written the next call must not take it for done.
        (cores.plan, cores.topology) = (nil, nil)
        let sets = KernelFile.names(in: root, foldersOnly: true).compactMap { SlotID($0) }
            .filter { isProper($0) }
        try writeProcessors(plan, sets: sets, made: slot, root: root, mount: mount)
        let notices = reserve(plan, mount: mount)
        (cores.plan, cores.topology) = (plan, topology)
        return notices
    }

    /// Writes the processors of sets and their containers.
    ///
    /// A version 1 group can have no processor that its parent lacks: what grows must grow from the
    /// root, and what shrinks from the containers. So the outer groups are tried first and settled
    /// last. Who shares moves away before others get those processors to themselves.
    private func writeProcessors(
        _ plan: CoreSetPlan, sets: [SlotID], made: SlotID?, root: String, mount: String
    ) throws(HostControlError) {
        let ours = ProcessorList.text(plan.ours)
        // Groups that an earlier version made may be unknown to this controller: they are made
        // again, or not at all, when their set is.
        let folders: [String] = [root] + sets.map { slot in "\(root)/\(slot)" }
        let outer = folders.filter { folder in
            KernelFile.exists("\(folder)/cpuset.cpus") || made.map { "\(root)/\($0)" } == folder
        }
        try fillParents(of: root, mount: mount)
        for folder in outer { try setProcessors(ours, folder, isTrial: true) }
        var dedicated: [(folder: String, processors: [Int])] = []
        for slot in sets {
            let names = KernelFile.names(in: "\(root)/\(slot)", foldersOnly: true)
            for name in names {
                let owner = CoreSetPlan.Owner(slot: slot, container: name)
                let folder = "\(root)/\(slot)/\(name)"
                guard slot == made || KernelFile.exists("\(folder)/cpuset.cpus") else { continue }
                if let processors = plan.processors(of: owner) {
                    dedicated.append((folder, processors))
                } else {
                    try setProcessors(ProcessorList.text(plan.shared), folder)
                }
            }
        }
        for (folder, processors) in dedicated {
            try setProcessors(ProcessorList.text(processors), folder)
        }
        for folder in outer.reversed() { try setProcessors(ours, folder) }
    }

    /// On version 1 a new group has no processors and no memory, and no group in it can have any.
    private func fillParents(of root: String, mount: String) throws(HostControlError) {
        guard capabilities.cgroups.version == .one else { return }
        var parts = root.dropFirst(mount.count).split(separator: "/").dropLast()[...]
        var folders: [String] = []
        while !parts.isEmpty {
            folders.append("\(mount)/\(parts.joined(separator: "/"))")
            parts.removeLast()
        }
        let whole = KernelFile.line("\(mount)/cpuset.cpus") ?? ""
        for folder in folders.reversed()
        where KernelFile.line("\(folder)/cpuset.cpus")?.isEmpty == true {
            try setProcessors(whole, folder)
        }
    }

    /// Writes a group's processors and reads them back; a trial may be refused by the kernel.
    private func setProcessors(
        _ list: String, _ folder: String, isTrial: Bool = false
    ) throws(HostControlError) {
        let file = "\(folder)/cpuset.cpus"
        let wanted = ProcessorList.numbers(list) ?? []
        if capabilities.cgroups.version == .one,
            KernelFile.line("\(folder)/cpuset.mems")?.isEmpty == true
        {
            let parent = folder.prefix(upTo: folder.lastIndex(of: "/") ?? folder.endIndex)
            try KernelFile.write(
                KernelFile.line("\(parent)/cpuset.mems") ?? "0", to: "\(folder)/cpuset.mems")
        }
        guard KernelFile.line(file).flatMap({ ProcessorList.numbers($0) }) != wanted else { return }
        do {
            try KernelFile.write(list.isEmpty ? "\n" : list, to: file)
        } catch {
            guard isTrial, case .file(_, _, let code) = error,
                [EBUSY, EACCES, EINVAL].contains(code)
            else { throw error }
            return
        }
        let got = KernelFile.line(file) ?? ""
        guard ProcessorList.numbers(got) == wanted else {
            throw .limitNotTaken(file: file, wanted: list, got: got)
        }
    }

    /// Gives the groups beside us their cores, as far as they are there; says what did not work.
    private func reserve(_ plan: CoreSetPlan, mount: String) -> [String] {
        var notices = plan.unreserved.map {
            "reserved-cores: the machine has too few cores for \($0); it has none to itself"
        }
        for (group, processors) in plan.reserved {
            let folder = "\(mount)/\(group)"
            // Made by whoever runs machines there, and given its cores the next time we look.
            guard KernelFile.exists(folder) else { continue }
            do {
                try setProcessors(ProcessorList.text(processors), folder)
            } catch {
                notices.append(
                    "reserved-cores: \(group) does not keep to the processors "
                        + "\(ProcessorList.text(processors)): \(error)")
            }
        }
        return notices
    }
}
