import Base

/// One host's part in the replicated log: elections, the lease, replication, voter changes.
///
/// Raft as in D. Ongaro, "Consensus: Bridging Theory and Practice" (2014), with pre-vote (9.6),
/// check-quorum (6.2), leases (6.4.1), single-step voter changes through learners (4.1, 4.2) and
/// lease transfer (3.10). What goes beyond it:
/// - The lease is counted from when a heartbeat was *sent*; who confirmed it refuses its vote for
///   longer than the lease lasts, also after a restart.
/// - A leaseholder that asked another to take over never claims the lease again in its epoch.
/// - Hosts that do not vote get the same entries, and answer the same way.
package struct ConsensusCore: Machine, Sendable {
    /// This host.
    package let id: HostID
    /// Times and bounds.
    package let config: ConsensusConfig

    /// What this host is in its epoch.
    package internal(set) var role = ConsensusRole.follower
    /// Who leads the epoch, as far as known: it was elected, which does not say that it still
    /// holds the lease.
    package internal(set) var leaseholder: HostID?
    /// All entries up to here are committed.
    package internal(set) var commitIndex = LogIndex.zero
    /// All entries up to here were put out as `apply` or stand in a restored snapshot.
    package internal(set) var appliedIndex = LogIndex.zero
    /// True once this host has, since its process started, applied everything that a leaseholder
    /// had committed when it spoke: from then on its state is not older than its restart.
    package internal(set) var hasHeardFromLeaseholder = false

    var random: RandomSource
    var hardState: HardState
    var log: EntryLog
    var snapshot: LogSnapshot?
    /// Voters by the index from which they count; the first is at or before every uncommitted one.
    var configurations: [Configuration]
    var restorePending: Bool
    var announced: Announcement

    // Durability.
    var durableIndex: LogIndex
    var lastTicket: UInt64 = 0
    var pendingPersists: [PendingPersist] = []
    var pendingReplies: [PendingReply] = []
    /// The commit index in the last request.
    var notedCommit = LogIndex.zero
    /// Since when the commit index has been beyond that; nil while it is not.
    var unnotedSince: Instant?

    // Elections.
    /// When a leaseholder was last heard, or this process started: votes are refused for
    /// `electionTimeout.lowerBound` from then.
    var lastHeard: Instant
    var electionDeadline: Instant
    var campaign: Campaign?
    /// The commit index that the leaseholder of this epoch first spoke of.
    var heardCommit: LogIndex?
    var incoming: IncomingSnapshot?

    // Leading.
    var peers: [Progress] = []
    var followers: [HostID] = []
    var wantedVoters: [HostID]?
    var epochStart = LogIndex.zero
    /// Committed and durable here up to this index.
    var settledIndex = LogIndex.zero
    /// The size of the entries after it.
    var unsettledBytes = 0
    var nextVoterHeartbeat = Instant.zero
    var nextFollowerHeartbeat = Instant.zero
    var handover: Handover?
    var leaseGivenUp = false

    /// Starts from what storage holds; `now` counts as a sign of life of an unknown leaseholder.
    package init(
        id: HostID, restored: RestoredLog, config: ConsensusConfig = ConsensusConfig(),
        random: RandomSource, now: Instant
    ) {
        precondition(config.problems().isEmpty, "consensus config: \(config.problems())")
        self.id = id
        self.config = config
        self.random = random
        hardState = restored.hardState
        log = EntryLog(restored: restored)
        snapshot = restored.snapshot
        configurations = ConsensusCore.configurations(of: restored)
        restorePending = restored.snapshot != nil
        durableIndex = log.lastIndex
        // What was committed once stays so: a host alone still knows what was agreed.
        commitIndex = min(restored.commitIndex, log.lastIndex)
        notedCommit = commitIndex
        lastHeard = now
        electionDeadline = now
        announced = Announcement(role: .follower, epoch: hardState.epoch, leaseholder: nil)
        if configurations.last?.voters != [id] {
            electionDeadline = now + self.random.duration(in: config.electionTimeout)
        }
    }

    /// What a new cluster's first host persists: itself as the only voter.
    package static func bootstrap(voter: HostID) -> RestoredLog {
        RestoredLog(
            hardState: HardState(epoch: Epoch(1), votedFor: voter),
            entries: [LogEntry(index: LogIndex(1), epoch: Epoch(1), payload: .voters([voter]))])
    }

    /// The highest epoch this host has seen.
    package var epoch: Epoch { hardState.epoch }

    /// The voters in force, sorted; empty on a host that has just joined.
    package var voters: [HostID] { configurations.last?.voters ?? [] }

    /// The last index of this host's log.
    package var lastIndex: LogIndex { log.lastIndex }

    /// True while this host leads and a majority of the voters has confirmed, within the lease
    /// time, that it does, and everything committed before its epoch is applied here.
    ///
    /// At most one host of a cluster holds the lease at any instant, as long as clocks differ in
    /// speed by less than `leaseDuration` differs from `electionTimeout.lowerBound`.
    package func holdsLease(at now: Instant) -> Bool {
        guard role == .leaseholder, isVoter, !leaseGivenUp, appliedIndex >= epochStart,
            let confirmed = quorumConfirmed(at: now)
        else { return false }
        return now < confirmed + config.leaseDuration
    }

    /// When a tick is due; nil when this host waits for messages only.
    package var nextDeadline: Instant? {
        if restorePending || appliedIndex < commitIndex { return .zero }
        switch role {
        case .leaseholder:
            var deadline = nextVoterHeartbeat
            if peers.contains(where: { $0.kind == .follower }) {
                deadline = min(deadline, nextFollowerHeartbeat)
            }
            return handover.map { min(deadline, $0.deadline) } ?? deadline
        case .follower, .candidate:
            if mayCampaign { return electionDeadline }
            return leaseholder == nil ? nil : lastHeard + config.followerSilenceMax
        }
    }

    /// Takes an input; see `ConsensusInput` and `ConsensusOutput`.
    package mutating func handle(
        _ input: ConsensusInput, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        restoreIfPending(into: &outputs)
        switch input {
        case .tick: break
        case .received(let message, let sender):
            receive(message, from: sender, at: now, into: &outputs)
        case .propose(let ticket, let command):
            propose(command, ticket: ticket, at: now, into: &outputs)
        case .persisted(let ticket): persisted(ticket, at: now, into: &outputs)
        case .setFollowers(let hosts):
            followers = inOrder(hosts)
            refreshPeers(at: now, into: &outputs)
        case .setVoters(let hosts): setVoters(hosts, at: now, into: &outputs)
        case .snapshotTaken(let taken): take(taken, into: &outputs)
        case .transferLease(let target): handOver(to: target, at: now)
        }
        checkDeadlines(at: now, into: &outputs)
        lead(at: now, into: &outputs)
        announce(into: &outputs)
        applyCommitted(into: &outputs)
        noteCommit(at: now, into: &outputs)
    }
}
