import CLinux
import ClusterModel
import Glibc
import VolumePlan

extension VolumeStore {
    /// How often progress is told while a tool works.
    private static let progressStep = Duration.milliseconds(200)

    /// Makes a snapshot of a volume, attached or not: what was written before the call is in it.
    ///
    /// A thin volume takes no time. A file is shared with its snapshot where the host's file system
    /// can do that (xfs, btrfs); elsewhere it is copied, and writers wait meanwhile, `pauseLimit` at
    /// most. A `directory` volume must be detached. Throws `attached` where that is not met.
    ///
    /// `isBrief`: it goes again soon, nobody writes to it meanwhile, and so it needs no more room than
    /// its content takes now.
    @discardableResult
    package func snapshot(
        _ name: VolumeName, label: String, pauseLimit: Duration = .seconds(10),
        isBrief: Bool = false, progress: VolumeProgressHandler? = nil
    ) async throws -> VolumeRecord {
        guard name.snapshot == nil,
            let target = VolumeName(slot: name.slot, volume: name.volume, snapshot: label)
        else {
            throw VolumeError.badRequest(
                "`\(label.prefix(64))` is no label for a snapshot of \(name): labels are 1 to 32 of "
                    + "a-z, 0-9 and `-`")
        }
        return try await duplicate(
            name, as: target, making: .snapshot, pauseLimit: pauseLimit, isBrief: isBrief,
            progress: progress)
    }

    /// Makes a new volume with the content of a volume or snapshot, as `snapshot` does.
    @discardableResult
    package func clone(
        _ name: VolumeName, as target: VolumeName, pauseLimit: Duration = .seconds(10),
        progress: VolumeProgressHandler? = nil
    ) async throws -> VolumeRecord {
        guard target.snapshot == nil else {
            throw VolumeError.badRequest("`\(target)` names a snapshot; a clone is a volume")
        }
        return try await duplicate(
            name, as: target, making: .clone, pauseLimit: pauseLimit, progress: progress)
    }

    private func duplicate(
        _ name: VolumeName, as target: VolumeName, making: VolumeMaking, pauseLimit: Duration,
        isBrief: Bool = false, progress: VolumeProgressHandler?
    ) async throws -> VolumeRecord {
        try await alone(with: name, target) {
            let origin = try requireReady(name)
            if let existing = record(named: target) {
                // Asked again after an answer that was lost.
                guard existing.origin == origin.id, existing.size == origin.size else {
                    throw VolumeError.exists(target, difference: "is no copy of \(name)")
                }
                return existing
            }
            let attempt = "copy \(name) to \(target)"
            try await requirePoolSpace(origin, attempt: attempt)
            try requireSpace(
                isBrief ? takenBytes(origin) : origin.size, volumeClass: origin.volumeClass,
                isBrief: isBrief, attempt: attempt)
            var copy = VolumeRecord(
                id: newID(), name: target, volumeClass: origin.volumeClass,
                fileSystem: origin.fileSystem, size: origin.size, createdAt: settings.now(),
                origin: origin.id, project: try newProject(origin.volumeClass),
                state: .making(making))
            try save(copy)
            try await undoingFailure(of: copy) {
                switch origin.volumeClass {
                case .loop:
                    try await copyImage(
                        origin, to: copy, pauseLimit: pauseLimit, attempt: attempt,
                        progress: progress)
                case .directory:
                    try await copyDirectory(
                        origin, to: copy, attempt: attempt, progress: progress)
                case .lvm: try await snapshotLogicalVolume(origin, as: copy, attempt: attempt)
                }
                copy.state = .ready
                try save(copy)
            }
            return copy
        }
    }

    // MARK: - Files of class loop

    private func copyImage(
        _ origin: VolumeRecord, to copy: VolumeRecord, pauseLimit: Duration, attempt: String,
        progress: VolumeProgressHandler?
    ) async throws {
        let source = try openImageFile(origin, attempt: attempt)
        let target = try makeImageFile(copy, attempt: attempt)
        var frozen: OpenFile?
        switch try presence(origin) {
        case .elsewhere(let device, let numbers):
            throw VolumeStore.inUse(origin.name, device, numbers)
        case .free: break
        case .mounted(let entries): frozen = try freeze(entries, attempt: attempt)
        }
        defer { if let frozen { _ = clinux_volume_thaw(frozen.descriptor) } }
        checkpoint("copy file")
        if clinux_volume_clone(source.descriptor, target.descriptor) != 0 {
            let clock = ContinuousClock()
            let deadline = frozen == nil ? nil : clock.now + pauseLimit
            var work = try FileCopy(
                from: source, to: target, size: origin.size, attempt: attempt)
            while try work.step() {
                if let deadline, clock.now > deadline {
                    throw VolumeError.attached(
                        origin.name, attempt: "copy",
                        cause: "its writers would have to wait longer than \(pauseLimit); detach "
                            + "it, allow a longer pause, or keep the volumes on xfs, where files "
                            + "share their blocks")
                }
                progress?(
                    VolumeProgress(
                        doing: "copying \(origin.name)", done: work.done, total: origin.size))
                checkpoint("copy more of file")
                if Task.isCancelled { throw VolumeError.cancelled(attempt: attempt) }
                // Others' turn, on this thread.
                await Task.yield()
            }
        }
        if let open = frozen {
            _ = clinux_volume_thaw(open.descriptor)
            frozen = nil
        }
        checkpoint("synchronize copy")
        try target.synchronize(attempt: attempt)
    }

    /// Brings a mounted volume to the disk and holds writers back until `thaw`.
    private func freeze(_ entries: [MountEntry], attempt: String) throws(VolumeError) -> OpenFile? {
        guard let entry = entries.first, !entry.fileSystemOptions.contains("ro") else { return nil }
        let folder = try OpenFile(
            entry.mountPoint, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        // What is written before the pause does not prolong it.
        _ = clinux_volume_sync(folder.descriptor)
        checkpoint("freeze")
        let status = clinux_volume_freeze(folder.descriptor)
        guard status == 0 else { throw .system(attempt: attempt, code: -status) }
        checkpoint("frozen")
        return folder
    }

    // MARK: - Trees

    /// Copies all files of one volume into another that is new and empty, and compares them.
    func copyVerified(
        _ old: VolumeRecord, to new: VolumeRecord, progress: VolumeProgressHandler?
    ) async throws {
        let attempt = "copy \(old.name)"
        try await makeBacking(new, attempt: attempt)
        try await mountWork(old, isReadOnly: true)
        try await mountWork(new, isReadOnly: false)
        let content = try requireRoom(old, new, attempt: attempt)
        do {
            try await copyTree(
                workPath(old.id), to: workPath(new.id), name: old.name, total: content,
                progress: progress)
        } catch let error as VolumeError {
            guard case .tool(_, let cause) = error, cause.contains("No space left on device")
            else { throw error }
            throw VolumeError.contentTooLarge(old.name, used: content, wanted: new.size)
        }
        try synchronizeFileSystem(at: workPath(new.id), attempt: attempt)
        // What the disk has is to be compared, not what memory remembers of writing it.
        try await unmountWork(new.id)
        try await waitUntilFree(new)
        try await mountWork(new, isReadOnly: true)
        try await compareTrees(old, new, attempt: attempt, total: content, progress: progress)
        checkpoint("compared")
        try await unmountWork(old.id)
        try await unmountWork(new.id)
        try await waitUntilFree(old)
        try await waitUntilFree(new)
    }

    /// The bytes in use of a mounted volume; throws when another has no room for them.
    private func requireRoom(
        _ old: VolumeRecord, _ new: VolumeRecord, attempt: String
    ) throws(VolumeError) -> Int {
        let from = try OpenFile(
            workPath(old.id), flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        let into = try OpenFile(
            workPath(new.id), flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        let content = try from.space(attempt: attempt).used
        let room = try into.space(attempt: attempt)
        // What the file system itself takes counts as used on both sides.
        guard content <= room.total, content - room.used <= room.free else {
            throw .contentTooLarge(old.name, used: content, wanted: new.size)
        }
        return content
    }

    /// Brings all of a mounted file system to the disk.
    func synchronizeFileSystem(at path: String, attempt: String) throws(VolumeError) {
        let folder = try OpenFile(path, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        let status = clinux_volume_sync(folder.descriptor)
        guard status == 0 else { throw .system(attempt: attempt, code: -status) }
    }

    private func compareTrees(
        _ old: VolumeRecord, _ new: VolumeRecord, attempt: String, total: Int,
        progress: VolumeProgressHandler?
    ) async throws {
        var comparison = try TreeComparison(
            workPath(old.id), workPath(new.id), name: old.name, attempt: attempt)
        while try comparison.step() {
            progress?(
                VolumeProgress(
                    doing: "comparing the copy of \(old.name)", done: comparison.done,
                    total: total))
            if Task.isCancelled { throw VolumeError.cancelled(attempt: attempt) }
            // Others' turn, on this thread.
            await Task.yield()
        }
    }

    /// Copies a tree with owners, modes, times, links, holes and attributes.
    func copyTree(
        _ source: String, to target: String, name: VolumeName, total: Int,
        progress: VolumeProgressHandler?
    ) async throws {
        checkpoint("copy files")
        let ticker = Task {
            while !Task.isCancelled {
                try await Task.sleep(for: VolumeStore.progressStep)
                let folder = try OpenFile(
                    target, flags: O_RDONLY | O_DIRECTORY, attempt: "measure \(target)")
                let done = try folder.space(attempt: "measure \(target)").used
                progress?(
                    VolumeProgress(doing: "copying \(name)", done: min(done, total), total: total))
            }
        }
        defer { ticker.cancel() }
        try await tools.check(
            ["cp", "-a", "--sparse=auto", "--reflink=auto", "--", "\(source)/.", target],
            attempt: "copy \(name)", diesWithUs: true, isCancellable: true,
            timeout: .seconds(7 * 86_400))
        checkpoint("copied files")
    }
}
