import Base

/// What a peer is in its epoch.
package enum ConsensusRole: String, Equatable, Sendable {
    /// Takes entries from a leaseholder, or waits for one. Hosts that do not vote are always this.
    case follower
    /// Asks the other voters whether it may lead, or for their votes.
    case candidate
    /// Leads the epoch. Whether it may act is what `ConsensusCore.holdsLease` says.
    case leaseholder
}

/// What may happen to the consensus core.
package enum ConsensusInput: Sendable {
    /// Time passed; at the latest at `nextDeadline`.
    case tick
    /// A message came from an authenticated peer.
    case received(ConsensusMessage, from: HostID)
    /// Someone on this host wants a command in the log. Answered at once by `proposalAppended` or
    /// `proposalRefused`; appended is not yet committed: that is when `apply` shows the index with
    /// the same epoch. An entry of another epoch at that index means that the command was lost.
    case propose(ticket: UInt64, [UInt8])
    /// The request with this ticket and all before it are durable.
    case persisted(ticket: UInt64)
    /// The hosts that follow without voting; kept on every host, used while it leads.
    case setFollowers([HostID])
    /// The wanted voters. Ignored unless this host leads, forgotten when it stops leading. The
    /// leaseholder goes there one host at a time, each caught up before it counts; one that is
    /// not wanted itself hands the lease over last. Lists that are empty or longer than
    /// `LogEntry.votersMax - 1` are ignored.
    case setVoters([HostID])
    /// The state machine's state at an applied index. Epoch and voters are set by the core. Older
    /// entries are dropped, but for `ConsensusConfig.trailingEntries`.
    case snapshotTaken(LogSnapshot)
    /// Hand the lease to this voter once it has the whole log. Ignored unless this host leads and
    /// the other votes.
    case transferLease(to: HostID)
}

/// What the interpreter must do, in order.
package enum ConsensusOutput: Equatable, Sendable {
    /// Make this durable, in order, and report it with `.persisted`. Until then the core itself
    /// holds back all that depends on it; later outputs need not wait.
    case persist(PersistRequest)
    /// Send to a peer, or drop: every message may be lost, repeated or delayed.
    case send(ConsensusMessage, to: HostID)
    /// Apply these committed entries; they continue what was applied or restored before.
    case apply([LogEntry])
    /// Replace the state machine's state by this snapshot.
    case restore(LogSnapshot)
    /// Role, epoch or the known leaseholder changed.
    case roleChanged(ConsensusRole, epoch: Epoch, leaseholder: HostID?)
    /// The proposal is in the leaseholder's log at this place.
    case proposalAppended(ticket: UInt64, index: LogIndex, epoch: Epoch)
    /// The proposal is not in the log: ask the leaseholder, or again later when there is none, or
    /// when it is this host (too much is uncommitted, or the command is too large).
    case proposalRefused(ticket: UInt64, leaseholder: HostID?)
}
