import ClusterModel
import Glibc
import HostPlan

extension HostControl {
    /// How long killed processes may take to go away.
    private static let removalPatience = Duration.seconds(10)

    /// Makes the groups of a set and its containers, writes their limits and reads them back.
    ///
    /// Also changes the limits of a set that runs. Throws `limitNotTaken` with file, wanted and got
    /// when the kernel keeps another value, and `memoryInUse` when memory cannot shrink without
    /// killing; then memory limits not yet reached keep their old values.
    package func ensureSetCgroup(
        slot: SlotID, containers: [(name: String, limits: CgroupLimits)]
    ) async throws {
        try checkName(slot)
        for container in containers { try checkName(slot, container: container.name) }
        removeStaleGroups(slot: slot, wanted: containers.map(\.name))
        let steps = CgroupPlan.steps(
            layout: capabilities.cgroups, root: settings.cgroupRoot, set: "\(slot)",
            containers: containers)
        for step in steps { try await applyPatiently(step) }
    }

    /// Carries one step out, and again while the kernel still counts a quota of a group that was
    /// removed a moment ago: it forgets those only after a grace period, and says EINVAL until then.
    private func applyPatiently(_ step: CgroupStep) async throws {
        for _ in 0..<20 {
            do {
                return try apply(step)
            } catch {
                guard case .file(_, let path, let code) = error, code == EINVAL,
                    path.hasSuffix("/cpu.cfs_quota_us")
                else { throw error }
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        try apply(step)
    }

    /// The container's group as OCI runtimes want it (`cgroupsPath`), such as `/shoal/web.3/app`.
    package nonisolated func cgroupPath(slot: SlotID, container: String) -> String {
        "/\(settings.cgroupRoot)/\(slot)/\(container)"
    }

    /// Ends every process of the set with SIGKILL and removes its groups from every hierarchy, those
    /// that only the runtime made as well; nothing happens when there are none.
    package func removeSetCgroup(slot: SlotID) async throws {
        try checkName(slot)
        let path = "\(settings.cgroupRoot)/\(slot)"
        let folders = capabilities.cgroups.allMountPoints.map { "\($0)/\(path)" }
            .filter { KernelFile.exists($0) }
        guard !folders.isEmpty else { return }
        let clock = ContinuousClock()
        let deadline = clock.now + HostControl.removalPatience
        while true {
            let processes = killProcesses(in: folders)
            if processes.isEmpty, folders.allSatisfy({ removeGroup($0) }) { return }
            guard clock.now < deadline else {
                throw HostControlError.processesRemain(path: path, processes: processes)
            }
            // A killed process leaves its group a moment later, and nothing tells when.
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// What a container has used, or the whole set when `container` is nil.
    package func usage(
        slot: SlotID, container: String?
    ) throws(HostControlError) -> CgroupUsage {
        try checkName(slot, container: container)
        let layout = capabilities.cgroups
        let path = "\(settings.cgroupRoot)/\(slot)" + (container.map { "/\($0)" } ?? "")
        func value(_ figure: CgroupReadings.Figure) throws(HostControlError) -> Int? {
            guard let file = CgroupReadings.file(figure, layout: layout, path: path),
                let text = try KernelFile.readIfPresent(file)
            else { return nil }
            return CgroupReadings.value(figure, version: layout.version, text: text)
        }
        guard let memory = try value(.memory), let pids = try value(.pids) else {
            throw .noGroup(path: "/\(path)")
        }
        return CgroupUsage(
            cpuMicroseconds: try value(.cpu) ?? 0,
            throttledMicroseconds: try value(.throttled) ?? 0,
            memoryBytes: memory, memoryPeakBytes: try value(.memoryPeak) ?? 0,
            outOfMemoryKills: try value(.outOfMemoryKills) ?? 0, pids: pids)
    }

    /// The sets that have a group in any hierarchy, sorted.
    package func existingSetCgroups() -> [SlotID] {
        var slots: [SlotID] = []
        for mount in capabilities.cgroups.allMountPoints {
            slots += KernelFile.names(in: "\(mount)/\(settings.cgroupRoot)", foldersOnly: true)
                .compactMap { SlotID($0) }.filter { isProper($0) }
        }
        return Set(slots).sorted()
    }

    // MARK: - Steps

    /// Carries one step out.
    func apply(_ step: CgroupStep) throws(HostControlError) {
        switch step {
        case .makeDirectory(let path): try KernelFile.makeFolder(path)
        case .write(let file, let value, let optional):
            guard !optional || KernelFile.exists(file) else { return }
            try KernelFile.write(value, to: file)
        case .setMemory(let file, let swapFile, let bytes):
            try setMemory(file: file, swapFile: swapFile, bytes: bytes)
        case .expect(let file, let expectation, let optional):
            guard !optional || KernelFile.exists(file) else { return }
            let text = try KernelFile.read(file)
            guard expectation.matches(text) else {
                let got = text.prefix(200).split(whereSeparator: \.isWhitespace)
                throw .limitNotTaken(
                    file: file, wanted: expectation.description, got: got.joined(separator: " "))
            }
        }
    }

    private func setMemory(
        file: String, swapFile: String?, bytes: Int
    ) throws(HostControlError) {
        guard let swapFile else { return try setMemoryVersionTwo(file: file, bytes: bytes) }
        let current = number(try KernelFile.read(file)) ?? Int.max
        let hasSwap = KernelFile.exists(swapFile)
        if hasSwap, current < bytes { try KernelFile.write("\(bytes)", to: swapFile) }
        do {
            try KernelFile.write("\(bytes)", to: file)
        } catch .file(_, _, let code) where code == EBUSY {
            let folder = file.prefix(upTo: file.lastIndex(of: "/") ?? file.endIndex)
            let used = number(try KernelFile.read("\(folder)/memory.usage_in_bytes"))
            throw .memoryInUse(file: file, wanted: bytes, used: used ?? current)
        }
        if hasSwap, current >= bytes { try KernelFile.write("\(bytes)", to: swapFile) }
    }

    private func setMemoryVersionTwo(file: String, bytes: Int) throws(HostControlError) {
        let folder = file.prefix(upTo: file.lastIndex(of: "/") ?? file.endIndex)
        func used() throws(HostControlError) -> Int {
            number(try KernelFile.read("\(folder)/memory.current")) ?? 0
        }
        // Where nothing runs nobody can be killed; what such a group still holds is the kernel's
        // stock of charges, 64 pages a processor, which it gives back when the limit is written.
        let events = (try? KernelFile.read("\(folder)/cgroup.events")) ?? ""
        let isEmpty = events.split(separator: "\n").contains("populated 0")
        let before = try used()
        if before > bytes, !isEmpty {
            // Fails when not all could be reclaimed, which the next reading tells. Since Linux 5.19.
            try? KernelFile.write("\(before - bytes)", to: "\(folder)/memory.reclaim")
            let after = try used()
            guard after <= bytes else {
                throw .memoryInUse(file: file, wanted: bytes, used: after)
            }
        }
        try KernelFile.write("\(bytes)", to: file)
    }

    private func number(_ text: String) -> Int? {
        Int(text.prefix(64).filter { !$0.isWhitespace })
    }

    // MARK: - Removal

    /// Removes groups of containers that the set no longer has, if nothing runs there.
    ///
    /// A stale quota above the set's would make the kernel refuse the set's, so it is lifted in any
    /// case; the set's own still holds.
    private func removeStaleGroups(slot: SlotID, wanted: [String]) {
        for mount in capabilities.cgroups.allMountPoints {
            let folder = "\(mount)/\(settings.cgroupRoot)/\(slot)"
            for name in KernelFile.names(in: folder, foldersOnly: true) where !wanted.contains(name)
            {
                removeGroup("\(folder)/\(name)")
            }
        }
    }

    /// Kills what runs in the folders and below, and returns it.
    private func killProcesses(in folders: [String]) -> [Int32] {
        var found: [Int32] = []
        for folder in folders.flatMap({ tree($0) }) {
            // No more forks, and frozen tasks must thaw to die; each file is where it is.
            try? KernelFile.write("0", to: "\(folder)/pids.max")
            try? KernelFile.write("THAWED", to: "\(folder)/freezer.state")
            let text = (try? KernelFile.read("\(folder)/cgroup.procs")) ?? ""
            let processes = CgroupReadings.processes(text).filter { $0 != getpid() }
            if !processes.isEmpty { try? KernelFile.write("1", to: "\(folder)/cgroup.kill") }
            for process in processes where !found.contains(process) {
                kill(process, SIGKILL)
                found.append(process)
            }
        }
        return found
    }

    /// The folder and all below it, deepest last.
    private func tree(_ folder: String, depth: Int = 0) -> [String] {
        // Deeper than any runtime nests; a container could otherwise make the walk endless.
        guard depth < 32 else { return [folder] }
        return [folder]
            + KernelFile.names(in: folder, foldersOnly: true)
            .flatMap { tree("\(folder)/\($0)", depth: depth + 1) }
    }

    /// Removes a group and those below it; true when it is gone.
    @discardableResult
    private func removeGroup(_ folder: String) -> Bool {
        for group in tree(folder).reversed() { rmdir(group) }
        return !KernelFile.exists(folder)
    }

    /// Removes the root group, and the folders above it that only it was in.
    func removeRootGroup() throws(HostControlError) {
        for mount in capabilities.cgroups.allMountPoints {
            var parts = settings.cgroupRoot.split(separator: "/")
            while !parts.isEmpty {
                let folder = "\(mount)/\(parts.joined(separator: "/"))"
                if rmdir(folder) != 0, errno != ENOENT {
                    // The root must go; a folder above it may serve another agent.
                    guard parts.count < settings.cgroupRoot.split(separator: "/").count else {
                        throw .file(operation: "remove the group", path: folder, code: errno)
                    }
                    break
                }
                parts.removeLast()
            }
        }
    }
}
