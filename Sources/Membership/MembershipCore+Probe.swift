import Base
import ClusterModel

/// A probe under way.
struct Probe: Sendable {
    /// Who is probed.
    let target: HostID
    /// Which start of it.
    let bootEpoch: BootEpoch
    /// The number that the answer must carry.
    let sequence: UInt64
    /// When others are asked; nil once they were.
    var relayAt: Instant?
    /// When it has failed.
    var failAt: Instant
    /// Who was asked.
    var relays: [HostID] = []
    /// Who said that it could not reach the target either.
    var nacks: [HostID] = []
}

/// A probe that we carry out for another.
struct Relay: Sendable {
    /// The number of our ping.
    let sequence: UInt64
    /// Who is probed.
    let target: HostID
    /// The number of the request.
    let requestSequence: UInt64
    /// Who asked.
    let requester: Source
    /// When we say that we had no answer.
    let nackAt: Instant
}

/// Probing: one member per interval, everybody once per round (SWIM §4.3).
extension MembershipCore {
    mutating func nextSequence() -> UInt64 {
        sequence &+= 1
        return sequence
    }

    /// Moves the probe under way on, and starts the next.
    mutating func advanceProbe(at now: Instant, into outputs: inout [MembershipOutput]) {
        if let relayAt = probe?.relayAt, relayAt <= now { askOthers(into: &outputs) }
        if let probe, probe.failAt <= now { failProbe(probe, at: now, into: &outputs) }
        guard peerCount > 0, nextProbeAt <= now else { return }
        let scale = 1 + localHealth
        let end = now + config.probeInterval * scale
        nextProbeAt = end
        guard let index = nextProbeTarget() else { return }
        let target = members[index]
        let sequence = nextSequence()
        probe = Probe(
            target: target.id, bootEpoch: target.bootEpoch, sequence: sequence,
            relayAt: now + config.probeTimeout * scale, failAt: end)
        sendPing(to: index, sequence: sequence, into: &outputs)
    }

    /// The next present member of the round; a new round is shuffled when one is over.
    private mutating func nextProbeTarget() -> Int? {
        for _ in 0..<2 {
            while probePosition < probeOrder.count {
                let candidate = probeOrder[probePosition]
                probePosition += 1
                if let index = find(candidate), members[index].status.isPresent { return index }
            }
            startRound()
        }
        return nil
    }

    /// Shuffles everybody present into a new round.
    mutating func startRound() {
        probePosition = 0
        probeOrder.removeAll(keepingCapacity: true)
        for member in members where member.status.isPresent && member.id != id {
            probeOrder.append(member.id)
        }
        probeOrder.shuffle(using: &random)
    }

    /// Asks K random members to ping the target for us.
    private mutating func askOthers(into outputs: inout [MembershipOutput]) {
        guard let current = probe else { return }
        probe?.relayAt = nil
        for peer in randomPeers(config.indirectProbes, without: current.target) {
            probe?.relays.append(members[peer].id)
            let request = MembershipMessage.Body.pingRequest(
                sequence: current.sequence, target: current.target)
            outputs.append(.send(message(request), to: members[peer]))
        }
    }

    /// No answer at all: suspects the target, and ourselves as far as helpers were silent too.
    private mutating func failProbe(
        _ failed: Probe, at now: Instant, into outputs: inout [MembershipOutput]
    ) {
        probe = nil
        if let index = find(failed.target), members[index].bootEpoch == failed.bootEpoch {
            suspect(index, at: now, into: &outputs)
        }
        let silent = failed.relays.count - failed.nacks.count
        worsenHealth(by: failed.relays.isEmpty ? 1 : silent)
    }

    /// Pings a member; if it is suspect or dead here, the ping says so (Lifeguard §IV.C).
    mutating func sendPing(
        to index: Int, sequence: UInt64, into outputs: inout [MembershipOutput]
    ) {
        let target = members[index]
        let body = MembershipMessage.Body.ping(sequence: sequence, target: target.id)
        let first = target.status == .alive ? nil : target.id
        outputs.append(.send(message(body, first: first), to: target))
    }

    // MARK: - Answers

    /// An answer to one of our pings: our own probe's, or one that we relay.
    mutating func receiveAck(
        _ sequence: UInt64, from source: Source, into outputs: inout [MembershipOutput]
    ) {
        if let probe, probe.sequence == sequence,
            probe.target == source.id || probe.relays.contains(source.id)
        {
            self.probe = nil
            worsenHealth(by: -1)
        }
        let relay = relays.firstIndex { $0.sequence == sequence && $0.target == source.id }
        guard let relay else { return }
        let done = relays.remove(at: relay)
        outputs.append(.send(message(.ack(sequence: done.requestSequence)), to: done.requester))
    }

    /// A helper is there but could not reach the target.
    mutating func receiveNack(_ sequence: UInt64, from source: Source) {
        guard let probe, probe.sequence == sequence, probe.relays.contains(source.id),
            !probe.nacks.contains(source.id)
        else { return }
        self.probe?.nacks.append(source.id)
    }

    /// Pings a member for another; only members, at the address we know.
    mutating func receivePingRequest(
        _ requestSequence: UInt64, target: HostID, from source: Source, at now: Instant,
        into outputs: inout [MembershipOutput]
    ) {
        guard relays.count < config.relaysMax, target != id else { return }
        guard let index = find(target) else {
            outputs.append(
                .send(message(.nack(sequence: requestSequence)), to: source))
            return
        }
        let sequence = nextSequence()
        relays.append(
            Relay(
                sequence: sequence, target: target, requestSequence: requestSequence,
                requester: source, nackAt: now + config.probeTimeout))
        sendPing(to: index, sequence: sequence, into: &outputs)
    }

    /// Says no for relayed pings that had no answer in time.
    mutating func advanceRelays(at now: Instant, into outputs: inout [MembershipOutput]) {
        guard relays.contains(where: { $0.nackAt <= now }) else { return }
        for relay in relays where relay.nackAt <= now {
            outputs.append(
                .send(message(.nack(sequence: relay.requestSequence)), to: relay.requester))
        }
        relays.removeAll { $0.nackAt <= now }
    }

    // MARK: - Chance

    /// Places of up to `count` different random present members, never ourselves.
    mutating func randomPeers(_ count: Int, without excluded: HostID? = nil) -> [Int] {
        let wanted = min(count, peerCount)
        var chosen: [Int] = []
        guard wanted > 0 else { return chosen }
        for _ in 0..<4 * wanted where chosen.count < wanted {
            let index = Int.random(in: members.indices, using: &random)
            if isPeer(index, without: excluded), !chosen.contains(index) { chosen.append(index) }
        }
        // Many are dead or the cluster is small: walk instead.
        let start = Int.random(in: members.indices, using: &random)
        for offset in members.indices {
            guard chosen.count < wanted else { break }
            let index = (start + offset) % members.count
            if isPeer(index, without: excluded), !chosen.contains(index) { chosen.append(index) }
        }
        return chosen
    }

    private func isPeer(_ index: Int, without excluded: HostID?) -> Bool {
        let member = members[index]
        return member.status.isPresent && member.id != id && member.id != excluded
    }
}
