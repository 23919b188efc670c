import CLinux
import Glibc
import VolumePlan

extension VolumeStore {
    /// How long to wait for tools of an earlier agent that was killed.
    private static let lockPatience = 3_000
    private static let lockStep = Duration.milliseconds(20)

    /// Finishes or undoes what a crash cut off, and says so in sentences.
    ///
    /// Also says what was found that has no record, which is left alone. Must come before everything
    /// else, and may come again.
    ///
    /// A volume that cannot be repaired now does not stop the others: a sentence says why, and the
    /// next call tries again. Throws `storeTaken` while another agent uses the folder.
    package func recover() async throws -> [String] {
        guard !isRecovered else { return await repairIdle() }
        try await takeLock()
        let contents = try folders.readRecords()
        var said: [String] = []
        for name in contents.unfinished {
            folders.removeUnfinished(name)
            said.append("removed \(path)/records/\(name), which was never finished")
        }
        for name in contents.foreign {
            said.append("left alone \(path)/records/\(name), which is no volume record")
        }
        for (_, error) in contents.damaged { said.append("\(error)") }
        damaged = Set(contents.damaged.map(\.id))
        records = Dictionary(uniqueKeysWithValues: contents.records.map { ($0.id, $0) })
        let ordered = contents.records.sorted { $0.id < $1.id }
        for record in ordered { said += await cleanWork(record) }
        for step in RecoveryPlan.steps(ordered) { said += await carryOut(step) }
        for record in records.values.sorted(by: { $0.id < $1.id }) {
            said += await settleAfterCrash(record)
        }
        for name in RecoveryPlan.doubledNames(Array(records.values)) {
            said.append(
                "two volumes answer to \(name); remove one of them with `shoal volume rm`")
        }
        said += try await unknownContent()
        isRecovered = true
        return said
    }

    /// Tries again what an earlier repair or operation could not finish, on volumes that no
    /// operation works on at the moment.
    private func repairIdle() async -> [String] {
        var said: [String] = []
        for record in records.values.sorted(by: { $0.id < $1.id }) {
            let name = record.name.base
            guard locks.take(name) else { continue }
            defer { locks.release(name) }
            guard let current = records[record.id], current.name.base == name else { continue }
            for step in RecoveryPlan.steps([current]) { said += await carryOut(step) }
            if let settled = records[record.id] { said += await settleAfterCrash(settled) }
        }
        return said
    }

    private func takeLock() async throws {
        for _ in 0..<VolumeStore.lockPatience {
            let status = clinux_volume_lock(lock.descriptor)
            if status == 0 { return }
            guard status == -EWOULDBLOCK else {
                throw VolumeError.system(attempt: "lock \(path)/lock", code: -status)
            }
            try await Task.sleep(for: VolumeStore.lockStep)
        }
        throw VolumeError.storeTaken(path: path)
    }

    /// Unmounts what was mounted for work that a crash cut off.
    private func cleanWork(_ record: VolumeRecord) async -> [String] {
        do {
            let isMounted = try mountTable().mount(at: workPath(record.id)) != nil
            try await unmountWork(record.id)
            return isMounted ? ["unmounted \(workPath(record.id)), left by cut-off work"] : []
        } catch {
            return ["could not unmount \(workPath(record.id)): \(error)"]
        }
    }

    /// Carries one step out, and says what it did or why it could not.
    private func carryOut(_ step: RecoveryStep) async -> [String] {
        do {
            switch step {
            case .thaw(let id): return try thaw(id)
            case .undo(let id):
                guard let record = records[id] else { return [] }
                try await undo(record)
                return ["undid the unfinished making of \(record.name) (\(id))"]
            case .finishGrowth(let id):
                guard let record = records[id] else { return [] }
                return [try await finishGrowth(record)]
            case .finishReplacement(let new, let old):
                return [try await finishReplacement(new: new, old: old)]
            case .finishRemoval(let id):
                guard let record = records[id] else { return [] }
                try await removeBacking(record)
                try forget(id)
                return ["finished the removal of \(record.name) (\(id)) from the trash"]
            }
        } catch {
            return ["could not repair a volume: \(error)"]
        }
    }

    /// Brings a file that a crash left on the way to or from the trash to where it belongs, and
    /// says when a volume has lost its content.
    private func settleAfterCrash(_ record: VolumeRecord) async -> [String] {
        guard record.state == .ready || record.state.isTrashed else { return [] }
        do {
            guard try await isBackingMisplaced(record) else {
                let isThere = try await hasBacking(record)
                return isThere
                    ? []
                    : [
                        "the content of \(record.name) (\(record.id)) is gone: restore it from a "
                            + "backup"
                    ]
            }
            try await settleBacking(record)
            let whereTo = record.state.isTrashed ? "into" : "out of"
            return ["moved \(record.name) (\(record.id)) \(whereTo) the trash"]
        } catch {
            return ["could not move \(record.name) (\(record.id)): \(error)"]
        }
    }

    /// True when the content is on the wrong side of the trash.
    private func isBackingMisplaced(_ record: VolumeRecord) async throws -> Bool {
        guard record.volumeClass != .lvm else {
            return try await isLogicalVolumeMisplaced(record)
        }
        let wrong = record.state.isTrashed ? folders.data : folders.trash
        return try wrong.status(of: backingName(record), attempt: "look for \(record.name)") != nil
    }

    private func hasBacking(_ record: VolumeRecord) async throws -> Bool {
        guard record.volumeClass != .lvm else { return try await hasLogicalVolume(record) }
        let right = record.state.isTrashed ? folders.trash : folders.data
        return try right.status(of: backingName(record), attempt: "look for \(record.name)") != nil
    }

    /// Lets writes to a volume go on; nothing happens when they were not stopped.
    func thaw(_ id: VolumeID) throws(VolumeError) -> [String] {
        guard let record = records[id], case .mounted(let entries) = try presence(record),
            let entry = entries.first
        else { return [] }
        let folder = try OpenFile(
            entry.mountPoint, flags: O_RDONLY | O_DIRECTORY,
            attempt: "open \(entry.mountPoint)")
        switch clinux_volume_thaw(folder.descriptor) {
        case 0: return ["let writes to \(record.name) go on, which a snapshot had stopped"]
        // Not frozen; or a file system that cannot be.
        case -EINVAL, -EOPNOTSUPP: return []
        case let status:
            throw .system(attempt: "let writes to \(record.name) go on", code: -status)
        }
    }

    // MARK: - What has no record

    /// Sentences about what lies in the store's folders and belongs to no record.
    private func unknownContent() async throws -> [String] {
        var places: [String] = []
        let known = Set(records.keys).union(damaged)
        for (folder, name) in [(folders.data, "data"), (folders.trash, "trash")] {
            for entry in try folder.names(attempt: "list \(path)/\(name)") {
                let digits =
                    entry.hasSuffix(".image") ? entry.dropLast(".image".count) : entry[...]
                if let id = VolumeID(digits), known.contains(id) { continue }
                places.append("\(path)/\(name)/\(entry)")
            }
        }
        var said: [String] = []
        let table = try mountTable()
        let expected = Set(records.values.filter(\.state.holdsName).map { mountPath($0) })
        for entry in table.mounts(below: "\(path)/mounts")
        where !expected.contains(entry.mountPoint) {
            said.append(
                "found a mount at \(entry.mountPoint), which belongs to no volume, and left it "
                    + "alone")
        }
        for name in try folders.work.names(attempt: "list \(path)/working") {
            if let id = VolumeID(name), records[id] != nil { continue }
            places.append("\(path)/working/\(name)")
        }
        removeEmptyMountFolders(table)
        let logical = await unknownLogicalVolumes(known)
        unrecorded = places + logical.places
        return unrecorded.map { "found \($0), which has no record, and left it alone" } + said
            + logical.said
    }

    /// Removes folders that nothing is mounted on; only empty ones can be removed.
    private func removeEmptyMountFolders(_ table: MountTable) {
        let names = (try? folders.mounts.names(attempt: "list \(path)/mounts")) ?? []
        for name in names where table.mount(at: "\(path)/mounts/\(name)") == nil {
            unlinkat(folders.mounts.descriptor, name, AT_REMOVEDIR)
        }
    }
}
