import Base
import ClusterModel
import ClusterState

/// Why a slot is where it is, or nowhere: what the scheduler thinks of every host.
package struct Explanation: Equatable, Sendable {
    /// The slot.
    package var slot: SlotID
    /// What one set takes.
    package var demand: Resources
    /// What its volumes take in all.
    package var room: VolumeRoom
    /// Where it is placed; nil when nowhere.
    package var placement: Placement?
    /// The host that it would go to if it were placed anew; nil when none fits.
    package var best: HostID?
    /// Every host: those that fit in the order of preference, then the others by identity.
    package var hosts: [HostExplanation]
}

/// What the scheduler thinks of one host for one slot, as if the slot were not placed.
package struct HostExplanation: Equatable, Sendable {
    /// The host.
    package var host: HostID
    /// Its name.
    package var name: String
    /// Why it was passed over; nil when it fits.
    package var obstacle: PlacementObstacle?
    /// What is to be promised to its volumes there beyond what they have.
    package var room: VolumeRoom
    /// Other sets of the service in its datacentre.
    package var setsInDatacenter: Int
    /// Other sets of the service in its rack.
    package var setsInRack: Int
    /// Other sets of the service on it.
    package var setsOnHost: Int
    /// The scarcest resource's free share in ten-thousandths.
    package var freeShare: Int
}

extension Scheduler {
    /// What the scheduler thinks of every host for this slot; nil when there is no such slot.
    package func explain(
        slot: SlotID, state: ReplicatedState, usable: [HostID]
    ) -> Explanation? {
        guard let record = state.slot(slot), let service = state.service(slot.service) else {
            return nil
        }
        let apart = state.servicesApart(from: slot.service)
        var field = CandidateField(
            service, state: state, tally: Tally(state, usable: usable), apart: apart)
        if !record.isHomeless, let placement = record.placement,
            let position = field.tally.position(of: placement.host)
        {
            field.release(record.demand, at: position)
        }
        let demand = service.spec.demand
        let hosts = field.tally.hosts.indices.map { position in
            let host = field.tally.hosts[position]
            let counts = field.counts(at: position)
            let need = field.need(of: record, in: service, at: position)
            return HostExplanation(
                host: host.id, name: host.name,
                obstacle: field.tally.obstacle(
                    at: position, to: service.spec, demand: demand, apart: apart, volumes: need),
                room: need.room,
                setsInDatacenter: counts.datacenter, setsInRack: counts.rack,
                setsOnHost: counts.host, freeShare: field.freeShare(at: position))
        }
        let ordered = hosts.sorted {
            $0.isBetter(than: $1, spread: service.spec.placement.spread)
        }
        let isPinned = record.volumeHost != nil && !service.spec.volumes.isEmpty
        let best =
            isPinned
            ? ordered.first { $0.obstacle == nil }?.host
            : field.take().map { field.tally.hosts[$0].id }
        return Explanation(
            slot: slot, demand: demand, room: field.volumes.room, placement: record.placement,
            best: best, hosts: ordered)
    }
}

extension HostExplanation {
    fileprivate func isBetter(than other: HostExplanation, spread: [FailureDomain]) -> Bool {
        guard (obstacle == nil) == (other.obstacle == nil) else { return obstacle == nil }
        guard obstacle == nil else { return host < other.host }
        for domain in spread where sets(in: domain) != other.sets(in: domain) {
            return sets(in: domain) < other.sets(in: domain)
        }
        return (other.freeShare, host) < (freeShare, other.host)
    }

    private func sets(in domain: FailureDomain) -> Int {
        switch domain {
        case .datacenter: setsInDatacenter
        case .rack: setsInRack
        case .host: setsOnHost
        }
    }
}
