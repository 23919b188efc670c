import Base
import ClusterModel
import ClusterState

/// Finding a host for a slot whose volumes are to be restored from backups.
extension Scheduler {
    /// The restorations that volumes' own rule asks for: `restore-on-loss`.
    ///
    /// `lost` says of a host how long it has been lost, and nothing of one that is not. A slot is
    /// restored by itself only when all its volumes say so and have a backup, after the longest of
    /// their times, on the host that placing finds best. `usable` as in `plan`.
    package func restorations(
        _ state: ReplicatedState, usable: [HostID], maximum: Int = 64,
        lost: (HostID) -> Duration?
    ) -> [(slot: SlotID, restoration: VolumeRestoration)] {
        var tally: Tally?
        var found: [(slot: SlotID, restoration: VolumeRestoration)] = []
        for service in state.services {
            guard let patience = service.spec.restoreOnLoss, service.homelessCount > 0 else {
                continue
            }
            var field: CandidateField?
            for slot in service.slots where slot.isHomeless {
                guard found.count < maximum else { return found }
                guard let holder = slot.volumeHost, let gone = lost(holder), gone >= patience,
                    let sources = state.newestBackups(of: slot.slot, in: service)
                else { continue }
                var current =
                    field
                    ?? CandidateField(
                        service, state: state,
                        tally: tally ?? Tally(restoring: state, usable: usable),
                        apart: state.servicesApart(from: service.name))
                let position = current.take()
                field = current
                guard let position else { break }
                found.append(
                    (
                        slot.slot,
                        VolumeRestoration(host: current.tally.hosts[position].id, sources: sources)
                    ))
            }
            if let field { tally = field.tally }
        }
        return found
    }

    /// The host that placing finds best for a slot; nil when none fits.
    package func hostToRestore(
        _ slot: SlotID, _ state: ReplicatedState, usable: [HostID]
    ) -> HostID? {
        guard let service = state.service(slot.service) else { return nil }
        var field = CandidateField(
            service, state: state, tally: Tally(restoring: state, usable: usable),
            apart: state.servicesApart(from: service.name))
        return field.take().map { field.tally.hosts[$0].id }
    }
}

extension Tally {
    /// What is free once the slots that are being restored are placed where they are restored.
    fileprivate init(restoring state: ReplicatedState, usable: [HostID]) {
        self.init(state, usable: usable)
        for service in state.services where service.homelessCount > 0 {
            for slot in service.slots {
                guard slot.placement == nil, let host = slot.restoration?.host,
                    let position = position(of: host)
                else { continue }
                free[position] = free[position] - service.spec.demand
                if !service.spec.volumes.isEmpty {
                    countVolumes(state)
                    promised[position] = promised[position] + VolumeRoom(service.spec.volumes)
                }
                brought[position].append(service.name)
            }
        }
    }
}

extension ServiceSpec {
    /// How long a host must be lost before its slots are restored elsewhere by themselves; nil when
    /// an operator decides.
    fileprivate var restoreOnLoss: Duration? {
        var longest: Int?
        for volume in volumes {
            guard let seconds = volume.backup?.restoreOnLossSeconds else { return nil }
            longest = max(longest ?? 0, seconds)
        }
        return longest.map { .seconds($0) }
    }
}

extension ReplicatedState {
    /// The newest backup of every volume of a slot that can be reached; nil when one has none.
    package func newestBackups(
        of slot: SlotID, in service: ServiceRecord
    ) -> [VolumeRestoration.Source]? {
        var sources: [VolumeRestoration.Source] = []
        for volume in service.spec.volumes {
            let known = backups(of: slot, volume.name, owner: service.createdAt)
            let newest = known?.newest { host($0)?.status == .active }
            guard let newest else { return nil }
            sources.append(.init(volume: volume.name, backup: newest.backup.id))
        }
        return sources
    }

    /// The end of a sentence on a slot whose host is gone with its volumes: the oldest of their
    /// newest backups, and the command that brings them back; empty without backups.
    func wayBack(of slot: SlotRecord, in service: ServiceRecord) -> String {
        let newest = service.spec.volumes.compactMap {
            backups(of: slot.slot, $0.name, owner: service.createdAt)?
                .newest { host($0)?.status == .active }?.backup
        }
        guard let oldest = newest.min(by: { $0.time < $1.time }),
            let first = service.spec.volumes.first
        else { return "" }
        let command = "`shoal volume restore \(slot.slot)/\(first.name)`"
        if let patience = service.spec.restoreOnLoss,
            newestBackups(of: slot.slot, in: service) != nil,
            let holder = slot.volumeHost, host(holder)?.status == .lost
        {
            let seconds = Int(patience.components.seconds)
            return
                "; restore-on-loss brings it back on another host by itself once that is lost for "
                + "\(Quantity.text(seconds: seconds)), from its backup of \(oldest.time.rfc3339) "
                + "(\(command) does so at once)"
        }
        return "; its newest backup is of \(oldest.time.rfc3339): \(command) brings it back on "
            + "another host"
    }
}
