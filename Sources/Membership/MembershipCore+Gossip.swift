import Base
import ClusterModel

/// Sending news, and taking messages in.
extension MembershipCore {
    /// Makes what we believe of a member news again.
    mutating func tell(_ index: Int, _ topic: RumorQueue.Topic) {
        rumors.add(members[index].id, topic, isQueued: notes[index].isRumored)
        notes[index].isRumored = true
    }

    /// What we believe of a member, as an update.
    func update(at index: Int, withFacts: Bool, at now: Instant) -> MemberUpdate {
        let member = members[index]
        var update = MemberUpdate(
            id: member.id, bootEpoch: member.bootEpoch, incarnation: member.incarnation,
            status: member.status, address: member.address)
        switch member.status {
        case .alive: break
        case .suspect: update.accusers = suspicion(of: member.id)?.accusers ?? []
        case .dead, .left:
            let age = (now - notes[index].departedAt).inMilliseconds
            update.ageSeconds = UInt64(max(0, age + 999) / 1_000)
        }
        if withFacts, notes[index].factsEpoch == member.bootEpoch { update.facts = member.facts }
        return update
    }

    /// A message with as much news as fits; `first` is a member whose record must be in it.
    mutating func message(
        _ body: MembershipMessage.Body, first: HostID? = nil
    ) -> MembershipMessage {
        var message = MembershipMessage(sender: ownRecord, body: body)
        var room = config.datagramBytesMax - message.encodedCount
        if let first, let index = find(first) {
            let update = update(at: index, withFacts: false, at: clock)
            room -= update.encodedCount
            message.updates.append(update)
        }
        var taken = 0
        for rumor in rumors.line {
            guard message.updates.count < MembershipMessage.updatesMax else { break }
            guard let index = find(rumor.id) else { break }
            let update = update(at: index, withFacts: rumor.factsCopies != nil, at: clock)
            guard update.encodedCount <= room else { break }
            room -= update.encodedCount
            message.updates.append(update)
            taken += 1
        }
        guard taken > 0 else { return message }
        let copiesMax = config.retransmitMultiplier * max(1, ceilingOfLog10(presentCount + 1))
        for done in rumors.sent(first: taken, copiesMax: copiesMax) {
            if let index = find(done) { notes[index].isRumored = false }
        }
        return message
    }

    /// Sends news to a few random members, while there is news.
    mutating func advanceGossip(at now: Instant, into outputs: inout [MembershipOutput]) {
        guard peerCount > 0, !rumors.isEmpty, nextGossipAt <= now else { return }
        nextGossipAt = now + config.gossipInterval
        for peer in randomPeers(config.gossipFanout) where !rumors.isEmpty {
            outputs.append(.send(message(.gossip), to: members[peer]))
        }
    }

    // MARK: - Receiving

    /// Takes a message in: first its sender, then what it tells, then what it asks.
    mutating func receive(
        _ message: MembershipMessage, from source: Source, at now: Instant,
        into outputs: inout [MembershipOutput]
    ) {
        guard source.id != id else { return }
        if let index = find(source.id), source.bootEpoch < members[index].bootEpoch { return }
        merge(
            senderUpdate(of: message, from: source), via: .direct, from: source, at: now,
            into: &outputs)
        guard !hasLeft || message.body.isProbe else { return }
        let channel: Channel = message.body.isTable ? .table : .gossip
        for update in message.updates.prefix(MembershipMessage.updatesMax)
        where update.id != source.id || update.facts != nil {
            merge(update, via: channel, from: source, at: now, into: &outputs)
        }
        receive(message.body, from: source, at: now, into: &outputs)
        if message.sender.isPresent, isWrong(about: source.id), !message.body.isAnswered,
            nextNoticeAt <= now
        {
            nextNoticeAt = now + config.gossipInterval
            outputs.append(
                .send(self.message(.gossip, first: source.id), to: source))
        }
    }

    private mutating func receive(
        _ body: MembershipMessage.Body, from source: Source, at now: Instant,
        into outputs: inout [MembershipOutput]
    ) {
        switch body {
        case .ping(let sequence, let target):
            guard target == id else { return }
            let first = isWrong(about: source.id) ? source.id : nil
            outputs.append(
                .send(message(.ack(sequence: sequence), first: first), to: source))
        case .ack(let sequence): receiveAck(sequence, from: source, into: &outputs)
        case .nack(let sequence): receiveNack(sequence, from: source)
        case .pingRequest(let sequence, let target):
            receivePingRequest(sequence, target: target, from: source, at: now, into: &outputs)
        case .gossip: break
        case .syncRequest(let number, let digests, let after, let wantsReturn):
            answerSync(
                number, digests: digests, after: after, wantsReturn: wantsReturn, from: source,
                at: now, into: &outputs)
        case .syncPage(let number, let next):
            receivePage(number, next: next, from: source, at: now, into: &outputs)
        }
    }

    /// What a message proves about its sender.
    private func senderUpdate(
        of message: MembershipMessage, from source: Source
    ) -> MemberUpdate {
        var address = message.sender.address
        if address.isUnspecified {
            // It listens everywhere and does not know which of its addresses we see.
            address =
                SocketAddress(address: source.address.address, port: address.port) ?? address
        }
        return MemberUpdate(
            id: source.id, bootEpoch: source.bootEpoch, incarnation: message.sender.incarnation,
            status: message.sender.isPresent ? .alive : .left, address: address)
    }

    /// True when our table calls somebody suspect or dead who has just sent us something.
    private func isWrong(about id: HostID) -> Bool {
        guard let index = find(id) else { return false }
        return members[index].status == .suspect || members[index].status == .dead
    }
}

extension MembershipMessage.Body {
    /// True when the updates are a table's page.
    fileprivate var isTable: Bool {
        if case .syncPage = self { return true }
        return false
    }

    /// True for what a host that left still takes part in.
    fileprivate var isProbe: Bool {
        if case .ping = self { return true }
        return false
    }

    /// True when the receiver answers at once and can put a notice into the answer.
    fileprivate var isAnswered: Bool {
        if case .ping = self { return true }
        return false
    }
}
