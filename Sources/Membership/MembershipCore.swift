import Base
import ClusterModel

/// Knows which hosts are there, where, and what they say of themselves; tells the others.
///
/// SWIM (Das, Gupta, Motivala, 2002) with round-robin probes, indirect probes, suspicion and
/// piggybacked news; Lifeguard (Dadgar, Phillips, Currey, 2017) with all three parts; and what
/// serf's users had to learn: tables are compared at a rate that does not fall with the size of
/// the cluster, dead members are tried again so that partitions heal, and a newer boot epoch of
/// a key wins at once.
///
/// Belief about a host is ordered by (boot epoch, incarnation, status); merging keeps the
/// greatest, so the order of arrival never matters. Only a host itself raises its incarnation.
/// What others say may make us work a little, never more than the bounds in the config.
package struct MembershipCore: Machine {
    /// Who we are.
    package let id: HostID
    /// Which start of us.
    package let bootEpoch: BootEpoch
    /// The settings.
    package let config: MembershipConfig

    /// Everybody that is known, ourselves included, sorted by key; at most `membersMax`.
    package internal(set) var members: [Member]
    /// What we alone know of each member; same order as `members`.
    var notes: [MemberNotes]
    /// The image of the table, to compare with others'.
    var digest = TableDigest()
    /// How many others are alive or suspect.
    var peerCount = 0
    /// How many are dead, how many left.
    var deadCount = 0
    var leftCount = 0

    /// Our local health: 0 is well; raised when our own probes and timers fail (Lifeguard).
    package internal(set) var localHealth = 0
    /// True once a seed's table has been read to its end.
    package internal(set) var hasJoined = false

    /// The instant of the input at hand.
    var clock: Instant
    var random: RandomSource
    var sequence: UInt64
    /// See `Machine`; found at the end of each input, so asking costs nothing.
    package private(set) var nextDeadline: Instant?

    // Probing.
    var probeOrder: [HostID] = []
    var probePosition = 0
    var probe: Probe?
    var nextProbeAt: Instant
    var relays: [Relay] = []

    // Suspicion.
    var suspicions: [Suspicion] = []
    /// No suspicion ends before this; found anew when it is reached.
    var earliestSuspicionEnd: Instant?
    /// Suspects that we accuse ourselves: they are told so, again and again.
    var accused: [HostID] = []
    var nextAccusationAt: Instant

    // News.
    var rumors = RumorQueue()
    var nextGossipAt: Instant
    var nextNoticeAt: Instant

    // Tables.
    var seeds: [SocketAddress] = []
    var pull: Pull?
    /// Where the next comparison starts; nil is the beginning of the table.
    var syncCursor: HostID?
    var nextSyncAt: Instant
    var nextDeadRetryAt: Instant
    var nextForgetAt: Instant

    // Leaving.
    /// True after `leave`, until a `join`.
    package internal(set) var hasLeft = false
    var leaveRoundsLeft = 0
    var nextLeaveAt: Instant

    /// The most encoded bytes of facts that are taken over, so that they fit any message.
    static let factsBytesMax = 640
    /// The most bytes of each text in our own facts: with five such, a request for a table (512
    /// bytes of digests) still fits a datagram together with our record.
    static let factsTextBytesMax = 80
    /// How often old dead members are looked for.
    static let forgetInterval: Duration = .seconds(60)

    package init(
        id: HostID, bootEpoch: BootEpoch, address: SocketAddress, facts: HostFacts,
        config: MembershipConfig, random: RandomSource, now: Instant
    ) {
        precondition(config.problems().isEmpty, "broken settings: \(config.problems())")
        self.id = id
        self.bootEpoch = bootEpoch
        self.config = config
        self.random = random
        clock = now
        let bounded = facts.bounded(textBytes: MembershipCore.factsTextBytesMax)
        members = [
            Member(
                id: id, bootEpoch: bootEpoch, address: address, incarnation: 1, status: .alive,
                facts: bounded)
        ]
        notes = [MemberNotes(factsEpoch: bootEpoch)]
        sequence = self.random.next() >> 40
        nextProbeAt = now
        nextAccusationAt = now
        nextGossipAt = now
        nextNoticeAt = now
        nextSyncAt = now
        nextDeadRetryAt = now
        nextForgetAt = now
        nextLeaveAt = now
        digest.toggle(members[0], factsVersion: bounded.version)
    }

    package mutating func handle(
        _ input: MembershipInput, at now: Instant, into outputs: inout [MembershipOutput]
    ) {
        clock = now
        noticeLateness(at: now)
        switch input {
        case .tick: break
        case .received(let message, let from, let bootEpoch, let address):
            receive(
                message, from: Source(id: from, bootEpoch: bootEpoch, address: address), at: now,
                into: &outputs)
        case .join(let seeds): join(seeds, at: now)
        case .updateFacts(let facts): updateFacts(facts, at: now, into: &outputs)
        case .addressChanged(let address): move(to: address, at: now, into: &outputs)
        case .leave: leave(at: now, into: &outputs)
        }
        advance(to: now, into: &outputs)
        nextDeadline = earliestDeadline()
    }

    /// Does everything that is due; each part sets its own next time beyond `now`.
    private mutating func advance(to now: Instant, into outputs: inout [MembershipOutput]) {
        guard !hasLeft else {
            repeatLeave(at: now, into: &outputs)
            return
        }
        advanceRelays(at: now, into: &outputs)
        advanceProbe(at: now, into: &outputs)
        advanceSuspicions(at: now, into: &outputs)
        advanceSync(at: now, into: &outputs)
        retryDead(at: now, into: &outputs)
        forgetOld(at: now)
        advanceGossip(at: now, into: &outputs)
    }

    /// The earliest time of everything that `advance` does.
    private func earliestDeadline() -> Instant? {
        if hasLeft { return leaveRoundsLeft > 0 ? nextLeaveAt : nil }
        var deadline: Instant?
        func consider(_ instant: Instant?) {
            guard let instant else { return }
            deadline = min(deadline ?? instant, instant)
        }
        if peerCount > 0 {
            consider(nextProbeAt)
            consider(nextSyncAt)
            if !rumors.isEmpty { consider(nextGossipAt) }
        }
        if let probe {
            consider(probe.relayAt)
            consider(probe.failAt)
        }
        for relay in relays { consider(relay.nackAt) }
        if !accused.isEmpty { consider(nextAccusationAt) }
        consider(earliestSuspicionEnd)
        consider(pull?.resendAt)
        if mayRetry { consider(nextDeadRetryAt) }
        if deadCount + leftCount > 0 { consider(nextForgetAt) }
        return deadline
    }

    // MARK: - Questions

    /// The record of one host; nil when it is not known.
    package func member(_ id: HostID) -> Member? { find(id).map { members[$0] } }

    /// Who takes part, in order: alive or suspect, ourselves included unless we left.
    package var aliveIDs: [HostID] {
        members.lazy.filter { $0.status.isPresent }.map(\.id)
    }

    /// How many take part, ourselves included: the n of every formula.
    var presentCount: Int { peerCount + 1 }

    /// Where we are in the table.
    var selfIndex: Int {
        guard let index = find(id) else { preconditionFailure("we are not in our own table") }
        return index
    }

    // MARK: - Lateness

    /// Notices that our own timers are late and gives everybody else the time we missed.
    ///
    /// A host that was stopped for seconds finds its suspicions expired and the answers unread
    /// in its socket. It must read before it judges.
    private mutating func noticeLateness(at now: Instant) {
        guard let promised = nextDeadline, now - promised > config.lateTolerance else { return }
        worsenHealth(by: 1)
        let grace = (now - promised) + config.probeTimeout
        if var current = probe {
            current.failAt = current.failAt + grace
            current.relayAt = current.relayAt.map { $0 + grace }
            probe = current
            nextProbeAt = nextProbeAt + grace
        }
        for index in suspicions.indices { suspicions[index].extend(by: grace) }
        earliestSuspicionEnd = earliestSuspicionEnd.map { $0 + grace }
    }

    /// Raises local health's number: we are the ones with a problem.
    mutating func worsenHealth(by amount: Int) {
        localHealth = min(config.healthMax, max(0, localHealth + amount))
    }
}

/// What one host alone notes about a member.
struct MemberNotes: Sendable {
    /// Which start of the host its facts belong to.
    var factsEpoch: BootEpoch
    /// True while it is in the queue of rumours.
    var isRumored = false
    /// When it died or left; meaningless otherwise.
    var departedAt: Instant = .zero
}

/// Where a message came from, as the transport proves it.
struct Source: Sendable {
    let id: HostID
    let bootEpoch: BootEpoch
    let address: SocketAddress

    /// The start of the agent that sent it.
    var identity: PeerIdentity { PeerIdentity(hostID: id, bootEpoch: bootEpoch) }
}

extension MembershipOutput {
    /// Sends to the start of a member's agent that we know of.
    static func send(_ message: MembershipMessage, to member: Member) -> MembershipOutput {
        .send(message, to: member.address, receiver: member.identity)
    }

    /// Answers where a message came from.
    static func send(_ message: MembershipMessage, to source: Source) -> MembershipOutput {
        .send(message, to: source.address, receiver: source.identity)
    }
}
