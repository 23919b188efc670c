import Base

extension ConsensusCore {
    /// Begins to lead the epoch that this host was elected for.
    mutating func startLeading(at now: Instant, into outputs: inout [ConsensusOutput]) {
        role = .leaseholder
        leaseholder = id
        campaign = nil
        wantedVoters = nil
        handover = nil
        leaseGivenUp = false
        incoming = nil
        peers = []
        nextVoterHeartbeat = now + config.heartbeatInterval
        nextFollowerHeartbeat = now + config.followerHeartbeatInterval
        settledIndex = max(min(commitIndex, durableIndex), log.baseIndex)
        unsettledBytes = log.byteCount(from: settledIndex.next, through: log.lastIndex)
        epochStart = log.lastIndex.next
        appendAsLeaseholder(.noop, at: now, into: &outputs)
        refreshPeers(at: now, into: &outputs)
    }

    /// Forgets what only a leaseholder knows.
    mutating func stopLeading(at now: Instant) {
        guard role == .leaseholder else { return }
        peers = []
        wantedVoters = nil
        handover = nil
        resetElectionDeadline(at: now)
    }

    /// Appends a command, or says why not.
    mutating func propose(
        _ command: [UInt8], ticket: UInt64, at now: Instant,
        into outputs: inout [ConsensusOutput]
    ) {
        guard role == .leaseholder, handover == nil else {
            let hint = role == .leaseholder ? nil : leaseholder
            outputs.append(.proposalRefused(ticket: ticket, leaseholder: hint))
            return
        }
        let unsettled = log.lastIndex.value - settledIndex.value
        guard command.count <= LogEntry.commandBytesMax,
            unsettledBytes + command.count <= config.uncommittedBytesMax,
            unsettled < UInt64(config.uncommittedEntriesMax)
        else {
            outputs.append(.proposalRefused(ticket: ticket, leaseholder: id))
            return
        }
        appendAsLeaseholder(.command(command), at: now, into: &outputs)
        outputs.append(
            .proposalAppended(ticket: ticket, index: log.lastIndex, epoch: epoch))
    }

    /// Adds an entry of this epoch to the log.
    mutating func appendAsLeaseholder(
        _ payload: EntryPayload, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        let entry = LogEntry(index: log.lastIndex.next, epoch: epoch, payload: payload)
        unsettledBytes += entry.byteCount
        appendToLog([entry])
        persist(entries: [entry], into: &outputs)
    }

    /// A leaseholder's work after every input.
    mutating func lead(at now: Instant, into outputs: inout [ConsensusOutput]) {
        guard role == .leaseholder else { return }
        advanceCommit(at: now, into: &outputs)
        changeVoters(at: now, into: &outputs)
        advanceCommit(at: now, into: &outputs)
        heartbeat(at: now, into: &outputs)
        for position in peers.indices { replicate(to: position, at: now, into: &outputs) }
        advanceHandover(at: now, into: &outputs)
    }

    /// Commits what a majority of the voters has durably, if it is of this epoch (Raft 3.6.2).
    private mutating func advanceCommit(at now: Instant, into outputs: inout [ConsensusOutput]) {
        var durable = peers.compactMap { $0.kind == .voter ? $0.match : nil }
        if isVoter { durable.append(durableIndex) }
        guard durable.count == voters.count else { return }
        durable.sort(by: >)
        let candidate = durable[voters.count / 2]
        if candidate > commitIndex, log.epoch(at: candidate) == epoch {
            let inForce = configurations.last?.index ?? .zero
            let settlesVoters = inForce > commitIndex && inForce <= candidate
            commitIndex = candidate
            if settlesVoters {
                // A removed voter shall know that it is, or it would go on asking for votes.
                for position in peers.indices where peers[position].kind == .follower {
                    sendHeartbeat(to: position, at: now, into: &outputs)
                }
                refreshPeers(at: now, into: &outputs)
            }
        }
        let settled = min(commitIndex, durableIndex)
        if settled > settledIndex {
            unsettledBytes -= log.byteCount(from: settledIndex.next, through: settled)
            settledIndex = settled
        }
    }

    // MARK: - Lease and majority

    /// When the newest heartbeat was sent that a majority has confirmed; this host counts as `now`.
    func quorumConfirmed(at now: Instant) -> Instant? {
        var times = peers.compactMap { $0.kind == .voter ? $0.confirmed : nil }
        if isVoter { times.append(now) }
        guard isMajority(times.count) else { return nil }
        times.sort(by: >)
        return times[voters.count / 2]
    }

    /// True while a majority answered within the election timeout (Raft 6.2).
    func hearsMajority(at now: Instant) -> Bool {
        isMajority(voters.count { $0 == id || hears($0, at: now) })
    }

    /// True when a peer answered within the election timeout.
    func hears(_ peer: HostID, at now: Instant) -> Bool {
        guard let position = position(of: peer) else { return false }
        return now < peers[position].lastHeard + config.electionTimeout.lowerBound
    }

    /// True when a peer answered this leaseholder within the election timeout; unlike `hears`,
    /// one that was never heard is not taken for alive.
    func answers(_ peer: HostID, at now: Instant) -> Bool {
        guard let position = position(of: peer) else { return false }
        return peers[position].hasAnswered && hears(peer, at: now)
    }

    // MARK: - Sending

    /// Sends what is due to say that this host leads.
    private mutating func heartbeat(at now: Instant, into outputs: inout [ConsensusOutput]) {
        let toVoters = now >= nextVoterHeartbeat
        let toFollowers = now >= nextFollowerHeartbeat
        if toVoters { nextVoterHeartbeat = now + config.heartbeatInterval }
        if toFollowers { nextFollowerHeartbeat = now + config.followerHeartbeatInterval }
        guard toVoters || toFollowers else { return }
        for position in peers.indices {
            guard peers[position].kind == .follower ? toFollowers : toVoters else { continue }
            sendHeartbeat(to: position, at: now, into: &outputs)
        }
        if toVoters, let handover, handover.told {
            outputs.append(
                .send(ConsensusMessage(epoch: epoch, body: .timeoutNow), to: handover.target))
        }
    }

    /// Sends a message without entries: it also finds out whether the logs agree.
    mutating func sendHeartbeat(
        to position: Int, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        let previous = LogIndex(peers[position].next.value - 1)
        if case .snapshot = peers[position].mode {
            resendChunk(to: position, at: now, into: &outputs)
        } else if let epoch = log.epoch(at: previous) {
            send([], after: previous, epoch, to: position, at: now, into: &outputs)
            return
        } else {
            startSnapshot(to: position, at: now, into: &outputs)
        }
        send([], after: .zero, .zero, to: position, at: now, into: &outputs)
    }

    /// Sends entries that a peer lacks, and the commit index when nothing else will carry it.
    private mutating func replicate(
        to position: Int, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        guard peers[position].mode == .replicate else { return }
        while peers[position].next <= log.lastIndex,
            peers[position].inflight.count < config.inflightMessagesMax,
            peers[position].inflightBytes < config.inflightBytesMax
        {
            let next = peers[position].next
            guard let previous = log.epoch(at: LogIndex(next.value - 1)) else {
                startSnapshot(to: position, at: now, into: &outputs)
                return
            }
            let entries = log.entries(
                from: next, countMaximum: config.messageEntriesMax,
                bytesMaximum: config.messageBytesMax)
            guard let last = entries.last else { return }
            let bytes = entries.reduce(0) { $0 + $1.byteCount }
            peers[position].inflight.append(Progress.Flight(last: last.index, bytes: bytes))
            peers[position].next = last.index.next
            send(
                entries, after: LogIndex(next.value - 1), previous, to: position, at: now,
                into: &outputs)
        }
        if peers[position].inflight.isEmpty, peers[position].sentCommit < commitIndex {
            sendHeartbeat(to: position, at: now, into: &outputs)
        }
    }

    private mutating func send(
        _ entries: [LogEntry], after previous: LogIndex, _ previousEpoch: Epoch,
        to position: Int, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        peers[position].sentCommit = commitIndex
        let append = ConsensusMessage.Append(
            previousIndex: previous, previousEpoch: previousEpoch, entries: entries,
            commit: commitIndex, sentAt: UInt64(clamping: now.nanoseconds))
        outputs.append(
            .send(
                ConsensusMessage(epoch: epoch, body: .append(append)), to: peers[position].id))
    }

    // MARK: - Answers

    /// Takes a peer's answer: what is durable there, or where to look next.
    mutating func receive(
        _ reply: ConsensusMessage.AppendReply, epoch answered: Epoch, from sender: HostID,
        at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        guard role == .leaseholder, let position = position(of: sender) else { return }
        if answered > epoch {
            follow(epoch: answered, leaseholder: nil, at: now, into: &outputs)
            return
        }
        guard answered == epoch else { return }
        peers[position].lastHeard = now
        peers[position].hasAnswered = true
        let sentAt = Instant(nanoseconds: Int64(clamping: reply.sentAt))
        if reply.sentAt > 0, sentAt <= now, sentAt > peers[position].confirmed ?? .zero {
            peers[position].confirmed = sentAt
        }
        if reply.matched {
            accepted(through: min(reply.index, log.lastIndex), by: position)
        } else {
            refused(reply, by: position, at: now, into: &outputs)
        }
    }

    private mutating func accepted(through index: LogIndex, by position: Int) {
        peers[position].advance(to: index)
        switch peers[position].mode {
        case .probe: peers[position].mode = .replicate
        case .replicate: break
        case .snapshot(let transfer):
            // Heartbeats meanwhile say nothing; entries go on where the peer is, if they are here.
            if log.epoch(at: peers[position].match) != nil {
                peers[position].probe(from: peers[position].match.next)
                peers[position].mode = .replicate
            } else if peers[position].match >= transfer.snapshot.index {
                // It took so long that the log starts later by now: the next heartbeat finds that
                // out and sends the newer snapshot.
                peers[position].probe(from: peers[position].match.next)
            }
        }
    }

    private mutating func refused(
        _ reply: ConsensusMessage.AppendReply, by position: Int, at now: Instant,
        into outputs: inout [ConsensusOutput]
    ) {
        let peer = peers[position]
        switch peer.mode {
        case .snapshot: return
        case .probe: guard reply.refused.next == peer.next else { return }
        case .replicate: break
        }
        if reply.refused <= peer.match {
            // Late; or a follower without a vote that lost its disk and starts anew.
            guard peer.kind == .follower, reply.index < peer.match else { return }
            peers[position].match = .zero
        }
        let limit = min(reply.index, LogIndex(max(reply.refused.value, 1) - 1))
        let agreed = log.lastIndex(upTo: limit, epoch: reply.hintEpoch)
        peers[position].probe(from: max(peers[position].match, agreed.index).next)
        if limit < log.baseIndex {
            startSnapshot(to: position, at: now, into: &outputs)
        } else {
            sendHeartbeat(to: position, at: now, into: &outputs)
        }
    }
}
