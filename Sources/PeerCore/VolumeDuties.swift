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
            outputs.append(.trashVolumes([volume], reason: reason))
        }
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
