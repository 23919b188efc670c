import Glibc
import VolumePlan

extension VolumeStore {
    /// Detaches a volume and puts it into the trash; its name is free afterwards.
    ///
    /// Throws `inUse` while somebody uses it. Snapshots of it stay: each is a volume of its own.
    /// With `disowning` it belongs to no service from then on.
    @discardableResult
    package func delete(
        _ name: VolumeName, disowning: Bool = false
    ) async throws -> VolumeRecord {
        try await alone(with: name) {
            var record = try requireReady(name)
            try await unmount(record)
            if disowning { record.owner = 0 }
            return try await moveToTrash(record, reason: .deleted)
        }
    }

    /// Puts a volume that nobody uses into the trash.
    @discardableResult
    func moveToTrash(
        _ record: VolumeRecord, reason: TrashReason
    ) async throws -> VolumeRecord {
        var record = record
        record.state = .trashed(at: settings.now(), reason: reason)
        try save(record, essential: true)
        try await settleBacking(record)
        return record
    }

    /// Takes a volume out of the trash, under its old name or another, for its owner or another.
    ///
    /// Throws `exists` when a volume answers to that name, and `notInTrash`.
    @discardableResult
    package func restore(
        _ id: VolumeID, as newName: VolumeName? = nil, owner: UInt64? = nil
    ) async throws -> VolumeRecord {
        guard let found = records[id] else {
            throw isRecovered ? VolumeError.notInTrash(id) : VolumeError.notRecovered
        }
        let name = newName ?? found.name
        return try await alone(with: found.name, name) {
            // It may have gone while we waited.
            guard var record = records[id], record.state.isTrashed else {
                throw VolumeError.notInTrash(id)
            }
            guard self.record(named: name) == nil else {
                throw VolumeError.exists(
                    name, difference: "the volume \(id) in the trash wants its name")
            }
            guard (name.snapshot == nil) == (record.name.snapshot == nil) else {
                throw VolumeError.badRequest(
                    "a snapshot keeps a label and a volume has none: \(record.name) cannot "
                        + "become \(name)")
            }
            record.name = name
            record.owner = owner ?? record.owner
            record.state = .ready
            try save(record, essential: true)
            try await settleBacking(record)
            return record
        }
    }

    /// Gives a volume that belongs to none to a service.
    ///
    /// Throws `exists` when it belongs to another already.
    @discardableResult
    package func adopt(_ name: VolumeName, owner: UInt64) async throws -> VolumeRecord {
        try await alone(with: name) {
            var record = try requireReady(name)
            guard record.owner != owner else { return record }
            guard record.owner == 0 else {
                throw VolumeError.exists(name, difference: "belongs to another service")
            }
            record.owner = owner
            try save(record)
            return record
        }
    }

    /// Removes for good what was in the trash for as long as the settings keep it; returns what was
    /// removed.
    ///
    /// Goes on after a failure and throws the first one at the end.
    @discardableResult
    package func purgeExpired() async throws -> [VolumeRecord] {
        guard isRecovered else { throw VolumeError.notRecovered }
        let expired = RecoveryPlan.expired(
            records.values.sorted { $0.id < $1.id }, now: settings.now(),
            keep: settings.trashSeconds)
        return try await purge(expired.map(\.id))
    }

    /// Removes volumes of the trash for good, however long they were there; returns what was
    /// removed.
    @discardableResult
    package func purge(_ ids: [VolumeID]) async throws -> [VolumeRecord] {
        guard isRecovered else { throw VolumeError.notRecovered }
        var removed: [VolumeRecord] = []
        var failure: (any Error)?
        for id in ids {
            guard let name = records[id]?.name else {
                failure = failure ?? VolumeError.notInTrash(id)
                continue
            }
            do {
                let record = try await alone(with: name) { try await removeForGood(id) }
                removed.append(record)
            } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
        return removed
    }

    private func removeForGood(_ id: VolumeID) async throws -> VolumeRecord {
        guard var record = records[id], record.state.isTrashed else {
            throw VolumeError.notInTrash(id)
        }
        let trashed = record
        try requireUnused(record)
        record.state = .removing
        try save(record, essential: true)
        try await removeBacking(record)
        try forget(id)
        return trashed
    }
}
