import Base
import ClusterModel
import ClusterState
import Consensus
import Membership
import Scheduling

/// What only the leaseholder does: turn liveness into decisions, and write them into the log.
///
/// It acts only while it holds the lease and has applied everything up to its own epoch, so it
/// never decides from an old picture. One batch of placements is on its way at a time.
struct LeaderDuties: Sendable {
    /// Since when this host leads; nil while it does not.
    private(set) var since: Instant?
    /// True when gossip changed since the last pass.
    var membershipChanged = true
    /// True when the state changed since the last pass.
    private(set) var stateChanged = true
    /// The request numbers of decisions on their way into the log.
    var inFlight: [UInt64] = []
    /// The verdicts on hosts on their way into the log: host and request number.
    var verdicts: [(host: HostID, number: UInt64)] = []
    /// When the duties are looked at again without an event.
    var lookAgainAt: Instant?
    /// The followers last given to the log.
    var followers: [HostID] = []
    /// The voters last wanted.
    var wantedVoters: [HostID] = []

    /// How often the duties are looked at when nothing happens: for hosts never heard of.
    static let interval = Duration.seconds(1)
    /// How often a leader without a valid lease looks whether it has one again.
    static let leaseInterval = Duration.milliseconds(100)

    mutating func roleChanged(leads: Bool, at now: Instant) {
        guard leads != (since != nil) else { return }
        self = LeaderDuties()
        since = leads ? now : nil
    }

    mutating func applied(_ request: RequestID, own: Bool) {
        stateChanged = true
        guard own else { return }
        inFlight.removeAll { $0 == request.number }
        verdicts.removeAll { $0.number == request.number }
    }

    mutating func stateReplaced() { stateChanged = true }

    mutating func startPass(at now: Instant) -> Bool {
        guard stateChanged || membershipChanged || (lookAgainAt ?? now) <= now else {
            return false
        }
        stateChanged = false
        membershipChanged = false
        lookAgainAt = now + LeaderDuties.interval
        return true
    }

    /// The lease is not held just now: what waits is done when it is.
    mutating func postpone(at now: Instant) {
        if (lookAgainAt ?? now) <= now { lookAgainAt = now + LeaderDuties.leaseInterval }
    }

    var nextDeadline: Instant? { since == nil ? nil : lookAgainAt }
}

extension Peer {
    mutating func performLeaderDuties(at now: Instant, into outputs: inout [PeerOutput]) {
        guard let since = leader.since else { return }
        guard consensus.holdsLease(at: now), appliedEpoch == consensus.epoch else {
            leader.postpone(at: now)
            return
        }
        guard leader.startPass(at: now) else { return }
        let alive = membership.aliveIDs
        replicate(to: alive, at: now, into: &outputs)
        judgeHosts(leadingSince: since, at: now)
        chooseVoters(alive: alive, at: now, into: &outputs)
        place(alive: alive, at: now)
    }

    /// Every live host follows the log, voter or not.
    private mutating func replicate(
        to alive: [HostID], at now: Instant, into outputs: inout [PeerOutput]
    ) {
        let voters = consensus.voters
        let followers = alive.filter { $0 != id && !voters.contains($0) }
        guard followers != leader.followers else { return }
        leader.followers = followers
        log(.setFollowers(followers), at: now, into: &outputs)
    }

    /// Declares hosts lost that gossip confirmed dead, and returned that it sees again.
    private mutating func judgeHosts(leadingSince since: Instant, at now: Instant) {
        leader.verdicts.removeAll { !submissions.contains($0.number) }
        for host in state.hosts {
            guard let command = verdict(on: host, leadingSince: since, at: now),
                !leader.verdicts.contains(where: { $0.host == host.id })
            else { continue }
            let number = enqueue(command, ticket: nil, needsLease: true, at: now)
            leader.verdicts.append((host.id, number))
        }
    }

    private func verdict(
        on host: HostRecord, leadingSince since: Instant, at now: Instant
    ) -> Command? {
        let member = membership.member(host.id)
        switch host.status {
        case .active:
            guard let member else {
                guard now - since >= configuration.unseenGrace else { return nil }
                return .declareHostLost(
                    host.id, host.bootEpoch, reason: "not heard of since the leaseholder started")
            }
            guard member.bootEpoch >= host.bootEpoch else { return nil }
            switch member.status {
            case .dead:
                return .declareHostLost(
                    host.id, host.bootEpoch, reason: "does not answer the other hosts")
            case .left:
                return .declareHostLost(host.id, host.bootEpoch, reason: "left the cluster")
            case .alive, .suspect:
                return nil
            }
        case .lost:
            guard let member, member.status == .alive, member.bootEpoch == host.bootEpoch
            else { return nil }
            return .declareHostReturned(host.id, host.bootEpoch)
        }
    }

    /// One voter for one or two hosts, three for three or four, five from five on.
    ///
    /// Live voters stay; places are filled from live hosts of the zones that have fewest voters; a
    /// dead voter goes only when another takes its place, so losing hosts never shrinks the vote.
    private mutating func chooseVoters(
        alive: [HostID], at now: Instant, into outputs: inout [PeerOutput]
    ) {
        let eligible = state.hosts.filter { $0.status == .active && alive.contains($0.id) }
        let target = state.hosts.count >= 5 ? 5 : state.hosts.count >= 3 ? 3 : 1
        var chosen = consensus.voters.filter { voter in eligible.contains { $0.id == voter } }
        if consensus.voters.contains(id), !chosen.contains(id) { chosen.append(id) }
        while chosen.count < target, let next = nextVoter(from: eligible, chosen: chosen) {
            chosen.append(next)
        }
        for voter in consensus.voters where chosen.count < target && !chosen.contains(voter) {
            chosen.append(voter)
        }
        chosen.sort()
        guard chosen != leader.wantedVoters, !chosen.isEmpty else { return }
        leader.wantedVoters = chosen
        log(.setVoters(chosen), at: now, into: &outputs)
    }

    private func nextVoter(from eligible: [HostRecord], chosen: [HostID]) -> HostID? {
        func crowding(_ host: HostRecord) -> (Int, Int) {
            let zone = host.registration.zone
            var datacenter = 0
            var rack = 0
            for voter in chosen {
                guard let other = state.host(voter)?.registration.zone else { continue }
                if other.datacenter == zone.datacenter {
                    datacenter += 1
                    if other.rack == zone.rack { rack += 1 }
                }
            }
            return (datacenter, rack)
        }
        return eligible.filter { !chosen.contains($0.id) }
            .min { (crowding($0), $0.id) < (crowding($1), $1.id) }?.id
    }

    /// Places what waits, one batch on its way at a time.
    private mutating func place(alive: [HostID], at now: Instant) {
        leader.inFlight.removeAll { !submissions.contains($0) }
        guard leader.inFlight.isEmpty, leader.verdicts.isEmpty else { return }
        // A suspect keeps what it has, but gets nothing new.
        let usable = alive.filter {
            state.host($0)?.status == .active && membership.member($0)?.status == .alive
        }
        let decisions = scheduler.plan(
            state, usable: usable, maximum: configuration.decisionsMax)
        guard !decisions.isEmpty else { return }
        leader.inFlight.append(
            enqueue(
                .decide(basedOn: appliedIndex, decisions: decisions), ticket: nil,
                needsLease: true, at: now))
    }
}

private func < (left: ((Int, Int), HostID), right: ((Int, Int), HostID)) -> Bool {
    if left.0 != right.0 { return left.0 < right.0 }
    return left.1 < right.1
}
