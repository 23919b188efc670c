import Base

/// Entries by which a learner may lag and still become a voter.
private let learnerLagMax: UInt64 = 100

extension ConsensusCore {
    /// Hosts in order, each once.
    func inOrder(_ hosts: [HostID]) -> [HostID] {
        var result: [HostID] = []
        for host in hosts.sorted() where result.last != host { result.append(host) }
        return result
    }

    /// Where a peer's progress is kept; nil for a stranger.
    func position(of peer: HostID) -> Int? {
        var low = 0
        var high = peers.count
        while low < high {
            let middle = (low + high) / 2
            if peers[middle].id < peer { low = middle + 1 } else { high = middle }
        }
        return low < peers.count && peers[low].id == peer ? low : nil
    }

    /// Makes the peers those that now vote, learn or follow; greets the new ones.
    mutating func refreshPeers(at now: Instant, into outputs: inout [ConsensusOutput]) {
        guard role == .leaseholder else { return }
        var wanted: [(id: HostID, rank: Int, kind: Progress.Kind)] = []
        wanted += voters.map { ($0, 0, .voter) }
        wanted += (wantedVoters ?? []).map { ($0, 1, .learner) }
        wanted += followers.map { ($0, 2, .follower) }
        if let last = configurations.last, last.index > commitIndex {
            // A removed voter is told of its removal.
            wanted += configurations.dropLast().last?.voters.map { ($0, 2, .follower) } ?? []
        }
        wanted.sort { ($0.id, $0.rank) < ($1.id, $1.rank) }
        var refreshed: [Progress] = []
        var fresh: [HostID] = []
        for (peer, _, kind) in wanted where peer != id && refreshed.last?.id != peer {
            if let position = position(of: peer) {
                var progress = peers[position]
                progress.kind = kind
                refreshed.append(progress)
            } else {
                refreshed.append(
                    Progress(id: peer, kind: kind, next: log.lastIndex.next, lastHeard: now))
                fresh.append(peer)
            }
        }
        peers = refreshed
        for peer in fresh {
            guard let position = position(of: peer) else { continue }
            sendHeartbeat(to: position, at: now, into: &outputs)
        }
    }

    /// Takes note of who shall vote.
    mutating func setVoters(
        _ hosts: [HostID], at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        let wanted = inOrder(hosts)
        guard role == .leaseholder, !wanted.isEmpty, wanted.count < LogEntry.votersMax,
            wanted != wantedVoters
        else { return }
        wantedVoters = wanted
        refreshPeers(at: now, into: &outputs)
    }

    /// Takes the next step to the wanted voters, when the last one is committed.
    ///
    /// One host at a time, so that majorities before and after have a host in common; and only
    /// after an entry of this epoch is committed (Ongaro's correction of 2015). Of an odd number a
    /// dead voter goes before its successor comes: the majority stays as large, while adding first
    /// would make it depend on the newcomer.
    mutating func changeVoters(at now: Instant, into outputs: inout [ConsensusOutput]) {
        guard let wanted = wantedVoters, handover == nil, isVoter, commitIndex >= epochStart,
            let inForce = configurations.last, inForce.index <= commitIndex
        else { return }
        let additions = wanted.filter { !voters.contains($0) }
        let removals = voters.filter { !wanted.contains($0) }
        if voters.count <= wanted.count {
            if let new = additions.first(where: { isCaughtUp($0, at: now) }) {
                let dead = removals.first { $0 != id && !hears($0, at: now) }
                if voters.count % 2 == 1, let dead {
                    change(to: voters.filter { $0 != dead }, at: now, into: &outputs)
                } else {
                    change(to: inOrder(voters + [new]), at: now, into: &outputs)
                }
                return
            }
            guard additions.isEmpty else { return }
        }
        let others = removals.filter { $0 != id }
        if let leaving = others.first(where: { !hears($0, at: now) }) ?? others.first {
            change(to: voters.filter { $0 != leaving }, at: now, into: &outputs)
        } else if removals == [id],
            let heir = voters.first(where: { wanted.contains($0) && isCaughtUp($0, at: now) })
        {
            handOver(to: heir, at: now)
        }
    }

    /// Appends the next voters, if a majority of them has answered this leaseholder.
    ///
    /// That it may be waiting for its first answer is not enough: the change is in force in the log
    /// from here on, and voters of whom a majority is gone could neither commit nor undo it.
    private mutating func change(
        to next: [HostID], at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        guard next.count(where: { $0 == id || answers($0, at: now) }) > next.count / 2 else {
            return
        }
        appendAsLeaseholder(.voters(next), at: now, into: &outputs)
        refreshPeers(at: now, into: &outputs)
    }

    private func isCaughtUp(_ peer: HostID, at now: Instant) -> Bool {
        guard hears(peer, at: now), let position = position(of: peer) else { return false }
        let progress = peers[position]
        return progress.mode == .replicate
            && progress.match.value + learnerLagMax >= log.lastIndex.value
    }

    // MARK: - Handing over

    /// Begins to hand the lease over; proposals are refused until it is done or given up.
    mutating func handOver(to target: HostID, at now: Instant) {
        guard role == .leaseholder, handover == nil, target != id, voters.contains(target) else {
            return
        }
        handover = Handover(
            target: target, deadline: now + config.electionTimeout.lowerBound)
    }

    /// Looks for a successor when this host leads without a vote, and its removal is committed.
    private mutating func leaveLead(at now: Instant) {
        guard !isVoter, handover == nil, commitIndex >= epochStart,
            let heir = voters.first(where: { isCaughtUp($0, at: now) })
        else { return }
        handOver(to: heir, at: now)
    }

    /// Tells the successor to campaign once it has the whole log.
    mutating func advanceHandover(at now: Instant, into outputs: inout [ConsensusOutput]) {
        leaveLead(at: now)
        guard var current = handover, !current.told, let position = position(of: current.target),
            peers[position].match == log.lastIndex
        else { return }
        current.told = true
        current.deadline = now + config.electionTimeout.lowerBound
        handover = current
        leaseGivenUp = true
        outputs.append(
            .send(ConsensusMessage(epoch: epoch, body: .timeoutNow), to: current.target))
    }
}
