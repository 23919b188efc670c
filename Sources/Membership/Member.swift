import Base
import ClusterModel

/// What the cluster believes of a host.
///
/// The raw value is the rank: at one boot epoch and one incarnation, the higher rank is the newer
/// belief (SWIM §4.2).
package enum MemberStatus: UInt8, Sendable, Equatable, CaseIterable {
    /// It answers.
    case alive = 0
    /// Somebody's probe failed; it may still refute. Counts as alive for everything else.
    case suspect = 1
    /// It stayed silent for the whole suspicion.
    case dead = 2
    /// It said that it goes.
    case left = 3

    /// True while the host takes part: alive or suspect.
    package var isPresent: Bool { self == .alive || self == .suspect }
}

/// A host as gossip sees it.
package struct Member: Sendable, Equatable {
    /// Who.
    package var id: HostID
    /// Which start of its agent.
    ///
    /// A newer one replaces an older one whatever the statuses.
    package var bootEpoch: BootEpoch
    /// Where it takes datagrams.
    package var address: SocketAddress
    /// Raised by the host itself, only, to refute what others say of it.
    package var incarnation: UInt64
    /// What the cluster believes.
    package var status: MemberStatus
    /// What it says of itself; nil until its record arrives.
    ///
    /// After a restart the facts of the start before stay until newer ones arrive.
    package var facts: HostFacts?

    package init(
        id: HostID, bootEpoch: BootEpoch, address: SocketAddress, incarnation: UInt64,
        status: MemberStatus, facts: HostFacts?
    ) {
        self.id = id
        self.bootEpoch = bootEpoch
        self.address = address
        self.incarnation = incarnation
        self.status = status
        self.facts = facts
    }

    /// The start of its agent that takes our datagrams.
    package var identity: PeerIdentity { PeerIdentity(hostID: id, bootEpoch: bootEpoch) }

    /// The belief's age: of two beliefs about one host the one with the greater tuple wins.
    ///
    /// Being a total order makes merging commutative, so the order of arrival never matters.
    var rank: (UInt64, UInt64, UInt8) { (bootEpoch.value, incarnation, status.rawValue) }
}
