import Base
import ClusterModel

/// Reading another host's table, page by page; one at a time.
struct Pull: Sendable {
    /// The number that the next page must carry.
    var number: UInt64
    /// Whom to ask: all seeds, of which only the addresses are known, until one answers; then that
    /// one.
    var peers: [(address: SocketAddress, identity: PeerIdentity?)]
    /// Everything up to this key has been read.
    var cursor: HostID?
    /// How often the same page was asked for.
    var attempts = 0
    /// How many pages were read.
    var pages = 0
    /// When to ask again.
    var resendAt: Instant
    /// True for a join: it starts again until it has succeeded.
    let isJoin: Bool
    /// True when we knew nobody at its start, so that nothing in it is news.
    let isFirst: Bool
    /// Whether the other side should ask back.
    let wantsReturn: Bool
    /// True once it found a member to be there or gone.
    var hasNews = false
}

/// Joining, and comparing tables: digests first, then what differs, a page per round trip.
extension MembershipCore {
    /// How often a page is asked for before the pull is given up.
    private static let attemptsMax = 4

    // MARK: - Asking

    mutating func join(_ addresses: [SocketAddress], at now: Instant) {
        returnIfLeft()
        let own = members[selfIndex].address
        seeds = Array(addresses.filter { $0 != own }.prefix(config.seedsMax))
        startJoin(at: now)
    }

    private mutating func startJoin(at now: Instant) {
        guard !seeds.isEmpty else { return }
        pull = Pull(
            number: nextSequence(), peers: seeds.map { ($0, nil) }, resendAt: now, isJoin: true,
            isFirst: peerCount == 0, wantsReturn: true)
    }

    private mutating func startPull(
        from address: SocketAddress, _ identity: PeerIdentity, wantsReturn: Bool, at now: Instant
    ) {
        guard pull == nil else { return }
        pull = Pull(
            number: nextSequence(), peers: [(address, identity)], cursor: syncCursor, resendAt: now,
            isJoin: false, isFirst: false, wantsReturn: wantsReturn)
    }

    /// Compares tables soon with a member that came back: it knows its side of the partition.
    mutating func compareSoon(with member: Member, at now: Instant) {
        startPull(from: member.address, member.identity, wantsReturn: true, at: now)
    }

    /// Starts the regular comparison and asks again for what did not come.
    mutating func advanceSync(at now: Instant, into outputs: inout [MembershipOutput]) {
        if peerCount > 0, nextSyncAt <= now {
            // A random phase each time, so that hosts started together do not stay together.
            let jitter = random.duration(in: .zero...config.syncInterval / 4)
            nextSyncAt = now + config.syncInterval - config.syncInterval / 8 + jitter
            if pull == nil, let peer = randomPeers(1).first {
                startPull(
                    from: members[peer].address, members[peer].identity, wantsReturn: true,
                    at: now)
            }
        }
        guard var current = pull, current.resendAt <= now else { return }
        if current.attempts >= MembershipCore.attemptsMax {
            pull = nil
            guard current.isJoin else { return }
            startJoin(at: now)
            guard let again = pull else { return }
            current = again
        }
        let isSeeking = current.isJoin && current.pages == 0
        // Seeking seeds never gives up, so its attempts are not counted.
        current.attempts = isSeeking ? 0 : current.attempts + 1
        current.resendAt = now + (isSeeking ? config.joinRetryInterval : config.syncTimeout)
        pull = current
        let request = MembershipMessage.Body.syncRequest(
            number: current.number, digests: digest.buckets, after: current.cursor,
            wantsReturn: current.wantsReturn && current.pages == 0)
        var message = MembershipMessage(sender: ownRecord, body: request)
        message.updates = [update(at: selfIndex, withFacts: true, at: now)]
        for peer in current.peers {
            outputs.append(.send(message, to: peer.address, receiver: peer.identity))
        }
    }

    /// Takes the next page; its updates have been merged already.
    mutating func receivePage(
        _ number: UInt64, next: HostID?, from source: Source, at now: Instant,
        into outputs: inout [MembershipOutput]
    ) {
        guard var current = pull, current.number == number else { return }
        current.pages += 1
        let isProgress = next.map { key in current.cursor.map { $0 < key } ?? true } ?? false
        guard isProgress, current.pages < (current.isJoin ? config.membersMax : config.syncPagesMax)
        else {
            finishPull(current, at: isProgress ? next : nil, now: now)
            return
        }
        current.cursor = next
        current.peers = [(source.address, source.identity)]
        current.number = nextSequence()
        current.attempts = 0
        current.resendAt = now
        pull = current
    }

    /// Ends a pull; the next goes on behind `cursor`, soon if this one found news.
    private mutating func finishPull(_ done: Pull, at cursor: HostID?, now: Instant) {
        pull = nil
        if done.isJoin {
            hasJoined = true
        } else {
            syncCursor = cursor
        }
        guard done.hasNews, !done.isFirst else { return }
        let soon = config.syncInterval / 10
        nextSyncAt = min(nextSyncAt, now + random.duration(in: soon / 2...soon))
    }

    // MARK: - Answering

    /// Sends one page of what differs, and asks back if the other side wants that.
    mutating func answerSync(
        _ number: UInt64, digests: [UInt64], after: HostID?, wantsReturn: Bool,
        from source: Source, at now: Instant, into outputs: inout [MembershipOutput]
    ) {
        guard digests.count == TableDigest.bucketCount else { return }
        var page = MembershipMessage(
            sender: ownRecord, body: .syncPage(number: number, next: id))
        var room = config.datagramBytesMax - page.encodedCount
        var next: HostID?
        var index = after.map { place(of: $0) } ?? 0
        while index < members.count {
            let member = members[index]
            let bucket = TableDigest.bucket(of: member.id)
            if digests[bucket] == digest.buckets[bucket] || member.id == after
                || member.id == source.id && member.status == .alive
            {
                index += 1
                continue
            }
            let update = update(at: index, withFacts: true, at: now)
            let size = update.encodedCount
            guard size <= room, page.updates.count < MembershipMessage.updatesMax else {
                next = page.updates.last?.id
                break
            }
            room -= size
            page.updates.append(update)
            index += 1
        }
        page.body = .syncPage(number: number, next: next)
        outputs.append(.send(page, to: source))
        if wantsReturn, digests != digest.buckets {
            startPull(from: source.address, source.identity, wantsReturn: false, at: now)
        }
    }

    // MARK: - Trying again

    /// True when there is somebody to try again: dead members, or seeds while we are alone.
    var mayRetry: Bool { deadCount > 0 || (peerCount == 0 && !seeds.isEmpty && pull == nil) }

    /// Pings a random dead member now and then, and asks the seeds again while we are alone.
    mutating func retryDead(at now: Instant, into outputs: inout [MembershipOutput]) {
        guard mayRetry, nextDeadRetryAt <= now else { return }
        let isAlone = peerCount == 0
        nextDeadRetryAt =
            now + (isAlone ? config.joinRetryInterval : config.deadRetryInterval)
        if isAlone, pull == nil { startJoin(at: now) }
        guard deadCount > 0 else { return }
        let start = Int.random(in: members.indices, using: &random)
        for offset in members.indices {
            let index = (start + offset) % members.count
            guard members[index].status == .dead else { continue }
            sendPing(to: index, sequence: nextSequence(), into: &outputs)
            return
        }
    }
}
