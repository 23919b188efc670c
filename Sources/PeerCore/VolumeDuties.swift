import Base
import ClusterModel
import ClusterState

/// The volumes on this host: which no slot wants any more, and what the log should know of them.
extension Peer {
    /// The host's word on its volumes, sorted by identity.
    ///
    /// As many as the log takes from one host; what is in use goes before what is in the trash.
    mutating func take(volumes: [VolumeReport]) {
        let kept = volumes.filter { $0.trashedAt == nil } + volumes.filter { $0.trashedAt != nil }
        hosted.volumes = kept.prefix(Limits.volumesOfHost).sorted { $0.id < $1.id }
        hosted.trashOrdered = []
        hosted.stateChanged = true
    }

    /// Orders volumes into the trash whose slots are gone from here by a newer fact of the log.
    ///
    /// Never while a set of the slot is on this host: it may be using them.
    mutating func trashWhatIsUnwanted(into outputs: inout [PeerOutput]) {
        for volume in hosted.volumes ?? []
        where volume.trashedAt == nil && !hosted.trashOrdered.contains(volume.id) {
            guard case .stop(let reason) = state.verdict(on: volume, host: id) else { continue }
            if let set = hosted[volume.slot],
                set.order?.spec.volumes.contains(where: {
                    $0.name == volume.name
                }) ?? true
            {
                continue
            }
            hosted.trashOrdered.insert(volume.id)
            var order = volume
            // Or a service that is restored would have two that look alike.
            if state.isLeftBehind(volume, on: id) { order.owner = .zero }
            outputs.append(.trashVolumes([order], reason: reason))
        }
    }

    /// What this host lacks for the volumes of a set; nil when it may make or grow them.
    ///
    /// By its own word on what it holds and can promise, which is newer than the log's. A set that
    /// is here and whose volumes need nothing more is never held up.
    func volumeShortage(for order: SetOrder) -> PlacementObstacle? {
        guard !order.spec.volumes.isEmpty, let offer = hosted.offer else { return nil }
        let ledger = VolumeLedger(hosted.volumes ?? state.volumes(of: id))
        var need = VolumeNeed(order.spec.volumes)
        need.room = ledger.growth(
            of: order.placement.slot, to: order.spec.volumes, owner: order.owner)
        if hosted[order.placement.slot] != nil, need.room == VolumeRoom() { return nil }
        var promised = ledger.held
        for (slot, set) in hosted.sets where slot != order.placement.slot {
            guard let other = set.order else { continue }
            promised =
                promised + ledger.growth(of: slot, to: other.spec.volumes, owner: other.owner)
        }
        return offer.shortage(for: need, promised: promised)
    }

    /// Makes the log know what this host can promise to volumes.
    mutating func offerVolumesIfChanged(at now: Instant) {
        guard let offer = hosted.offer, let host = state.host(id) else { return }
        if let number = hosted.offerNumber, submissions.contains(number) { return }
        hosted.offerIsUntold = host.volumeOffer != offer
        guard hosted.offerIsUntold else { return }
        if let last = hosted.lastOffer, last.offer == offer, now < last.retryAt { return }
        hosted.lastOffer = (offer, now + HostDuties.sameReportsRetry)
        hosted.offerNumber = enqueue(
            .offerVolumes(host: id, bootEpoch: bootEpoch, offer), ticket: nil, at: now)
    }

    /// Sends the whole list when the log says otherwise; one report is on its way at a time.
    ///
    /// One that the log took but that changed nothing there is repeated slowly.
    mutating func reportVolumesIfChanged(at now: Instant) {
        guard let volumes = hosted.volumes, state.host(id) != nil else { return }
        if let number = hosted.volumesNumber, submissions.contains(number) { return }
        hosted.volumesAreUntold = volumes != state.volumes(of: id)
        guard hosted.volumesAreUntold else { return }
        if let last = hosted.lastVolumes, last.volumes == volumes, now < last.retryAt { return }
        hosted.lastVolumes = (volumes, now + HostDuties.sameReportsRetry)
        hosted.volumesNumber = enqueue(
            .reportVolumes(host: id, bootEpoch: bootEpoch, volumes: volumes), ticket: nil, at: now)
    }
}
