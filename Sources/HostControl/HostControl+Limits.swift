import ClusterModel
import Glibc
import HostPlan

extension HostControl {
    /// Makes the groups of a set and its containers, writes their limits and reads them back.
    ///
    /// Also changes the limits of a set that runs: all or nothing, so after a failure the values are
    /// the former ones. Writes nothing where all is in place already. Returns a sentence for
    /// everything that was asked for but has no effect on this machine, though no wall is missing.
    /// `folders` are those that the set writes to beside the host's own: where its volumes are mounted.
    ///
    /// Throws `limitNotTaken` with file, wanted and got when the kernel keeps another value,
    /// `memoryInUse` when memory cannot shrink without killing, `notEnoughCores` when too few are free
    /// to dedicate, `kernelLacks` when the machine cannot
    /// keep a limit at all, and `notRestored` when, after a failure, a former value did not return.
    @discardableResult
    package func ensureSetCgroup(
        slot: SlotID, containers: [(name: String, limits: CgroupLimits)], folders: [String] = []
    ) async throws -> [String] {
        try checkName(slot)
        for container in containers { try checkName(slot, container: container.name) }
        removeStaleGroups(slot: slot, wanted: containers.map(\.name))
        let disks = try disks(for: containers.map(\.limits), folders: folders)
        let steps = CgroupPlan.steps(
            layout: capabilities.cgroups, root: settings.cgroupRoot, set: "\(slot)",
            containers: containers, devices: disks.devices)
        for step in steps where step.isMaking { try apply(step) }
        let limiting = steps.filter { !$0.isMaking }
        let cores = try changeCores(of: slot, containers: containers)
        do {
            try await changeLimits(limiting)
        } catch {
            do { try restoreCores(of: slot, former: cores.former) } catch let second {
                throw HostControlError.notRestored(after: "\(error)", failures: ["\(second)"])
            }
            throw error
        }
        return disks.notices + cores.notices + sentences(of: limiting)
            + weightNotices(of: containers.map(\.limits), on: disks, slot: slot)
    }

    /// Carries steps out that set limits, unless all is in place: all of them, or after a failure
    /// the former values are back.
    func changeLimits(_ steps: [CgroupStep]) async throws {
        guard !isInPlace(steps) else { return }
        var journal = LimitJournal()
        do {
            for step in steps { try await applyPatiently(step, &journal) }
        } catch {
            throw await restored(journal, after: error)
        }
    }

    // MARK: - Steps

    /// True when every limit is as it should be, so that nothing needs to be written.
    private func isInPlace(_ steps: [CgroupStep]) -> Bool {
        let pageBytes = sysconf(Int32(_SC_PAGESIZE))
        return steps.allSatisfy { step in
            guard case .expect(let file, let expectation, let optional) = step else { return true }
            guard let text = try? KernelFile.readIfPresent(file) else { return optional }
            return expectation.isInPlace(text, pageBytes: pageBytes)
        }
    }

    /// What was asked for and has no effect, each sentence once.
    func sentences(of steps: [CgroupStep]) -> [String] {
        var sentences: [String] = []
        for case .inform(let files, let sentence) in steps
        where !sentences.contains(sentence) && !files.contains(where: KernelFile.exists) {
            sentences.append(sentence)
        }
        return sentences
    }

    /// Carries one step out, and again while the kernel still counts a quota of a group that was
    /// removed a moment ago: it forgets those only after a grace period, and says EINVAL until then.
    private func applyPatiently(_ step: CgroupStep, _ journal: inout LimitJournal) async throws {
        for _ in 0..<20 {
            do {
                return try apply(step, &journal)
            } catch {
                guard case .file(_, let path, let code) = error, code == EINVAL,
                    path.hasSuffix("/cpu.cfs_quota_us")
                else { throw error }
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        try apply(step, &journal)
    }

    /// Carries one step out that nobody will want to undo.
    func apply(_ step: CgroupStep) throws(HostControlError) {
        var journal = LimitJournal()
        try apply(step, &journal)
    }

    /// Carries one step out, and notes what was there before.
    private func apply(
        _ step: CgroupStep, _ journal: inout LimitJournal
    ) throws(HostControlError) {
        switch step {
        case .makeDirectory(let path): try KernelFile.makeFolder(path)
        case .handDown(let file, let controllers): try KernelFile.write(controllers, to: file)
        case .write(let file, let value, let optional):
            guard !optional || KernelFile.exists(file) else { return }
            journal.entries.append(.text(file: file, former: KernelFile.line(file)))
            try KernelFile.write(value, to: file)
        case .writeEntry(let entry, let optional):
            guard !optional || KernelFile.exists(entry.file) else { return }
            let former = entry.former(in: try KernelFile.read(entry.file))
            guard former != entry.value else { return }
            journal.entries.append(.entry(entry.with(value: former)))
            try KernelFile.write(entry.text, to: entry.file)
        case .setMemory(let change):
            if let softFile = change.softFile {
                journal.entries.append(.text(file: softFile, former: KernelFile.line(softFile)))
            }
            journal.entries.append(.memory(formerMemory(change)))
            try setMemory(change)
        case .expect(let file, let expectation, let optional):
            guard !optional || KernelFile.exists(file) else { return }
            let text = try KernelFile.read(file)
            guard expectation.matches(text) else {
                let got = text.prefix(200).split(whereSeparator: \.isWhitespace)
                throw .limitNotTaken(
                    file: file, wanted: expectation.description, got: got.joined(separator: " "))
            }
        case .inform: break
        }
    }

    /// Puts back what was there before a change that failed, the last change first; returns the
    /// failure, or what did not return.
    private func restored(
        _ journal: LimitJournal, after failure: any Error
    ) async -> any Error {
        var lost: [String] = []
        for entry in journal.entries.reversed() {
            do {
                switch entry {
                case .text(let file, let former?):
                    // An empty value is written as an empty line: a write of nothing is none.
                    var unused = LimitJournal()
                    let value = former.isEmpty ? "\n" : former
                    let step = CgroupStep.write(file: file, value: value, optional: true)
                    try await applyPatiently(step, &unused)
                case .text(_, nil): break
                case .entry(let former): try KernelFile.write(former.text, to: former.file)
                case .memory(let former): try setMemory(former)
                }
            } catch { lost.append("\(error)") }
        }
        guard !lost.isEmpty else { return failure }
        return HostControlError.notRestored(after: "\(failure)", failures: lost)
    }

    // MARK: - Memory

    /// The change that would bring back what the files say now.
    private func formerMemory(_ change: MemoryChange) -> MemoryChange {
        var former = change
        former.bytes = number(in: change.file) ?? MemoryChange.unlimited
        let swap = number(in: change.swapFile) ?? MemoryChange.unlimited
        former.swapBytes = change.softFile == nil ? max(0, swap - former.bytes) : swap
        return former
    }

    private func setMemory(_ change: MemoryChange) throws(HostControlError) {
        guard let softFile = change.softFile else { return try setMemoryVersionOne(change) }
        let folder = folder(of: change.file)
        // Where nothing runs nobody can be killed; what such a group still holds is the kernel's
        // stock of charges, 64 pages a processor, which it gives back when the limit is written.
        let events = (try? KernelFile.read("\(folder)/cgroup.events")) ?? ""
        let isEmpty = events.split(separator: "\n").contains("populated 0")
        if KernelFile.exists(change.swapFile) {
            let used = number(in: "\(folder)/memory.swap.current") ?? 0
            guard used <= change.swapBytes || isEmpty else {
                throw .memoryInUse(file: change.swapFile, wanted: change.swapBytes, used: used)
            }
            try KernelFile.write(change.text(change.swapBytes), to: change.swapFile)
        }
        let current = number(in: change.file) ?? Int.max
        if change.bytes < current, !isEmpty {
            // Lowering the soft limit reclaims, and slows whoever asks for more meanwhile.
            let soft = KernelFile.line(softFile) ?? "max"
            try KernelFile.write(change.text(change.bytes), to: softFile)
            var used = number(in: "\(folder)/memory.current") ?? Int.max
            if used > change.bytes {
                // Fails when not all could be reclaimed, which the next reading tells. Linux 5.19.
                try? KernelFile.write("\(used - change.bytes)", to: "\(folder)/memory.reclaim")
                used = number(in: "\(folder)/memory.current") ?? Int.max
            }
            guard used <= change.bytes else {
                try KernelFile.write(soft, to: softFile)
                throw .memoryInUse(file: change.file, wanted: change.bytes, used: used)
            }
        }
        try KernelFile.write(change.text(change.bytes), to: change.file)
    }

    private func setMemoryVersionOne(_ change: MemoryChange) throws(HostControlError) {
        // nil without swap accounting: memory with swap is then not counted.
        let total = number(in: change.swapFile)
        func write(_ bytes: Int, to file: String, usage: String) throws(HostControlError) {
            for attempt in 1... {
                do {
                    return try KernelFile.write(change.text(bytes), to: file)
                } catch .file(_, _, let code) where code == EBUSY {
                    let used = number(in: "\(folder(of: file))/\(usage)") ?? 0
                    // What each processor keeps in stock comes back a moment later than it is asked
                    // for: where the figure says that it fits by now, it does.
                    guard used <= bytes, attempt < 50 else {
                        throw .memoryInUse(file: file, wanted: bytes, used: used)
                    }
                }
            }
        }
        let usage = "memory.memsw.usage_in_bytes"
        if let total, change.totalBytes >= total {
            try write(change.totalBytes, to: change.swapFile, usage: usage)
        }
        try write(change.bytes, to: change.file, usage: "memory.usage_in_bytes")
        if let total, change.totalBytes < total {
            try write(change.totalBytes, to: change.swapFile, usage: usage)
        }
    }

    private func folder(of file: String) -> Substring {
        file.prefix(upTo: file.lastIndex(of: "/") ?? file.endIndex)
    }

    /// The number in a file; nil when there is none, `max` for one.
    private func number(in file: String) -> Int? { KernelFile.line(file).flatMap { Int($0) } }
}

/// What was there before the steps of one change, in the order of the steps.
private struct LimitJournal {
    enum Entry {
        case text(file: String, former: String?)
        case entry(CgroupEntry)
        case memory(MemoryChange)
    }

    var entries: [Entry] = []
}

extension CgroupStep {
    /// True for what makes a group, which is not undone: an empty group harms nobody.
    fileprivate var isMaking: Bool {
        switch self {
        case .makeDirectory, .handDown: true
        default: false
        }
    }
}
