import Base
import ClusterModel

/// A service as the log knows it.
package struct ServiceRecord: Equatable, Sendable {
    /// What is wanted.
    package var spec: ServiceSpec
    /// The number of the current revision; the first is 1.
    ///
    /// Rises with every change but that of `sets` and `priority`, which leave running sets alone.
    package var revision: UInt64
    /// The last revisions, oldest first, the current one at the end.
    package var revisions: [ServiceRevision]
    /// The entry that created it.
    package var createdAt: LogIndex
    /// The entry that last took slots away; zero when none did.
    package var shrunkAt: LogIndex
    /// One record for each ordinal from 0.
    package internal(set) var slots: [SlotRecord]
    /// How many slots need a host: without placement, or their host is lost.
    package internal(set) var homelessCount: Int
    /// How many placed slots run an older revision.
    package internal(set) var outdatedCount: Int

    /// The service's name.
    package var name: String { spec.name }

    /// The spec of a revision; nil when it is no longer kept.
    package func spec(revision: UInt64) -> ServiceSpec? {
        revisions.last { $0.number == revision }?.spec
    }
}

/// One revision of a service's template.
package struct ServiceRevision: Equatable, Sendable {
    /// Its number.
    package var number: UInt64
    /// What was applied.
    package var spec: ServiceSpec
    /// The entry that applied it.
    package var index: LogIndex
    /// When it was proposed.
    package var time: WallTime
}

/// A slot as the log knows it.
package struct SlotRecord: Equatable, Sendable {
    /// Its identity.
    package var slot: SlotID
    /// Where it runs; stays on a lost host until there is room elsewhere.
    package internal(set) var placement: Placement?
    /// What the placed revision takes.
    package internal(set) var demand: Resources
    /// True while its host is lost.
    package internal(set) var stranded: Bool
    /// Why it has no host, or why its newer revision waits; empty when it is where it should be.
    package internal(set) var pendingReason: String
    /// The entry that last placed, unplaced or created it.
    package internal(set) var changedAt: LogIndex
    /// The host that holds its volumes: it runs nowhere else; nil while it has none.
    package internal(set) var volumeHost: HostID?
    /// The order to restore its volumes; nil when nothing is to be restored.
    package internal(set) var restoration: VolumeRestoration?
    /// What its host last said; nil before its first report on this placement.
    package internal(set) var report: SetStatus?

    /// Where the set is in its life.
    package var phase: SetPhase {
        guard placement != nil, !stranded else { return .pending }
        return report?.phase ?? .starting
    }

    /// The set's IPv4 address, four bytes; empty while none is known.
    package var address: [UInt8] { report?.address ?? [] }

    /// Why it is not running, in words; empty while it is.
    package var reason: String {
        guard placement != nil, !stranded else { return pendingReason }
        return report?.reason ?? ""
    }

    /// True when the scheduler has to find a host for it.
    package var isHomeless: Bool { placement == nil || stranded }
}

/// What a host last said of a set, as the state keeps it.
package struct SetStatus: Equatable, Sendable {
    /// Where it is in its life.
    package var phase: SetPhase
    /// Its IPv4 address, four bytes; empty while it has none.
    package var address: [UInt8]
    /// Why it is not running; empty while it is.
    package var reason: String
    /// Its containers, in the order of the spec.
    package var containers: [ContainerStatus]
    /// The revision whose limits are in force; 0 while none are.
    package var revision: UInt64
    /// The start of the agent that reported.
    package var bootEpoch: BootEpoch
    /// The number of the request that brought it; older ones are ignored.
    package var requestNumber: UInt64
}

/// What remains of a deleted service: so that agents can tell deletion from ignorance.
package struct Tombstone: Equatable, Sendable {
    /// The service's name.
    package var service: String
    /// The entry that deleted it.
    package var index: LogIndex
    /// When it was deleted.
    package var time: WallTime
    /// What it was, for restoring it.
    package var spec: ServiceSpec
    /// The entry that had created it: its volumes know it by that.
    package var createdAt: LogIndex
}

/// What a host should do with a set that it runs.
package enum SetVerdict: Equatable, Sendable {
    /// It is where it should be.
    case keep
    /// The log says that it should not run there any more.
    case stop(reason: String)
    /// The log says nothing of it: keep it running.
    case unknown
}
