import Base
import ClusterModel

/// One change of the cluster's state, as it stands in the log.
///
/// Decisions are data: the log holds what was decided, never the input of a decision, so that
/// applying is cheap and equal on every host. Each command applies whole or is refused with a
/// typed reason; only `decide` and `reportSets` skip single items that went stale on their way.
package enum Command: Equatable, Sendable {
    /// A host says what it is: new, started again, or changed. Ends its being lost.
    case registerHost(HostRegistration)
    /// Membership found the host dead in this start of its agent. Its sets may move.
    case declareHostLost(HostID, BootEpoch, reason: String)
    /// A host that was declared lost answers again.
    case declareHostReturned(HostID, BootEpoch)
    /// The operator gives up on a lost host; its identity and subnet are free again.
    case forgetHost(HostID)
    /// Create a service, or change it.
    case applyService(ServiceSpec)
    /// Change only how many sets a service has.
    case scale(service: String, sets: Int)
    /// Change only the limits of a service's sets, while they run; all of them or none.
    case resize(service: String, ServiceResize)
    /// Take back the limits of this revision of a service, which no set has taken.
    case takeBackLimits(service: String, revision: UInt64)
    /// Delete a service; a tombstone and its spec in the trash remain.
    case deleteService(String)
    /// A reference leads to this image from here on.
    case registerImage(ImageRecord)
    /// The scheduler's decisions, made on the state as of `basedOn`.
    case decide(basedOn: LogIndex, decisions: [SlotDecision])
    /// A host's reports on its sets.
    case reportSets(host: HostID, bootEpoch: BootEpoch, reports: [SetReport])
    /// What volumes a host holds: all of them.
    case reportVolumes(host: HostID, bootEpoch: BootEpoch, volumes: [VolumeReport])
    /// What a host can promise to volumes in all, as it is from now on.
    case offerVolumes(host: HostID, bootEpoch: BootEpoch, VolumeOffer)
    /// Bring a deleted service back, with its volumes.
    case restoreService(String)
    /// What a host says of the backups of one volume: all of them.
    case reportBackups(host: HostID, VolumeBackups)
    /// Forget the backups of a volume that is gone.
    case forgetBackups(SlotID, volume: String, owner: LogIndex)
    /// Give a slot to a host that restores its volumes from backups first; `replaces` also when the
    /// host that has them is alive.
    case restoreVolumes(SlotID, VolumeRestoration, replaces: Bool)
    /// How a restoration goes; an empty problem says that it is done.
    case reportRestoration(SlotID, index: LogIndex, host: HostID, problem: String)
    /// Move a slot with its volumes to this host.
    case startMove(SlotID, to: HostID)
    /// Take a step of the move of a slot that the entry at `move` began.
    case stepMove(SlotID, move: LogIndex, MoveStep)
    /// Something that happened on a host, for the events.
    case notice(host: HostID, bootEpoch: BootEpoch, HostNotice)
    /// Changes nothing: who sees it applied has seen everything before it (a consistent read).
    case barrier
}

/// What a host registers itself with.
package struct HostRegistration: Equatable, Sendable {
    /// Its identity.
    package var id: HostID
    /// The start of its agent that speaks.
    package var bootEpoch: BootEpoch
    /// Its name, for people.
    package var name: String
    /// Where its peers reach it.
    package var address: SocketAddress
    /// What it offers to sets.
    package var capacity: Resources
    /// Where it stands.
    package var zone: Zone
    /// The pool it offers itself to.
    package var pool: String
    /// The version of its agent.
    package var agentVersion: String
    /// What it can do beyond what every host can.
    package var abilities: HostAbilities

    package init(
        id: HostID, bootEpoch: BootEpoch, name: String, address: SocketAddress,
        capacity: Resources, zone: Zone = Zone(), pool: String = "default",
        agentVersion: String = "0.1.0", abilities: HostAbilities = HostAbilities()
    ) {
        self.id = id
        self.bootEpoch = bootEpoch
        self.name = name
        self.address = address
        self.capacity = capacity
        self.zone = zone
        self.pool = pool
        self.agentVersion = agentVersion
        self.abilities = abilities
    }
}

/// An image that some host loaded, under the reference that specs name it by.
package struct ImageRecord: Equatable, Sendable {
    /// The reference, such as `demo/web:1`.
    package var reference: String
    /// The digest of the manifest, `sha256:` and 64 hexadecimal digits.
    package var manifestDigest: String
    /// The size of all its blobs in bytes.
    package var sizeBytes: Int
    /// The host that loaded it first.
    package var loadedBy: HostID

    package init(reference: String, manifestDigest: String, sizeBytes: Int, loadedBy: HostID) {
        self.reference = reference
        self.manifestDigest = manifestDigest
        self.sizeBytes = sizeBytes
        self.loadedBy = loadedBy
    }
}

/// One decision of the scheduler on one slot.
package enum SlotDecision: Equatable, Sendable {
    /// Run the slot on this host at this revision; replaces an older placement.
    case place(SlotID, host: HostID, revision: UInt64)
    /// Take the slot from its host.
    case unplace(SlotID, reason: String)
    /// Nothing fits; the reason is kept for the operator.
    case pending(SlotID, reason: String)

    /// The slot it is about.
    package var slot: SlotID {
        switch self {
        case .place(let slot, _, _), .unplace(let slot, _), .pending(let slot, _): slot
        }
    }
}

/// What a host says of one set it runs.
package struct SetReport: Equatable, Sendable {
    /// The set.
    package var slot: SlotID
    /// The decision it runs for; a report for another one is ignored.
    package var placementIndex: LogIndex
    /// Where it is in its life.
    package var phase: SetPhase
    /// Its IPv4 address, four bytes; empty while it has none.
    package var address: [UInt8]
    /// Why it is not running; empty while it is, and cut to the bound of a kept text.
    package var reason: String
    /// Its containers, in the order of the spec.
    package var containers: [ContainerStatus]
    /// The revision whose limits are in force; 0 while none are.
    package var revision: UInt64

    package init(
        slot: SlotID, placementIndex: LogIndex, phase: SetPhase, address: [UInt8] = [],
        reason: String = "", containers: [ContainerStatus] = [], revision: UInt64 = 0
    ) {
        self.slot = slot
        self.placementIndex = placementIndex
        self.phase = phase
        self.address = address
        self.reason = reason.bounded
        self.containers = containers
        self.revision = revision
    }
}

/// What a host says of one container.
package struct ContainerStatus: Hashable, Sendable {
    /// Its name in the set.
    package var name: String
    /// The process on its host; 0 while there is none.
    package var pid: Int
    /// How often it was started again.
    package var restarts: Int
    /// How its life before this one ended; nil when it never ended.
    package var lastExit: ContainerExit?
    /// Whether it runs.
    package var running: Bool

    package init(
        name: String, pid: Int = 0, restarts: Int = 0, lastExit: ContainerExit? = nil,
        running: Bool = false
    ) {
        self.name = name
        self.pid = pid
        self.restarts = restarts
        self.lastExit = lastExit
        self.running = running
    }
}
