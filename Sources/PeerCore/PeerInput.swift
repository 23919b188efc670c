import Base
import ClusterModel
import ClusterState
import Consensus
import Membership

/// What may happen to a host.
package enum PeerInput: Sendable {
    /// Time passed: due at `nextDeadline` at the latest.
    case tick
    /// An authenticated datagram arrived: a membership message.
    case datagram([UInt8], from: HostID, bootEpoch: BootEpoch, address: SocketAddress)
    /// An authenticated message arrived over a kept connection: a `PeerMessage`.
    case message([UInt8], from: HostID)
    /// A persist output is on disk.
    case persisted(ticket: UInt64)
    /// Somebody at this host wants a write; the answer carries the same ticket.
    case submit(ticket: UInt64, Command)
    /// What the host found running when the agent started. Nothing is ordered before this.
    case inventory([SetObservation])
    /// The host's report on one set.
    case observed(SetObservation)
    /// Addresses to join the cluster through: from the command line, or remembered.
    case join([SocketAddress])
    /// The host's own facts changed: capacity, zone, pool.
    case facts(HostFacts)
    /// Civil time at this instant, for what the log records.
    case clock(WallTime)
    /// All volumes that this host holds, those in its trash included.
    case volumes([VolumeReport])
    /// What this host can promise to volumes in all; told again whenever that changed.
    case offer(VolumeOffer)
    /// The agent is about to stop for good: say so to the others.
    case leave
}

/// What the interpreter must do, in this order.
package enum PeerOutput: Sendable {
    /// Make this durable, then hand in `.persisted(ticket)`.
    case persist(PersistRequest)
    /// Send a datagram; it may be lost. Only the receiver may take it: that start of that host's
    /// agent, or a newer one; nil is for whoever is at the address.
    case sendDatagram([UInt8], to: SocketAddress, receiver: PeerIdentity?)
    /// Send over the kept connection to that host; it may be lost when the connection breaks.
    case sendMessage([UInt8], to: HostID, at: SocketAddress)
    /// Make this set run, with these limits, and report with `.observed`. Idempotent; a running
    /// set of the same decision is only resized.
    case run(SetOrder)
    /// Start this container of a running set again and report.
    case restart(SlotID, placementIndex: LogIndex, container: String)
    /// Put these volumes, which no slot wants any more, into the trash; then tell the inventory.
    /// One whose owner is zero belongs to no service there.
    case trashVolumes([VolumeReport], reason: String)
    /// End this set, remove what belongs to it, and report `.gone`. Idempotent.
    case stop(SlotID, placementIndex: LogIndex, reason: String)
    /// The submitted write is in the log and applied here: tell the asker.
    case answered(ticket: UInt64, CommandOutcome, index: LogIndex)
    /// The submitted write was not seen in the log in time: tell the asker why.
    case unanswered(ticket: UInt64, SubmitFailure)
    /// The state changed: wake whoever watches.
    case applied(through: LogIndex, events: [Event])
    /// A host came, went or changed.
    case member(Member, from: MemberStatus?)
    /// The lease moved, as far as this host knows.
    case lease(holder: HostID?, epoch: Epoch)
    /// Something an operator of this host may want to read in the log.
    case note(PeerNote)
}

/// Why a write got no answer.
///
/// It may still take effect later, once a majority is back.
package enum SubmitFailure: Sendable, Equatable {
    /// Nobody holds the lease: no majority of the voters is reachable.
    case noLeaseholder(waited: Duration, votersAlive: Int, voters: Int)
    /// A leaseholder is known, but the write did not come back in time.
    case timedOut(waited: Duration, leaseholder: HostID)
    /// Too many writes wait at this host already.
    case tooManyWaiting(maximum: Int)
}

/// Things worth a line in the host's log.
package enum PeerNote: Sendable, Equatable {
    /// Bytes from a peer that are no message of ours.
    case undecodable(from: HostID, what: String)
    /// A log entry this version cannot read; skipped, as on every host of this version.
    case unreadableEntry(LogIndex)
    /// A running set that the cluster's state does not know: left alone.
    case unknownSet(SlotID)
    /// The cluster refuses this host as it is.
    case registrationRefused(String)
}

/// One order to run a set: everything the host needs, as data.
package struct SetOrder: Sendable, Equatable {
    /// The decision.
    package var placement: Placement
    /// The service's template at the placement's revision.
    package var spec: ServiceSpec
    /// Number of the host's own subnet in the cluster's network.
    package var subnetIndex: Int
    /// The entry that created the service: the set's volumes know it by that.
    package var owner: LogIndex
}

/// What a host sees of one set.
package struct SetObservation: Sendable, Equatable {
    /// The set.
    package var slot: SlotID
    /// The decision it was started for.
    package var placementIndex: LogIndex
    /// How far it is.
    package var state: State
    /// Its IPv4 address, four bytes; empty while it has none.
    package var address: [UInt8]
    /// Its containers, in the order of the spec.
    package var containers: [ContainerObservation]
    /// What it takes of the host, also while it is being ended.
    package var demand: Resources
    /// The revision whose limits are in force; 0 while none are.
    package var revision: UInt64
    /// Why newer limits are not in force, or not all of those of this revision (a volume could not
    /// grow), in words for people; empty when they are.
    package var resizeRefusal: String

    /// How far a set is.
    package enum State: Sendable, Equatable {
        /// Being made.
        case starting
        /// All containers were started; each may have exited since.
        case started
        /// Could not be made; tried again after a delay.
        case failed(reason: String)
        /// Nothing of it is left.
        case gone
    }

    package init(
        slot: SlotID, placementIndex: LogIndex, state: State, address: [UInt8] = [],
        containers: [ContainerObservation] = [], demand: Resources = Resources(),
        revision: UInt64 = 0, resizeRefusal: String = ""
    ) {
        self.slot = slot
        self.placementIndex = placementIndex
        self.state = state
        self.address = address
        self.containers = containers
        self.demand = demand
        self.revision = revision
        self.resizeRefusal = resizeRefusal
    }
}

/// What a host sees of one container.
package struct ContainerObservation: Sendable, Equatable {
    /// Its name in the set.
    package var name: String
    /// The process, while it runs.
    package var pid: Int?
    /// How it ended, once it did.
    package var exit: ContainerExit?

    package init(name: String, pid: Int? = nil, exit: ContainerExit? = nil) {
        self.name = name
        self.pid = pid
        self.exit = exit
    }
}
