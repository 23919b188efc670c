import ClusterModel
import Glibc
import HostPlan

extension HostControl {
    /// How long killed processes may take to go away.
    private static let removalPatience = Duration.seconds(10)

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
        guard !folders.isEmpty else { return try releaseCores(of: slot) }
        let clock = ContinuousClock()
        let deadline = clock.now + HostControl.removalPatience
        while true {
            let processes = killProcesses(in: folders)
            if processes.isEmpty, folders.allSatisfy({ removeGroup($0) }) {
                return try releaseCores(of: slot)
            }
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
                var text = try KernelFile.readIfPresent(file)
            else { return nil }
            if figure == .readBytes || figure == .writtenBytes {
                text = DiskStack.countedOnce(text)
            }
            return CgroupReadings.value(figure, version: layout.version, text: text)
        }
        guard let memory = try value(.memory), let pids = try value(.pids) else {
            throw .noGroup(path: "/\(path)")
        }
        return CgroupUsage(
            cpuMicroseconds: try value(.cpu) ?? 0,
            throttledMicroseconds: try value(.throttled) ?? 0,
            memoryBytes: memory, memoryPeakBytes: try value(.memoryPeak) ?? 0,
            memoryLimitBytes: try value(.memoryLimit), swapBytes: try value(.swap) ?? 0,
            outOfMemoryKills: try value(.outOfMemoryKills) ?? 0, pids: pids,
            readBytes: try value(.readBytes), writtenBytes: try value(.writtenBytes),
            pressure: pressure(path))
    }

    /// How many processes of a container the kernel has killed for want of memory; 0 where it does
    /// not count them, or the group is not there.
    package func outOfMemoryKills(
        slot: SlotID, container: String
    ) throws(HostControlError) -> Int {
        try checkName(slot, container: container)
        let layout = capabilities.cgroups
        let path = "\(settings.cgroupRoot)/\(slot)/\(container)"
        guard let file = CgroupReadings.file(.outOfMemoryKills, layout: layout, path: path),
            let text = try KernelFile.readIfPresent(file)
        else { return 0 }
        return CgroupReadings.value(.outOfMemoryKills, version: layout.version, text: text) ?? 0
    }

    /// How a group's tasks waited; nil where the kernel does not say, or was told not to (psi=0).
    func pressure(_ path: String) -> CgroupPressure? {
        let waiting = ["cpu", "memory", "io"].map { resource in
            CgroupReadings.pressureFile(resource, layout: capabilities.cgroups, path: path)
                .flatMap { KernelFile.line($0) }.flatMap { CgroupPressure.Waiting($0) }
        }
        guard let cpu = waiting[0], let memory = waiting[1], let io = waiting[2] else { return nil }
        return CgroupPressure(cpu: cpu, memory: memory, io: io)
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

    // MARK: - Removal

    /// Removes groups of containers that the set no longer has, if nothing runs there.
    ///
    /// A stale quota above the set's would make the kernel refuse the set's, so it is lifted in any
    /// case; the set's own still holds.
    func removeStaleGroups(slot: SlotID, wanted: [String]) {
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
            // Empty once the agent has ended, and no harm until then.
            rmdir("\(mount)/\(CgroupPlan.agentGroup(root: settings.cgroupRoot))")
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
