import ClusterModel
import Glibc
import VolumePlan

/// What people are told of a volume beside its size: how full it is, and what is wrong with it.
extension VolumeStore {
    /// A volume's condition, as far as the last looks at it showed.
    func condition(_ record: VolumeRecord, isMounted: Bool) -> VolumeCondition {
        var condition = VolumeCondition()
        if goneContent.contains(record.id) {
            condition = VolumeCondition(
                trouble: .gone,
                reason: isMounted
                    ? "its content was removed from the disk, and what still uses it works on the "
                        + "last of it: copy what is needed out of it before it is unmounted, then "
                        + "restore it from a backup"
                    : "its content is gone: restore it from a backup with `shoal volume restore "
                        + "\(record.name.base)`")
        } else if let failure = watched[record.id]?.failure, !failure.isEmpty {
            condition = VolumeCondition(
                trouble: .failed, reason: "\(failure); \(VolumeEvent.failureAdvice)")
        } else if markedContent.contains(record.id) {
            condition = VolumeCondition(
                trouble: .failed,
                reason: "its file system met an error, and is checked when it is next mounted")
        }
        guard let watched = watched[record.id] else { return condition }
        condition.filledPercent = watched.steady.level.percent
        condition.isHeld = watched.isHeld
        return condition
    }

    /// Looks whether volumes have their content, and whether that of unmounted ones is damaged.
    ///
    /// `logical` is what lvs(8) says of logical volumes, those whose content is there; `known` are
    /// the records from before it was asked. What an operation works on stays as it was: it may be
    /// between two places.
    func lookAtContent(
        _ table: MountTable, known: [VolumeID: VolumeRecord], logical: [VolumeID: Int]
    ) {
        for record in records.values {
            guard record.state == .ready || record.state.isTrashed else { continue }
            guard locks.take(record.name.base) else { continue }
            defer { locks.release(record.name.base) }
            let isThere: Bool
            if record.volumeClass == .lvm {
                guard known[record.id]?.state == record.state else { continue }
                isThere = logical[record.id] != nil
            } else {
                let right = record.state.isTrashed ? folders.trash : folders.data
                let attempt = "look for \(record.name)"
                // What cannot be looked at now is not known to be gone.
                guard
                    let found = try? right.status(of: backingName(record), attempt: attempt) != nil
                else { continue }
                isThere = found
            }
            if isThere { goneContent.remove(record.id) } else { goneContent.insert(record.id) }
            lookForMark(record, table, isThere: isThere)
        }
        goneContent = goneContent.filter { records[$0] != nil }
        markedContent = markedContent.filter { records[$0] != nil }
    }

    /// Whether the superblock of a file's ext4 says that it is damaged; while it is mounted the
    /// kernel says so, and repairs are seen at the next mount.
    private func lookForMark(_ record: VolumeRecord, _ table: MountTable, isThere: Bool) {
        markedContent.remove(record.id)
        guard isThere, record.volumeClass == .loop,
            record.fileSystem == .ext4,
            record.state.isTrashed || table.mount(at: mountPath(record)) == nil
        else { return }
        let isMarked = try? VolumeStore.isMarked(
            imagePath(record), attempt: "look at \(record.name)")
        if isMarked == true { markedContent.insert(record.id) }
    }
}
