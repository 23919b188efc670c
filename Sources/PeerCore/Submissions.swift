import Base
import ClusterModel
import ClusterState
import Consensus
import Membership
import Wire

/// Writes of this host on their way into the log.
///
/// A write is sent to the leaseholder until it is seen in this host's own copy of the log, or its
/// time is up. Sending it twice does no harm: the state applies each request once.
struct Submissions: Sendable {
    /// One waiting write.
    struct Waiting: Sendable {
        /// What the asker knows it by; nil for the host's own writes.
        var ticket: UInt64?
        /// The write.
        var envelope: CommandEnvelope
        /// When it was asked for.
        var since: Instant
        /// When it is given up.
        var deadline: Instant
        /// When it is sent (again).
        var sendAt: Instant
        /// How long after that it is sent once more; doubles, because what is slow to come back
        /// is mostly in the log already.
        var retry: Duration
        /// True for a leaseholder's decision: worth nothing once the lease is lost.
        var needsLease: Bool
    }

    /// In the order they were asked for; their request numbers rise.
    private(set) var waiting: [Waiting] = []
    private var lastNumber: UInt64 = 0

    /// The number of the next request.
    mutating func nextNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber
    }

    mutating func add(_ submission: Waiting) { waiting.append(submission) }

    /// Takes out the write of this number; its ticket if an asker waits for it.
    mutating func answered(_ number: UInt64) -> UInt64? {
        guard let index = position(of: number) else { return nil }
        return waiting.remove(at: index).ticket
    }

    /// True while the write of this number waits.
    func contains(_ number: UInt64) -> Bool { position(of: number) != nil }

    private func position(of number: UInt64) -> Int? {
        let position = waiting.partitioningIndex { $0.envelope.request.number >= number }
        guard position < waiting.count, waiting[position].envelope.request.number == number
        else { return nil }
        return position
    }

    /// A leaseholder appeared: everything goes to it at once.
    mutating func sendAllAgain(at now: Instant) {
        for index in waiting.indices { waiting[index].sendAt = now }
    }

    /// The write of this number is in this leaseholder's own log.
    ///
    /// It is committed there, or the lease is lost and the next leaseholder gets it. Appending it again would only fill the log.
    mutating func appended(_ number: UInt64) {
        guard let index = position(of: number) else { return }
        waiting[index].sendAt = waiting[index].deadline
    }

    /// The log refused the write of this number for now.
    mutating func sendAgain(_ number: UInt64, at now: Instant) {
        guard let index = position(of: number) else { return }
        waiting[index].sendAt = max(waiting[index].sendAt, now)
    }

    /// The lease is lost: what only a leaseholder may say is not said any more.
    mutating func dropDecisions() { waiting.removeAll { $0.needsLease } }

    /// Takes out what waited too long.
    mutating func expire(at now: Instant) -> [Waiting] {
        guard waiting.contains(where: { $0.deadline <= now }) else { return [] }
        let expired = waiting.filter { $0.deadline <= now }
        waiting.removeAll { $0.deadline <= now }
        return expired
    }

    /// Marks what is due as sent, and returns it.
    mutating func due(at now: Instant) -> [CommandEnvelope] {
        var due: [CommandEnvelope] = []
        for index in waiting.indices where waiting[index].sendAt <= now {
            waiting[index].sendAt = now + waiting[index].retry
            waiting[index].retry *= 2
            due.append(waiting[index].envelope)
        }
        return due
    }

    /// What is due next; nothing can be sent while nobody holds the lease.
    func nextDeadline(hasLeaseholder: Bool) -> Instant? {
        var earliest: Instant?
        for position in waiting.indices {
            var due = waiting[position].deadline
            if hasLeaseholder { due = min(due, waiting[position].sendAt) }
            earliest = min(earliest ?? due, due)
        }
        return earliest
    }
}

extension Peer {
    /// Accepts a write from this host's own users.
    mutating func submit(
        _ command: Command, ticket: UInt64, at now: Instant, into outputs: inout [PeerOutput]
    ) {
        guard submissions.waiting.count < configuration.submitsMax else {
            outputs.append(
                .unanswered(
                    ticket: ticket, .tooManyWaiting(maximum: configuration.submitsMax)))
            return
        }
        enqueue(command, ticket: ticket, at: now)
    }

    /// Puts a write into the queue; returns its request number.
    @discardableResult
    mutating func enqueue(
        _ command: Command, ticket: UInt64?, needsLease: Bool = false, at now: Instant
    ) -> UInt64 {
        let number = submissions.nextNumber()
        let envelope = CommandEnvelope(
            request: RequestID(host: id, bootEpoch: bootEpoch, number: number),
            proposedAt: wallTime(at: now), command: command)
        submissions.add(
            Submissions.Waiting(
                ticket: ticket, envelope: envelope, since: now,
                deadline: now + configuration.submitTimeout, sendAt: now,
                retry: configuration.submitRetry, needsLease: needsLease))
        return number
    }

    /// Sends what is due to whoever holds the lease, and gives up what waited too long.
    mutating func retrySubmissions(at now: Instant, into outputs: inout [PeerOutput]) {
        for expired in submissions.expire(at: now) {
            guard let ticket = expired.ticket else { continue }
            outputs.append(.unanswered(ticket: ticket, failure(of: expired, at: now)))
        }
        guard let leaseholder = consensus.leaseholder else { return }
        for envelope in submissions.due(at: now) {
            if leaseholder == id {
                log(
                    .propose(ticket: envelope.request.number, envelope.encoded), at: now,
                    into: &outputs)
            } else {
                send(.forward(envelope), to: leaseholder, into: &outputs)
            }
        }
    }

    /// Takes a write that another host forwarded, if this one holds the lease.
    ///
    /// The sender may only ask in its own name, so that nobody takes another's request numbers;
    /// and nobody but the leaseholder decides, so a decision that was forwarded is not taken.
    mutating func accept(
        forwarded envelope: CommandEnvelope, from sender: HostID, at now: Instant,
        into outputs: inout [PeerOutput]
    ) {
        guard envelope.request.host == sender, consensus.role == .leaseholder,
            !envelope.command.isDecision
        else { return }
        log(.propose(ticket: 0, envelope.encoded), at: now, into: &outputs)
    }

    private func failure(of expired: Submissions.Waiting, at now: Instant) -> SubmitFailure {
        let waited = now - expired.since
        if let leaseholder = consensus.leaseholder {
            return .timedOut(waited: waited, leaseholder: leaseholder)
        }
        let alive = membership.aliveIDs
        return .noLeaseholder(
            waited: waited, votersAlive: consensus.voters.count { alive.contains($0) },
            voters: consensus.voters.count)
    }
}

extension Command {
    /// True for what only a leaseholder says.
    fileprivate var isDecision: Bool {
        switch self {
        case .decide, .declareHostLost, .declareHostReturned: true
        default: false
        }
    }
}
