import Base
import ClusterModel
import VolumePlan
import VolumeStore

/// A volume's content to be backed up: a folder that nobody writes to.
struct BackupSource: Sendable {
    /// The folder.
    let path: String
    /// The volume's size in bytes.
    let sizeBytes: Int
    /// When the content was as it is, in seconds since 1970.
    let takenAt: Int
    /// True when all of it is of that moment.
    let isPointInTime: Bool
    /// False when the volume itself is read, which may be written to meanwhile.
    var isStill = true
}

/// Snapshots and volumes that backups and restores work with: none of them is anybody's, all are
/// known by their names, and the next start removes what a crash left of them.
extension VolumeKeeper {
    /// What a volume made for work is for.
    enum Work: String {
        /// The files of a volume that no snapshot can be made of.
        case backup
        /// A backup that is being restored.
        case restore
        /// A backup restored on trial.
        case drill
    }

    /// The label of the snapshot that a backup is made from; labels that begin so are ours.
    static let backupLabel = "shoal-backup"

    /// How long writers may wait for a snapshot of a volume that has to be copied for it.
    private static let pauseLimit = Duration.seconds(10)

    /// True for a snapshot or volume made for work; no service's name begins with a digit.
    static func isWork(_ name: VolumeName) -> Bool {
        name.snapshot?.hasPrefix("shoal-") ?? false
            || name.slot.service.utf8.first.map { 48...57 ~= $0 } ?? false
    }

    /// The name of the volume for a work on a volume.
    static func workName(_ work: Work, for name: VolumeName) throws -> VolumeName {
        let slot = SlotID(
            service: "0\(work.rawValue)-\(name.slot.service)", ordinal: name.slot.ordinal)
        guard let work = VolumeName(slot: slot, volume: name.volume) else {
            throw AgentError("\(name) is too long a name to be backed up")
        }
        return work
    }

    /// Removes what backups and restores left that a crash cut off.
    func removeWork() async throws {
        for status in try await store.list(measuring: false)
        where VolumeKeeper.isWork(status.record.name) {
            log.info("removing \(status.record.name), left by a backup or restore")
            try await discard(status.record)
        }
    }

    /// Removes a snapshot or volume made for work, for good.
    func discard(_ record: VolumeRecord) async throws {
        guard VolumeKeeper.isWork(record.name) else {
            throw AgentError("\(record.name) was not made for work; it is not removed")
        }
        if !record.state.isTrashed { try await store.delete(record.name) }
        try await store.purge([record.id])
    }

    private func discard(_ name: VolumeName) async throws {
        if let left = try await find(name) { try await discard(left) }
    }

    /// Makes and mounts an empty volume for work, in place of an earlier one of that name.
    func makeWork(
        _ work: Work, for name: VolumeName, volumeClass: VolumeClass, size: Int,
        fileSystem: FileSystemKind? = nil
    ) async throws -> (record: VolumeRecord, path: String) {
        let target = try VolumeKeeper.workName(work, for: name)
        try await discard(target)
        let record = try await store.create(
            VolumeRequest(
                name: target, volumeClass: volumeClass, size: size, fileSystem: fileSystem))
        return (record, try await store.attach(target).path)
    }

    /// Runs the body on the content of a volume as of one moment, mounted read-only; of a volume
    /// that cannot have snapshots while it is used, on a copy of its files; where the disk has no
    /// room for either, on the volume itself.
    ///
    /// What is made for that is removed again, whatever happens.
    func withContent<Value: Sendable>(
        of name: VolumeName, progress: @escaping VolumeProgressHandler,
        _ body: @Sendable (BackupSource) async throws -> Value
    ) async throws -> Value {
        let record = try await store.find(name)
        guard
            let snapshot = VolumeName(
                slot: name.slot, volume: name.volume, snapshot: VolumeKeeper.backupLabel)
        else { throw AgentError("\(name) cannot be backed up") }
        try await discard(snapshot)
        let takenAt = store.settings.now()
        @Sendable func source(
            _ path: String, isPointInTime: Bool, isStill: Bool = true
        ) -> BackupSource {
            BackupSource(
                path: path, sizeBytes: record.size, takenAt: takenAt,
                isPointInTime: isPointInTime, isStill: isStill)
        }
        do {
            return try await with(snapshot, of: record, progress: progress) { path, isPointInTime in
                try await body(source(path, isPointInTime: isPointInTime))
            }
        } catch let error as NoRoomForCopy {
            let status = try await store.list(measuring: false).first { $0.record.id == record.id }
            guard let path = status?.path else { throw error.cause }
            log.info("\(name) is backed up without a snapshot: \(error.cause)")
            return try await body(source(path, isPointInTime: false, isStill: false))
        }
    }

    /// The disk has no room for what a backup is made from.
    private struct NoRoomForCopy: Error {
        let cause: VolumeError
    }

    /// Runs the body on a snapshot, or on a copy of a volume's files, and whether it is of one moment.
    ///
    /// Removes either again. Throws `NoRoomForCopy` before the body runs.
    private func with<Value: Sendable>(
        _ snapshot: VolumeName, of record: VolumeRecord, progress: @escaping VolumeProgressHandler,
        _ body: @Sendable (String, Bool) async throws -> Value
    ) async throws -> Value {
        let work: VolumeRecord
        var path = ""
        var isPointInTime = true
        do {
            do {
                work = try await store.snapshot(
                    record.name, label: VolumeKeeper.backupLabel,
                    pauseLimit: VolumeKeeper.pauseLimit, isBrief: true, progress: progress)
            } catch VolumeError.attached {
                isPointInTime = false
                (work, path) = try await makeWork(
                    .backup, for: record.name, volumeClass: record.volumeClass, size: record.size,
                    fileSystem: record.fileSystem)
            }
        } catch let error as VolumeError where error.isDiskFull {
            throw NoRoomForCopy(cause: error)
        }
        let result: Result<Value, any Error>
        do {
            if isPointInTime {
                path = try await store.attach(snapshot).path
            } else {
                try await store.copyLive(record.name, into: work.name, progress: progress)
            }
            result = .success(try await body(path, isPointInTime))
        } catch { result = .failure(error) }
        do { try await discard(work) } catch {
            log.warning("could not remove \(work.name) yet: \(error)")
        }
        return try result.get()
    }

    /// Gives a verified volume made for work the name it was made for; the volume that has the name
    /// goes into the trash.
    func install(_ work: VolumeRecord, as name: VolumeName, owner: UInt64) async throws {
        if try await find(name) != nil { try await store.delete(name) }
        // Through the trash, which is how a volume changes its name; cut off there, it is work that
        // the next start removes, and the restore begins again.
        try await store.delete(work.name)
        try await store.restore(work.id, as: name, owner: owner)
    }
}
