import Base

/// The voters from one index on.
struct Configuration: Equatable, Sendable {
    /// The entry (or snapshot) that says so.
    var index: LogIndex
    /// The voters, sorted.
    var voters: [HostID]
}

/// What the interpreter was last told of the role.
struct Announcement: Equatable, Sendable {
    var role: ConsensusRole
    var epoch: Epoch
    var leaseholder: HostID?
}

/// A request on its way to the disk.
struct PendingPersist: Sendable {
    var ticket: UInt64
    /// The log is durable up to here when the request is.
    var lastIndex: LogIndex
}

/// A message that must wait until a request is durable.
struct PendingReply: Sendable {
    var ticket: UInt64
    var message: ConsensusMessage
    var target: HostID
}

/// A running campaign.
struct Campaign: Sendable {
    /// True while it only asks whether it may.
    var preVote: Bool
    /// The leaseholder itself asked for it.
    var transfer = false
    /// The hosts that agreed.
    var granted: [HostID]
    /// The ticket that makes this host's own vote durable; nil once it is, and in a pre-vote.
    var ownVote: UInt64?
}

/// A lease on its way to another host.
struct Handover: Sendable {
    /// The host.
    var target: HostID
    /// When it is given up.
    var deadline: Instant
    /// True once the other was told; from then on this host claims the lease no more.
    var told = false
}

/// A snapshot that arrives in chunks.
struct IncomingSnapshot: Sendable {
    var sender: HostID
    var senderEpoch: Epoch
    var index: LogIndex
    var epoch: Epoch
    var totalBytes: Int
    var voters: [HostID]
    var bytes: [UInt8] = []
}
