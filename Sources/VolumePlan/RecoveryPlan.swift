/// One step of putting a store of volumes right after a crash; every step is idempotent.
package enum RecoveryStep: Hashable, Sendable {
    /// Let writes to a volume go on, which a snapshot of it may have stopped.
    case thaw(VolumeID)
    /// Take a volume that was never acknowledged away, and its record after it.
    case undo(VolumeID)
    /// Bring a volume to the size that its record wants.
    case finishGrowth(VolumeID)
    /// Put `old` into the trash and let `new` stand for itself.
    case finishReplacement(new: VolumeID, old: VolumeID)
    /// Remove a volume's content, and its record after it.
    case finishRemoval(VolumeID)
}

/// What records say is to be done after a crash.
package enum RecoveryPlan {
    /// The steps for these records, in the order of the records.
    package static func steps(_ records: [VolumeRecord]) -> [RecoveryStep] {
        records.flatMap { record -> [RecoveryStep] in
            switch record.state {
            case .making(let making):
                guard let origin = record.origin, making == .snapshot || making == .clone else {
                    return [.undo(record.id)]
                }
                return [.thaw(origin), .undo(record.id)]
            case .growing: return [.finishGrowth(record.id)]
            case .replacing(let old): return [.finishReplacement(new: record.id, old: old)]
            case .removing: return [.finishRemoval(record.id)]
            case .ready, .receiving, .trashed: return []
            }
        }
    }

    /// Names that more than one volume answers to; only one volume that replaces another may share
    /// a name with it.
    package static func doubledNames(_ records: [VolumeRecord]) -> [VolumeName] {
        let replaced = records.compactMap { record -> VolumeID? in
            if case .replacing(let old) = record.state { return old }
            return nil
        }
        let names = records.filter { $0.state.holdsName && !replaced.contains($0.id) }.map(\.name)
            .sorted()
        var doubled: [VolumeName] = []
        for (name, next) in zip(names, names.dropFirst())
        where name == next && doubled.last != name {
            doubled.append(name)
        }
        return doubled
    }

    /// The volumes in the trash that were put there `keep` seconds ago or earlier.
    package static func expired(
        _ records: [VolumeRecord], now: Int, keep: Int
    ) -> [VolumeRecord] {
        records.filter { record in
            guard case .trashed(let time, _) = record.state else { return false }
            // A clock that was set back must not empty the trash, so no absolute value.
            return now - time >= keep
        }
    }
}
