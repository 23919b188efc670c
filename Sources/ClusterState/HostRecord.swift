import Base
import ClusterModel

/// A host as the log knows it.
package struct HostRecord: Equatable, Sendable {
    /// What it last registered.
    package var registration: HostRegistration
    /// Whether sets may run on it.
    package var status: HostStatus
    /// Why it is lost; empty while it is active.
    package var statusReason: String
    /// Number of its /24 in the cluster's network; kept as long as the host is known.
    package var subnetIndex: Int
    /// The entry that registered it first.
    package var registeredAt: LogIndex
    /// What the sets placed on it take; kept up to date with every placement.
    package internal(set) var allocated: Resources
    /// The slots placed on it, sorted; kept up to date with every placement.
    package internal(set) var slots: [SlotID]
    /// What it can promise to volumes; nil before it told: until then it gets no new volumes.
    package internal(set) var volumeOffer: VolumeOffer?

    /// Its identity.
    package var id: HostID { registration.id }
    /// Its name, for people.
    package var name: String { registration.name }
    /// The start of its agent that registered.
    package var bootEpoch: BootEpoch { registration.bootEpoch }
    /// What is left for further sets; a part can be negative after the host shrank.
    package var free: Resources { registration.capacity.offered - allocated }
}

/// Whether sets may run on a host.
package enum HostStatus: String, Hashable, Sendable, CaseIterable {
    /// It is part of the cluster.
    case active
    /// It was found dead; its sets move as far as there is room elsewhere.
    case lost
}
