import Base
import ClusterModel
import ClusterState
import Consensus
import Membership

/// Which hosts count as lost, and which of them vote.
extension Peer {
    /// Declares hosts lost that gossip confirmed dead, and returned that it sees again.
    mutating func judgeHosts(at now: Instant) {
        leader.verdicts.removeAll { !submissions.contains($0.number) }
        let noticed = leader.unseen
        leader.unseen = []
        for position in state.hosts.indices {
            let host = state.hosts[position]
            guard let command = verdict(on: host, noticed: noticed, at: now),
                !leader.verdicts.contains(where: { $0.host == host.id })
            else { continue }
            let number = enqueue(command, ticket: nil, needsLease: true, at: now)
            leader.verdicts.append((host.id, number))
        }
    }

    private mutating func verdict(
        on host: HostRecord, noticed: [(host: HostID, since: Instant)], at now: Instant
    ) -> Command? {
        let member = membership.member(host.id)
        switch host.status {
        case .active:
            // Gossip that knows only an older start of the agent says nothing of this one.
            guard let member, member.bootEpoch >= host.bootEpoch || member.status.isPresent else {
                return verdict(onUnseen: host, noticed: noticed, at: now)
            }
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

    /// A host that is registered but that gossip never met: lost when that goes on for long.
    private mutating func verdict(
        onUnseen host: HostRecord, noticed: [(host: HostID, since: Instant)], at now: Instant
    ) -> Command? {
        let position = noticed.partitioningIndex { $0.host >= host.id }
        let isKnown = position < noticed.count && noticed[position].host == host.id
        let since = isKnown ? noticed[position].since : now
        leader.unseen.append((host.id, since))
        guard now - since >= configuration.unseenGrace else { return nil }
        return .declareHostLost(
            host.id, host.bootEpoch, reason: "was not heard of by the leaseholder")
    }

    /// One voter for one or two live hosts, three for three or four, five from five on.
    ///
    /// Live voters stay; places are filled from live hosts of the zones that have fewest voters.
    /// A dead voter never raises the count. It keeps its place only while that costs nothing,
    /// which is until another can take it or a vote of live hosts alone would bear more losses:
    /// three with one dead stay three, five with two dead become three. A voter that was forgotten
    /// has no place to keep.
    mutating func chooseVoters(
        alive: [HostID], at now: Instant, into outputs: inout [PeerOutput]
    ) {
        let eligible = state.hosts.filter { $0.status == .active && alive.containsSorted($0.id) }
        let dead = consensus.voters.filter(isDeadVoter)
        var chosen = consensus.voters.filter {
            $0 == id || (state.host($0) != nil && !dead.contains($0))
        }
        // Who holds the lease has a majority: gossip that knows of none has not seen it yet.
        guard chosen.count > consensus.voters.count / 2 else { return }
        let others = chosen.count { voter in !eligible.contains { $0.id == voter } }
        let target = VoteSize.best(
            live: eligible.count + others, dead: dead.count, voters: consensus.voters.count)
        while chosen.count < target, let next = nextVoter(from: eligible, chosen: chosen) {
            chosen.append(next)
        }
        while chosen.count > target, let spare = spareVoter(among: chosen) {
            chosen.removeAll { $0 == spare }
        }
        chosen.append(contentsOf: dead.prefix(max(0, target - chosen.count)))
        chosen.sort()
        guard chosen != leader.wantedVoters, !chosen.isEmpty else { return }
        leader.wantedVoters = chosen
        log(.setVoters(chosen), at: now, into: &outputs)
    }

    /// True when gossip or the log says that a voter is gone; one that was not met yet is not dead.
    private func isDeadVoter(_ voter: HostID) -> Bool {
        guard voter != id, let host = state.host(voter) else { return false }
        guard let member = membership.member(voter) else { return host.status == .lost }
        return !member.status.isPresent
    }

    private func nextVoter(from eligible: [HostRecord], chosen: [HostID]) -> HostID? {
        eligible.filter { !chosen.contains($0.id) }
            .map { (crowding(of: $0, among: chosen), $0.id) }.min { $0 < $1 }?.1
    }

    private func spareVoter(among chosen: [HostID]) -> HostID? {
        chosen.filter { $0 != id }.compactMap { state.host($0) }
            .map { (crowding(of: $0, among: chosen), $0.id) }.max { $0 < $1 }?.1
    }

    /// How many other voters share the host's datacentre, and its rack.
    private func crowding(of host: HostRecord, among chosen: [HostID]) -> (Int, Int) {
        let zone = host.registration.zone
        var datacenter = 0
        var rack = 0
        for voter in chosen where voter != host.id {
            guard let other = state.host(voter)?.registration.zone else { continue }
            if other.datacenter == zone.datacenter {
                datacenter += 1
                if other.rack == zone.rack { rack += 1 }
            }
        }
        return (datacenter, rack)
    }
}

/// How many hosts vote.
enum VoteSize {
    /// The size that bears the loss of most further hosts; of equal ones the largest.
    ///
    /// All voters are live, or dead ones fill up what is there already: a vote of `voters`, or of
    /// one more while it is even, which it is only between two steps of a change.
    static func best(live: Int, dead: Int, voters: Int) -> Int {
        var best = (size: 1, losses: 0)
        for size in [3, 5] {
            let living = min(live, size)
            let filled = size - living
            guard filled == 0 || (filled <= dead && size <= voters + (voters + 1) % 2) else {
                continue
            }
            let losses = living - (size / 2 + 1)
            if losses >= best.losses { best = (size, losses) }
        }
        return best.size
    }
}

extension [HostID] {
    /// True when the host is in this list, which is sorted.
    fileprivate func containsSorted(_ host: HostID) -> Bool {
        let position = partitioningIndex { $0 >= host }
        return position < count && self[position] == host
    }
}

private func < (left: ((Int, Int), HostID), right: ((Int, Int), HostID)) -> Bool {
    if left.0 != right.0 { return left.0 < right.0 }
    return left.1 < right.1
}
