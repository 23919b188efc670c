import Base

/// How far one peer's log is, as the leaseholder knows it.
struct Progress: Sendable {
    /// What the leaseholder does for the peer.
    enum Mode: Equatable, Sendable {
        /// Looks for where the logs agree; sends heartbeats only.
        case probe
        /// Sends entries without waiting for answers, within the bounds.
        case replicate
        /// Sends a snapshot, chunk by chunk.
        case snapshot(Transfer)
    }

    /// A snapshot on its way.
    struct Transfer: Equatable, Sendable {
        /// What is sent; kept even when a newer one is taken meanwhile.
        var snapshot: LogSnapshot
        /// Where the chunk that is on its way starts.
        var offset: Int
        /// When that chunk was sent.
        var sentAt: Instant
    }

    /// What the peer is to the log.
    enum Kind: Equatable, Sendable {
        /// It votes.
        case voter
        /// It is about to vote.
        case learner
        /// It follows.
        case follower
    }

    /// Entries on their way.
    struct Flight: Equatable, Sendable {
        /// The last index of the message.
        var last: LogIndex
        /// The entries' size.
        var bytes: Int
    }

    /// The peer.
    let id: HostID
    /// What it is.
    var kind: Kind
    /// What is done for it.
    var mode = Mode.probe
    /// Its log is equal to ours and durable up to here.
    var match = LogIndex.zero
    /// The next entry to send.
    var next: LogIndex
    /// Messages with entries that are not answered yet.
    var inflight: [Flight] = []
    /// The highest commit index sent to it.
    var sentCommit = LogIndex.zero
    /// When it last answered; at first when this host began to lead.
    var lastHeard: Instant
    /// True once it answered.
    var hasAnswered = false
    /// When the latest heartbeat that it confirmed was sent.
    var confirmed: Instant?

    /// Bytes of entries on their way.
    var inflightBytes: Int { inflight.reduce(0) { $0 + $1.bytes } }

    /// Takes note of what is durable there.
    mutating func advance(to index: LogIndex) {
        if index > match { match = index }
        if next <= match { next = match.next }
        inflight.removeAll { $0.last <= match }
    }

    /// Looks again for where the logs agree.
    mutating func probe(from index: LogIndex) {
        mode = .probe
        next = index
        inflight = []
    }
}
