import Base

extension ConsensusCore {
    /// The configurations in a restored log, the one in force at its snapshot first.
    static func configurations(of restored: RestoredLog) -> [Configuration] {
        var list: [Configuration] = []
        if let snapshot = restored.snapshot {
            list.append(Configuration(index: snapshot.index, voters: snapshot.voters))
        }
        for entry in restored.entries where entry.index > (restored.snapshot?.index ?? .zero) {
            if case .voters(let voters) = entry.payload {
                list.append(Configuration(index: entry.index, voters: voters))
            }
        }
        return list
    }

    /// Hands out the snapshot that this host restarted with, before anything else.
    mutating func restoreIfPending(into outputs: inout [ConsensusOutput]) {
        guard restorePending else { return }
        restorePending = false
        guard let snapshot else { return }
        commitIndex = max(commitIndex, snapshot.index)
        appliedIndex = snapshot.index
        outputs.append(.restore(snapshot))
    }

    /// Notes on disk how far the log is committed, when no other request did so for a while.
    mutating func noteCommit(at now: Instant, into outputs: inout [ConsensusOutput]) {
        guard commitIndex > notedCommit else {
            unnotedSince = nil
            return
        }
        guard let since = unnotedSince else {
            unnotedSince = now
            return
        }
        guard pendingPersists.isEmpty, now - since >= config.commitNoteDelay else { return }
        persist(into: &outputs)
    }

    /// Puts out a request; call it after the log in memory was changed.
    @discardableResult
    mutating func persist(
        hardState: HardState? = nil, truncateFrom: LogIndex? = nil, entries: [LogEntry] = [],
        snapshot: LogSnapshot? = nil, compactThrough: LogIndex? = nil,
        into outputs: inout [ConsensusOutput]
    ) -> UInt64 {
        lastTicket += 1
        let isNews = commitIndex > notedCommit
        if isNews { notedCommit = commitIndex }
        unnotedSince = nil
        outputs.append(
            .persist(
                PersistRequest(
                    ticket: lastTicket, hardState: hardState, truncateFrom: truncateFrom,
                    entries: entries, snapshot: snapshot, compactThrough: compactThrough,
                    commitIndex: isNews ? commitIndex : nil)))
        pendingPersists.append(PendingPersist(ticket: lastTicket, lastIndex: log.lastIndex))
        return lastTicket
    }

    /// Sends what waited for the disk.
    mutating func persisted(
        _ ticket: UInt64, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        let done = pendingPersists.prefix { $0.ticket <= ticket }
        for pending in done where pending.lastIndex > durableIndex {
            durableIndex = pending.lastIndex
        }
        pendingPersists.removeFirst(done.count)
        let ready = pendingReplies.prefix { $0.ticket <= ticket }
        for reply in ready { outputs.append(.send(reply.message, to: reply.target)) }
        pendingReplies.removeFirst(ready.count)
        if let own = campaign?.ownVote, own <= ticket {
            campaign?.ownVote = nil
            requestVotes(at: now, into: &outputs)
        }
    }

    /// Sends a message once everything put out so far is durable.
    mutating func sendWhenDurable(_ message: ConsensusMessage, to target: HostID) {
        pendingReplies.append(
            PendingReply(ticket: lastTicket, message: message, target: target))
    }

    /// Takes entries off the log's end, in memory; the caller persists it.
    mutating func truncateLog(from index: LogIndex) {
        precondition(index > commitIndex, "truncation of a committed entry")
        log.truncate(from: index)
        configurations.removeAll { $0.index >= index }
        forgetDurable(from: index)
    }

    /// Nothing from `index` on counts as durable until a later request is.
    mutating func forgetDurable(from index: LogIndex) {
        let last = LogIndex(index.value - 1)
        durableIndex = min(durableIndex, last)
        for position in pendingPersists.indices {
            pendingPersists[position].lastIndex = min(pendingPersists[position].lastIndex, last)
        }
    }

    /// Appends entries in memory and notes the voters they name; the caller persists it.
    mutating func appendToLog(_ entries: [LogEntry]) {
        log.append(entries)
        for entry in entries {
            if case .voters(let voters) = entry.payload {
                configurations.append(Configuration(index: entry.index, voters: voters))
            }
        }
    }

    /// Puts out what is committed and not applied yet.
    mutating func applyCommitted(into outputs: inout [ConsensusOutput]) {
        if appliedIndex < commitIndex {
            let ready = log.entries(from: appliedIndex.next, through: commitIndex)
            appliedIndex = commitIndex
            outputs.append(.apply(ready))
        }
        guard !hasHeardFromLeaseholder else { return }
        if role == .leaseholder {
            hasHeardFromLeaseholder = appliedIndex >= epochStart
        } else if leaseholder != nil, let heardCommit, appliedIndex >= heardCommit {
            // An applied entry of this epoch stands after all that earlier epochs committed.
            hasHeardFromLeaseholder = log.epoch(at: appliedIndex) == epoch
        }
    }

    /// Reports role, epoch and leaseholder when one of them changed.
    mutating func announce(into outputs: inout [ConsensusOutput]) {
        let current = Announcement(role: role, epoch: epoch, leaseholder: leaseholder)
        guard current != announced else { return }
        announced = current
        outputs.append(.roleChanged(role, epoch: epoch, leaseholder: leaseholder))
    }

    /// Takes a snapshot of applied state as the start of the log.
    mutating func take(_ taken: LogSnapshot, into outputs: inout [ConsensusOutput]) {
        guard taken.index <= appliedIndex, taken.index > (snapshot?.index ?? .zero),
            taken.state.count <= LogSnapshot.stateBytesMax,
            let epoch = log.epoch(at: taken.index),
            let inForce = configurations.last(where: { $0.index <= taken.index })
        else { return }
        let snapshot = LogSnapshot(
            index: taken.index, epoch: epoch, voters: inForce.voters, state: taken.state)
        self.snapshot = snapshot
        let kept = config.trailingEntries
        let through = min(
            LogIndex(taken.index.value > kept ? taken.index.value - kept : 0), durableIndex)
        log.compact(through: through)
        configurations.removeAll { $0.index < inForce.index }
        persist(
            snapshot: snapshot, compactThrough: through > .zero ? through : nil, into: &outputs)
    }
}
