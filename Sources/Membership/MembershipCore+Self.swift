import Base
import ClusterModel

/// What we say of ourselves.
extension MembershipCore {
    /// Our part of every message.
    var ownRecord: MembershipMessage.Sender {
        let own = members[selfIndex]
        return MembershipMessage.Sender(
            incarnation: own.incarnation, isPresent: own.status != .left, address: own.address,
            health: UInt8(clamping: localHealth))
    }

    /// Contradicts a belief about ourselves by raising our incarnation above it.
    ///
    /// At the highest number there is nothing above; then only a restart helps. A claim about a
    /// newer start of our own key cannot be contradicted: that start would have to do it.
    mutating func refute(
        _ update: MemberUpdate, told source: Source, at now: Instant,
        into outputs: inout [MembershipOutput]
    ) {
        let index = selfIndex
        guard update.bootEpoch <= bootEpoch, !hasLeft else { return }
        guard update.bootEpoch == bootEpoch else {
            if !notes[index].isRumored { tell(index, .facts) }
            return
        }
        let incarnation = members[index].incarnation
        let isAhead = update.incarnation > incarnation
        let isAccusation = update.status != .alive && update.incarnation >= incarnation
        guard isAhead || isAccusation, incarnation < UInt64.max else { return }
        if update.status == .suspect { worsenHealth(by: 1) }
        raiseIncarnation(above: update.incarnation)
        // Whoever told us is waiting for this most.
        if source.id != id, nextNoticeAt <= now {
            nextNoticeAt = now + config.gossipInterval
            outputs.append(.send(message(.gossip), to: source))
        }
    }

    /// Makes our record newer than anything said at `incarnation`, and tells everybody.
    private mutating func raiseIncarnation(above incarnation: UInt64) {
        let index = selfIndex
        let base = max(incarnation, members[index].incarnation)
        uncount(index)
        members[index].incarnation = base == UInt64.max ? base : base + 1
        count(index)
        tell(index, .record)
    }

    /// Replaces our facts and tells everybody; does nothing when they say the same.
    mutating func updateFacts(
        _ given: HostFacts, at now: Instant, into outputs: inout [MembershipOutput]
    ) {
        let index = selfIndex
        var facts = given.bounded(textBytes: MembershipCore.factsTextBytesMax)
        if let old = members[index].facts {
            var unchanged = old
            unchanged.version = facts.version
            guard unchanged != facts else { return }
            if facts.version <= old.version {
                facts.version = old.version == UInt64.max ? old.version : old.version + 1
            }
        }
        uncount(index)
        members[index].facts = facts
        count(index)
        tell(index, .facts)
        outputs.append(.changed(members[index], from: members[index].status))
    }

    /// Announces another address of ours under a higher incarnation.
    mutating func move(
        to address: SocketAddress, at now: Instant, into outputs: inout [MembershipOutput]
    ) {
        let index = selfIndex
        guard members[index].address != address else { return }
        members[index].address = address
        raiseIncarnation(above: members[index].incarnation)
        outputs.append(.changed(members[index], from: members[index].status))
    }

    // MARK: - Leaving

    /// Says that we go, a few times, to a few peers each time; they tell the rest.
    mutating func leave(at now: Instant, into outputs: inout [MembershipOutput]) {
        let index = selfIndex
        guard members[index].status != .left else { return }
        let before = members[index].status
        uncount(index)
        members[index].status = .left
        hasLeft = true
        notes[index].departedAt = now
        count(index)
        probe = nil
        pull = nil
        relays = []
        leaveRoundsLeft = config.leaveRounds
        nextLeaveAt = now
        outputs.append(.changed(members[index], from: before))
    }

    /// One round of telling that we left, per gossip interval.
    mutating func repeatLeave(at now: Instant, into outputs: inout [MembershipOutput]) {
        guard leaveRoundsLeft > 0, nextLeaveAt <= now else { return }
        leaveRoundsLeft = peerCount == 0 ? 0 : leaveRoundsLeft - 1
        nextLeaveAt = now + config.gossipInterval
        for peer in randomPeers(max(config.gossipFanout, 5)) {
            outputs.append(.send(message(.gossip), to: members[peer]))
        }
    }

    /// Takes part again after a `leave`.
    mutating func returnIfLeft() {
        let index = selfIndex
        guard hasLeft else { return }
        hasLeft = false
        uncount(index)
        members[index].status = .alive
        count(index)
        raiseIncarnation(above: members[index].incarnation)
        leaveRoundsLeft = 0
    }
}
