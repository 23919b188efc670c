import Base
import ClusterModel

/// Which host holds which volumes, and what is to become of them.
extension ReplicatedState {
    /// What a host last told of its volumes; empty when it told nothing.
    package func volumes(of host: HostID) -> [VolumeReport] {
        hostVolumes.position(of: host) { $0.host }.map { hostVolumes[$0].volumes } ?? []
    }

    /// Takes in what a host says of its volumes; what is older than the last word is ignored.
    mutating func report(
        _ volumes: [VolumeReport], of id: HostID, _ bootEpoch: BootEpoch, _ change: inout Change
    ) throws(CommandRefusal) {
        guard let host = host(id) else {
            throw CommandRefusal(.hostUnknown, "host \(id.short) is not registered")
        }
        guard volumes.count <= Limits.volumesOfHost else {
            throw CommandRefusal(
                .tooMany, "\(volumes.count) volumes on \(host.name) are more than are kept")
        }
        guard bootEpoch >= host.bootEpoch else { return }
        let told = HostVolumes(
            host: id, volumes: volumes.sorted { $0.id < $1.id }, bootEpoch: bootEpoch,
            requestNumber: change.request.number)
        guard let position = hostVolumes.position(of: id, by: { $0.host }) else {
            noteVolumes([], told.volumes, on: host.name, &change)
            let place = hostVolumes.lowerBound(of: id) { $0.host }
            hostVolumes.insert(told, at: place)
            return settleMoves(volumes, of: id)
        }
        let known = hostVolumes[position]
        guard (known.bootEpoch, known.requestNumber) < (bootEpoch, told.requestNumber) else {
            return
        }
        noteVolumes(known.volumes, told.volumes, on: host.name, &change)
        hostVolumes[position] = told
        settleMoves(volumes, of: id)
    }

    /// Events for what became of each volume; both lists are sorted by identity.
    private func noteVolumes(
        _ before: [VolumeReport], _ after: [VolumeReport], on host: String,
        _ change: inout Change
    ) {
        for volume in after {
            let old = before.position(of: volume.id, by: { $0.id }).map { before[$0] }
            let size = Quantity.display(bytes: volume.sizeBytes)
            let what: String? =
                switch (old, old?.trashedAt, volume.trashedAt) {
                case (nil, _, nil): "made on \(host), \(size)"
                case (.some, nil, .some): "in the trash of \(host), \(size)"
                case (.some, .some, nil): "taken out of the trash of \(host), \(size)"
                case (.some(let old), _, _) where old.sizeBytes != volume.sizeBytes:
                    "has \(size) now, had \(Quantity.display(bytes: old.sizeBytes))"
                default: nil
                }
            if let what { change.note(.volumeChanged, volume.title, what) }
            for (kind, turn) in volume.turns(since: old, on: host) {
                change.note(kind, volume.title, turn)
            }
        }
        for volume in before where after.position(of: volume.id, by: { $0.id }) == nil {
            change.note(.volumeChanged, volume.title, "removed from \(host) for good")
        }
    }

    /// The host that holds volumes of a slot, made for the service created at `owner`.
    ///
    /// Those in a trash count: a slot that comes back wants its own again. A host that is not lost
    /// before one that is, then the one that has most of them, then the first by identity. Where
    /// the service has none, the host that has volumes of these names that belong to nobody: clones
    /// made for the slot, and what was restored.
    func volumeHolder(of slot: SlotID, owner: LogIndex, names: [String]) -> HostID? {
        if let arrival = arrival(of: slot, owner: owner) { return arrival }
        if let own = ownVolumeHolder(of: slot, owner: owner) { return own }
        var best: (host: HostID, count: Int)?
        for told in hostVolumes {
            let count = told.volumes.count {
                $0.slot == slot && $0.isSpare && names.contains($0.name)
            }
            if count > best?.count ?? 0 { best = (told.host, count) }
        }
        return best?.host
    }

    private func ownVolumeHolder(of slot: SlotID, owner: LogIndex) -> HostID? {
        var best: (host: HostID, isActive: Int, inUse: Int, all: Int)?
        for told in hostVolumes {
            let own = told.volumes.filter {
                $0.slot == slot && $0.owner == owner
                    && finishedMove(leaving: $0.id, on: told.host) == nil
            }
            let inUse = own.count { $0.trashedAt == nil }
            let isActive = host(told.host)?.status == .active ? 1 : 0
            let before = (best?.isActive ?? -1, best?.inUse ?? -1, best?.all ?? -1)
            guard !own.isEmpty, (isActive, inUse, own.count) > before else { continue }
            best = (told.host, isActive, inUse, own.count)
        }
        return best?.host
    }

    /// What a host should do with a volume in use: `stop` means into the trash.
    ///
    /// Only a newer fact of the log takes a volume away from its slot: a tombstone, fewer slots,
    /// another host for its volumes, a spec without it. Absence never means delete.
    package func verdict(on volume: VolumeReport, host id: HostID) -> SetVerdict {
        if let finished = finishedMove(leaving: volume.id, on: id) {
            let other = host(finished.move.target)?.name ?? finished.move.target.short
            return .stop(reason: "the slot moved to host \(other) with its volumes")
        }
        // What belongs to no service is nobody's to take away: an operator made it, and removes it.
        guard volume.owner != .zero, volume.snapshot == nil, volume.owner <= appliedIndex else {
            return .unknown
        }
        let name = volume.slot.service
        guard let service = service(name) else {
            let deleted = tombstones.last { $0.service == name }
            guard let deleted, deleted.index > volume.owner else { return .unknown }
            return .stop(reason: "service \(name) was deleted")
        }
        guard service.createdAt == volume.owner else {
            guard service.createdAt > volume.owner else { return .unknown }
            return .stop(reason: "it belonged to an earlier service \(name)")
        }
        guard service.slots.indices.contains(volume.slot.ordinal) else {
            guard service.shrunkAt > volume.owner else { return .unknown }
            return .stop(reason: "service \(name) has only \(service.slots.count) sets")
        }
        let record = service.slots[volume.slot.ordinal]
        if let holder = record.volumeHost, holder != id {
            let other = host(holder)?.name ?? holder.short
            return .stop(reason: "the slot's volumes are on host \(other) now")
        }
        guard let placement = record.placement, placement.host == id,
            let spec = service.spec(revision: placement.revision)
        else { return .unknown }
        guard spec.volumes.contains(where: { $0.name == volume.name }) else {
            return .stop(reason: "the sets of \(name) have no volume \(volume.name) any more")
        }
        return .keep
    }

    /// Brings a deleted service back as it was; its sets take their volumes out of the trash.
    mutating func restoreService(
        _ name: String, _ change: inout Change
    ) throws(CommandRefusal) {
        guard service(name) == nil else {
            throw CommandRefusal(
                .invalid,
                "there is a service \(name); delete it first to restore the one before it")
        }
        guard let position = tombstones.lastIndex(where: { $0.service == name }) else {
            throw CommandRefusal(
                .serviceUnknown,
                "there is no deleted service '\(name.bounded)'; `shoal trash` lists them")
        }
        let tombstone = tombstones[position]
        try check(tombstone.spec)
        try createService(tombstone.spec, createdAt: tombstone.createdAt, &change)
        tombstones.remove(at: position)
    }
}
