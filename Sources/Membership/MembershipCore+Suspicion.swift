import Base
import ClusterModel

/// Suspicion: the time between a failed probe and a death.
extension MembershipCore {
    /// The place of a suspect among the suspicions, or where it would be.
    private func suspicionPlace(of id: HostID) -> Int {
        var low = 0
        var high = suspicions.count
        while low < high {
            let middle = (low + high) / 2
            if suspicions[middle].id < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The suspicion of a member, if it is suspect.
    func suspicion(of id: HostID) -> Suspicion? {
        let place = suspicionPlace(of: id)
        return place < suspicions.count && suspicions[place].id == id ? suspicions[place] : nil
    }

    /// Starts the clock for a member that has just become suspect.
    mutating func startSuspicion(_ index: Int, accusers: [HostID], at now: Instant) {
        let suspect = members[index].id
        var suspicion = Suspicion(of: suspect, hosts: presentCount, config: config, at: now)
        for accuser in accusers where canAccuse(accuser, suspect) {
            _ = suspicion.confirm(by: accuser)
        }
        suspicions.insert(suspicion, at: suspicionPlace(of: suspect))
        considerEnd(suspicion.deadline)
    }

    /// Adds accusers to a running suspicion; what is news is told on.
    mutating func accuse(_ index: Int, by accusers: [HostID], at now: Instant) {
        let suspect = members[index].id
        let place = suspicionPlace(of: suspect)
        guard place < suspicions.count, suspicions[place].id == suspect else { return }
        var isNews = false
        for accuser in accusers where canAccuse(accuser, suspect) {
            if suspicions[place].confirm(by: accuser) { isNews = true }
        }
        guard isNews else { return }
        considerEnd(suspicions[place].deadline)
        tell(index, .record)
    }

    /// Only members accuse, and nobody itself: made-up keys must not shorten a suspicion.
    private func canAccuse(_ accuser: HostID, _ suspect: HostID) -> Bool {
        accuser != suspect && find(accuser) != nil
    }

    private mutating func considerEnd(_ deadline: Instant) {
        earliestSuspicionEnd = min(earliestSuspicionEnd ?? deadline, deadline)
    }

    /// Stops the clock of a member that is no longer suspect, or is suspect anew.
    mutating func endSuspicion(of id: HostID) {
        let place = suspicionPlace(of: id)
        guard place < suspicions.count, suspicions[place].id == id else { return }
        suspicions.remove(at: place)
        if suspicions.isEmpty { earliestSuspicionEnd = nil }
        accused.removeAll { $0 == id }
    }

    /// Our own probe of a member failed.
    mutating func suspect(
        _ index: Int, at now: Instant, into outputs: inout [MembershipOutput]
    ) {
        let before = members[index]
        guard before.status.isPresent else { return }
        let accusers = localHealth < config.doubtfulHealth ? [id] : []
        if before.status == .suspect {
            accuse(index, by: accusers, at: now)
        } else {
            uncount(index)
            members[index].status = .suspect
            count(index)
            startSuspicion(index, accusers: accusers, at: now)
            tell(index, .record)
            outputs.append(.changed(members[index], from: before.status))
        }
        if !accused.contains(before.id) {
            accused.append(before.id)
            nextAccusationAt = min(nextAccusationAt, now)
        }
    }

    /// Declares dead whoever stayed silent, and tells our own suspects that we suspect them.
    mutating func advanceSuspicions(
        at now: Instant, into outputs: inout [MembershipOutput]
    ) {
        if let end = earliestSuspicionEnd, end <= now {
            let expired = suspicions.filter { $0.deadline <= now }.map(\.id)
            for id in expired { declareDead(id, at: now, into: &outputs) }
            earliestSuspicionEnd = suspicions.lazy.map(\.deadline).min()
        }
        guard !accused.isEmpty, nextAccusationAt <= now else { return }
        nextAccusationAt = now + config.gossipInterval
        for suspect in accused {
            guard let index = find(suspect) else { continue }
            sendPing(to: index, sequence: nextSequence(), into: &outputs)
        }
    }

    private mutating func declareDead(
        _ id: HostID, at now: Instant, into outputs: inout [MembershipOutput]
    ) {
        endSuspicion(of: id)
        guard let index = find(id), members[index].status == .suspect else { return }
        uncount(index)
        members[index].status = .dead
        notes[index].departedAt = now
        count(index)
        settlePresence(index, at: now)
        tell(index, .record)
        outputs.append(.changed(members[index], from: .suspect))
        boundDead()
    }
}
