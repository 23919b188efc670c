import Base
import ClusterModel
import ControlAPI
import VolumePlan
import VolumeStore

/// What operators ask of a volume of this host.
extension VolumeKeeper {
    /// The longest window for cleaning a full volume, in seconds.
    static let cleanSecondsMax = 86_400

    /// Carries an operation out, tells the cluster, and says what it came to.
    ///
    /// `look` is this host's copy of the cluster's state. Throws what the operator is told.
    func perform(
        _ operation: VolumeOperation, seeing look: AgentBackend.Look,
        progress: @escaping VolumeProgressHandler
    ) async throws -> VolumeOperationResult {
        let record: VolumeRecord
        let message: String
        switch operation {
        case .show(let volume):
            record = try await store.find(try name(volume))
            message = "\(record.name) on \(look.name(of: look.me))"
        case .snapshot(let volume, let label):
            record = try await snapshot(try name(volume), label: label, progress)
            message = "made the snapshot \(record.name)"
        case .clone(let volume, let target):
            record = try await clone(try name(volume), try name(target), look, progress)
            message = "made \(record.name), which the next service \(record.name.slot.service) gets"
        case .remove(let volume):
            record = try await remove(try name(volume), look)
            message = "put \(record.name) into the trash (\(record.id))"
        case .shrink(let volume, let bytes):
            record = try await shrink(try name(volume), to: bytes, look, progress)
            message = "\(record.name) has \(Quantity.display(bytes: record.size)) now"
        case .clean(let volume, let seconds):
            record = try await clean(try name(volume), seconds: seconds)
            message = "\(record.name) can be written to for \(seconds) s"
        case .restore(let id, let newName):
            record = try await restore(id, as: try newName.map { try name($0) }, look)
            message = "took \(record.name) out of the trash"
        case .purge(let id): return try await purge(id, look)
        case .backup, .restoreBackup:
            throw ControlError(.invalid, "backups are the keeper of backups' work")
        case .move, .cancelMove:
            throw ControlError(.failed, "a move is no work of one host's volumes")
        }
        if case .show = operation {} else { log.info("asked by an operator: \(message)") }
        await tell(always: true)
        return VolumeOperationResult(message: message, volume: try await details(record, look))
    }

    private func name(_ text: String) throws -> VolumeName {
        guard let name = VolumeName(text) else {
            throw ControlError(
                .invalid, "'\(text.prefix(100))' is no name for a volume",
                next: "write SLOT/VOLUME such as web.3/data; parts are of a-z, 0-9 and -")
        }
        return name
    }

    // MARK: The operations

    private func snapshot(
        _ name: VolumeName, label: String?, _ progress: @escaping VolumeProgressHandler
    ) async throws -> VolumeRecord {
        let label = label ?? VolumeKeeper.label(at: store.settings.now())
        guard !label.hasPrefix("shoal-") else {
            throw ControlError(
                .invalid, "labels that begin with shoal- are for backups", next: "take another")
        }
        if let target = VolumeName(slot: name.slot, volume: name.volume, snapshot: label),
            let known = try await find(target)
        {
            throw ControlError(
                .refused,
                "there is a snapshot \(target) already, of \(VolumeKeeper.time(known.createdAt))",
                next: "take another label, or remove it first: shoal volume rm \(target)")
        }
        return try await store.snapshot(name, label: label, progress: progress)
    }

    private func clone(
        _ name: VolumeName, _ target: VolumeName, _ look: AgentBackend.Look,
        _ progress: @escaping VolumeProgressHandler
    ) async throws -> VolumeRecord {
        guard look.state.slot(target.slot) == nil else {
            throw ControlError(
                .refused, "the slot \(target.slot) is there already, with volumes of its own",
                next:
                    "clone for a service that does not exist yet, then apply it: it gets the clone"
            )
        }
        if let host = look.hosts(holding: target).first {
            throw ControlError(
                .refused, "host \(host) holds a volume \(target) already",
                next: "take another name, or remove it first: shoal volume rm \(target)")
        }
        if try await find(target) != nil {
            throw ControlError(
                .refused, "there is a volume \(target) already",
                next: "take another name, or remove it first: shoal volume rm \(target)")
        }
        return try await store.clone(name, as: target, progress: progress)
    }

    private func remove(_ name: VolumeName, _ look: AgentBackend.Look) async throws -> VolumeRecord
    {
        let record = try await store.find(name)
        try refuseUsed(record, look, wish: "removed")
        return try await store.delete(name)
    }

    private func shrink(
        _ name: VolumeName, to bytes: Int, _ look: AgentBackend.Look,
        _ progress: @escaping VolumeProgressHandler
    ) async throws -> VolumeRecord {
        try refuseUsed(try await store.find(name), look, wish: "made smaller")
        return try await store.shrink(name, to: bytes, progress: progress)
    }

    private func clean(_ name: VolumeName, seconds: Int) async throws -> VolumeRecord {
        guard (1...VolumeKeeper.cleanSecondsMax).contains(seconds) else {
            throw ControlError(
                .invalid, "\(seconds) s is no time for a clean-up: 1 s to 24 hours")
        }
        let record = try await store.find(name)
        guard record.volumeClass == .directory else {
            throw ControlError(
                .refused,
                "\(name) is of class \(record.volumeClass.rawValue), which never turns read-only "
                    + "when it is full: remove files, or grow it")
        }
        try await store.allowCleanUp(name, for: .seconds(seconds))
        return record
    }

    /// Takes a volume out of the trash; it belongs to nobody until the next slot of its name.
    ///
    /// Were it its service's again, what put it into the trash would put it there again.
    private func restore(
        _ text: String, as newName: VolumeName?, _ look: AgentBackend.Look
    ) async throws -> VolumeRecord {
        let record = try await trashed(text)
        let name = newName ?? record.name
        if let host = look.hosts(holding: name).first {
            throw ControlError(
                .refused, "host \(host) holds a volume \(name) already",
                next: "take another name: shoal trash restore \(text) --as NAME")
        }
        if name.snapshot == nil, let slot = look.state.slot(name.slot), slot.volumeHost != nil,
            slot.volumeHost != look.me
        {
            throw ControlError(
                .refused,
                "the slot \(name.slot) has its volumes on another host, and this one would never be used",
                next: "take another name: shoal trash restore \(text) --as NAME")
        }
        return try await store.restore(record.id, as: newName, owner: 0)
    }

    private func purge(
        _ text: String, _ look: AgentBackend.Look
    ) async throws -> VolumeOperationResult {
        let record = try await trashed(text)
        var volume = try await details(record, look)
        try await store.purge([record.id])
        log.info("asked by an operator: removed \(record.name) (\(record.id)) for good")
        await tell(always: true)
        volume.state = "removed"
        return VolumeOperationResult(
            message: "removed \(record.name) (\(record.id)) for good", volume: volume)
    }

    private func trashed(_ text: String) async throws -> VolumeRecord {
        guard let id = VolumeID(text),
            let record = try await store.list(measuring: false).map(\.record).first(where: {
                $0.id == id
            })
        else {
            throw ControlError(
                .notFound, "the trash has no volume \(text.prefix(32))",
                next: "`shoal volumes` lists those it has, with their identities")
        }
        guard record.state.isTrashed else {
            throw ControlError(
                .refused,
                "\(record.name) (\(id)) is not in the trash: it is \(record.state.summary)")
        }
        return record
    }

    private func refuseUsed(
        _ record: VolumeRecord, _ look: AgentBackend.Look, wish: String
    ) throws {
        guard let slot = look.slot(using: record.name, owner: LogIndex(record.owner)) else {
            return
        }
        throw ControlError(
            .refused, "the slot \(slot) uses \(record.name), which cannot be \(wish) meanwhile",
            next:
                "scale \(slot.service) in, delete it, or leave the volume out of its file: what no "
                + "slot wants goes into the trash by itself")
    }

    // MARK: Telling

    /// All there is to know of a volume here.
    func details(
        _ record: VolumeRecord, _ look: AgentBackend.Look
    ) async throws -> VolumeDetails {
        let status = try await statuses().first { $0.record.id == record.id }
        let record = status?.record ?? record
        var trashedAt: Int?
        if case .trashed(let at, _) = record.state { trashedAt = at }
        let usage = trashedAt == nil ? try? await store.usage(record.name) : nil
        return VolumeDetails(
            volume: record.name.description, id: record.id.description,
            host: look.name(of: look.me),
            state: trashedAt != nil
                ? "trash" : status?.condition.trouble?.rawValue ?? record.state.summary,
            class: record.volumeClass.rawValue, fileSystem: record.fileSystem.rawValue,
            sizeBytes: record.size, usedBytes: usage?.used ?? status?.allocated ?? 0,
            allocatedBytes: usage?.allocated ?? status?.allocated, path: status?.path,
            readOnly: status?.isReadOnly ?? false,
            problem: status?.condition.problem(of: record.name.description),
            slot: look.slot(using: record.name, owner: LogIndex(record.owner))?.description,
            createdAt: record.createdAt, trashedAt: trashedAt,
            snapshots: look.snapshots(of: record.name.base, on: look.me),
            trash: look.trash(of: record.name.base, on: look.me))
    }

    /// A snapshot's label for a moment: `2026-11-24-221503`, UTC.
    private static func label(at seconds: Int) -> String {
        time(seconds).prefix(19).map { $0 == "T" ? "-" : $0 }.filter { $0 != ":" }
            .reduce(into: "") { $0.append($1) }
    }

    private static func time(_ seconds: Int) -> String {
        WallTime(milliseconds: Int64(seconds) * 1_000).rfc3339
    }
}
