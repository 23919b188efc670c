import Base
import ClusterModel

/// How an update came to us.
enum Channel: Sendable, Equatable {
    /// The sender says it of itself.
    case direct
    /// As news.
    case gossip
    /// From another's table: perhaps an old belief.
    case table
}

extension MembershipCore {
    // MARK: - Places

    /// The place of a key in the table.
    func find(_ id: HostID) -> Int? {
        let place = place(of: id)
        return place < members.count && members[place].id == id ? place : nil
    }

    /// The first place whose key is not below `id`.
    func place(of id: HostID) -> Int {
        var low = 0
        var high = members.count
        while low < high {
            let middle = (low + high) / 2
            if members[middle].id < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The version of facts that counts for the digest: 0 while they are of an older start.
    func factsVersion(at index: Int) -> UInt64 {
        guard notes[index].factsEpoch == members[index].bootEpoch else { return 0 }
        return members[index].facts?.version ?? 0
    }

    /// Takes a member out of the counts and the digest, before it is changed.
    mutating func uncount(_ index: Int) {
        digest.toggle(members[index], factsVersion: factsVersion(at: index))
        adjustCounts(index, by: -1)
    }

    /// Puts a member into the counts and the digest, after it was changed.
    mutating func count(_ index: Int) {
        digest.toggle(members[index], factsVersion: factsVersion(at: index))
        adjustCounts(index, by: 1)
    }

    private mutating func adjustCounts(_ index: Int, by amount: Int) {
        guard members[index].id != id else { return }
        switch members[index].status {
        case .alive, .suspect: peerCount += amount
        case .dead: deadCount += amount
        case .left: leftCount += amount
        }
    }

    // MARK: - Merging

    /// Merges one belief about another host, or refutes one about ourselves.
    mutating func merge(
        _ update: MemberUpdate, via channel: Channel, from source: Source, at now: Instant,
        into outputs: inout [MembershipOutput]
    ) {
        guard update.id != id else {
            refute(update, told: source, at: now, into: &outputs)
            return
        }
        guard let index = find(update.id) else {
            insert(update, via: channel, at: now, into: &outputs)
            return
        }
        // Most of what arrives is known already: say so before anything is copied.
        guard
            update.rank > members[index].rank || hasNewFacts(update, at: index)
                || (update.status == .suspect && update.rank == members[index].rank)
        else { return }
        let before = members[index]
        uncount(index)
        mergeRecord(update, at: index, via: channel, now: now)
        mergeFacts(update, at: index)
        count(index)
        let after = members[index]
        if before.status.isPresent != after.status.isPresent {
            settlePresence(index, at: now)
            if channel == .table { pull?.hasNews = true }
        }
        guard
            before.status != after.status || before.bootEpoch != after.bootEpoch
                || before.address != after.address || before.facts != after.facts
        else { return }
        if before.status == .dead, after.status == .alive, after.bootEpoch == before.bootEpoch {
            compareSoon(with: after, at: now)
        }
        outputs.append(.changed(after, from: before.status))
    }

    /// Keeps the newer of two beliefs; equal ones only add accusers.
    private mutating func mergeRecord(
        _ given: MemberUpdate, at index: Int, via channel: Channel, now: Instant
    ) {
        var update = given
        let isRestart = update.bootEpoch > members[index].bootEpoch
        if channel == .table, update.status == .dead, !isRestart, members[index].status.isPresent {
            // An old table's belief: the host gets the whole time to say otherwise.
            update.status = .suspect
            update.accusers = []
        }
        guard update.rank > members[index].rank else {
            if update.status == .suspect, update.rank == members[index].rank {
                accuse(index, by: update.accusers, at: now)
            }
            return
        }
        endSuspicion(of: update.id)
        members[index].bootEpoch = update.bootEpoch
        members[index].incarnation = update.incarnation
        members[index].status = update.status
        members[index].address = update.address
        if !update.status.isPresent {
            notes[index].departedAt = now - age(of: update)
        }
        if update.status == .suspect {
            startSuspicion(index, accusers: update.accusers, at: now)
        }
        tell(index, .record)
    }

    /// Takes over facts that are newer; they only count beside a record of the same start.
    private mutating func mergeFacts(_ update: MemberUpdate, at index: Int) {
        guard update.bootEpoch == members[index].bootEpoch, hasNewFacts(update, at: index) else {
            return
        }
        members[index].facts = update.facts
        notes[index].factsEpoch = update.bootEpoch
        tell(index, .facts)
    }

    /// True when an update's facts are newer than ours, and not too long.
    private func hasNewFacts(_ update: MemberUpdate, at index: Int) -> Bool {
        guard let facts = update.facts else { return false }
        let isNewer =
            notes[index].factsEpoch < update.bootEpoch
            || (notes[index].factsEpoch == update.bootEpoch
                && (members[index].facts.map { $0.version < facts.version } ?? true))
        return isNewer && facts.encodedCount <= MembershipCore.factsBytesMax
    }

    /// Adds a host that was not known, if there is room and it is not long gone.
    private mutating func insert(
        _ update: MemberUpdate, via channel: Channel, at now: Instant,
        into outputs: inout [MembershipOutput]
    ) {
        let age = age(of: update)
        guard age < config.deadRetention || update.status.isPresent, makeRoom() else { return }
        var facts = update.facts
        if let given = facts, given.encodedCount > MembershipCore.factsBytesMax { facts = nil }
        let place = place(of: update.id)
        let member = Member(
            id: update.id, bootEpoch: update.bootEpoch, address: update.address,
            incarnation: update.incarnation, status: update.status, facts: facts)
        members.insert(member, at: place)
        notes.insert(
            MemberNotes(factsEpoch: update.bootEpoch, departedAt: now - age), at: place)
        count(place)
        settlePresence(place, at: now)
        if channel == .table, update.status.isPresent { pull?.hasNews = true }
        if update.status == .suspect {
            startSuspicion(place, accusers: update.accusers, at: now)
        }
        // A newcomer's first table is no news to anybody else.
        if !(channel == .table && pull?.isFirst == true) {
            tell(place, facts == nil ? .record : .facts)
        }
        outputs.append(.changed(member, from: nil))
        boundDead()
    }

    /// How long ago a departed host departed, as the update says, within the retention.
    private func age(of update: MemberUpdate) -> Duration {
        guard !update.status.isPresent else { return .zero }
        let most = config.deadRetention
        let seconds = Int64(clamping: update.ageSeconds)
        return seconds >= most.components.seconds ? most : .seconds(seconds)
    }

    /// After a member came or went: probing and the timers that depend on there being somebody.
    mutating func settlePresence(_ index: Int, at now: Instant) {
        let member = members[index]
        guard member.id != id else { return }
        if member.status.isPresent {
            if probeOrder.count > 2 * members.count + 16 { startRound() }
            let rest = probeOrder.count - probePosition
            let offset = Int.random(in: 0...max(0, rest), using: &random)
            probeOrder.insert(member.id, at: probePosition + offset)
            if peerCount == 1 { startTimers(at: now) }
        } else {
            if probe?.target == member.id { probe = nil }
            if deadCount + leftCount == 1 { nextForgetAt = now + MembershipCore.forgetInterval }
            if peerCount == 0 || deadCount == 1 {
                nextDeadRetryAt = now + config.deadRetryInterval
            }
        }
    }

    /// Starts probing and comparing when the first peer appears, at a random phase.
    ///
    /// The first comparison comes soon: whoever joined together with us was not in the table that
    /// we were given, and the news of it was sent to those who were there.
    private mutating func startTimers(at now: Instant) {
        nextProbeAt = now + random.duration(in: .zero...config.probeInterval)
        nextSyncAt = now + random.duration(in: config.syncInterval / 20...config.syncInterval / 5)
        nextGossipAt = max(nextGossipAt, now)
        tell(selfIndex, .facts)
    }

    // MARK: - Bounds

    /// True when one more member fits, if need be after forgetting the longest dead.
    private mutating func makeRoom() -> Bool {
        if members.count < config.membersMax { return true }
        return forgetOldest()
    }

    /// Keeps the number of departed members within its bound.
    mutating func boundDead() {
        while deadCount + leftCount > config.deadMax, forgetOldest() {}
    }

    /// Forgets who departed first; false when nobody departed.
    private mutating func forgetOldest() -> Bool {
        var oldest: Int?
        for index in members.indices
        where members[index].id != id && !members[index].status.isPresent {
            if let other = oldest, notes[other].departedAt <= notes[index].departedAt { continue }
            oldest = index
        }
        guard let oldest else { return false }
        forget(oldest)
        return true
    }

    /// Forgets, once a minute, whoever departed longer ago than the retention.
    mutating func forgetOld(at now: Instant) {
        guard deadCount + leftCount > 0, nextForgetAt <= now else { return }
        nextForgetAt = now + MembershipCore.forgetInterval
        for index in members.indices.reversed()
        where members[index].id != id && !members[index].status.isPresent
            && now - notes[index].departedAt >= config.deadRetention
        {
            forget(index)
        }
    }

    private mutating func forget(_ index: Int) {
        uncount(index)
        if notes[index].isRumored { rumors.remove(members[index].id) }
        members.remove(at: index)
        notes.remove(at: index)
    }
}
