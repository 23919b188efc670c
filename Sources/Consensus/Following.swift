import Base

extension ConsensusCore {
    /// Takes a message from a peer; what comes late or twice changes nothing.
    mutating func receive(
        _ message: ConsensusMessage, from sender: HostID, at now: Instant,
        into outputs: inout [ConsensusOutput]
    ) {
        guard sender != id else { return }
        switch message.body {
        case .preVote(let lastIndex, let lastEpoch):
            answerPreVote(
                epoch: message.epoch, lastIndex: lastIndex, lastEpoch: lastEpoch, from: sender,
                at: now, into: &outputs)
        case .vote(let lastIndex, let lastEpoch, let transfer):
            answerVote(
                epoch: message.epoch, lastIndex: lastIndex, lastEpoch: lastEpoch,
                transfer: transfer, from: sender, at: now, into: &outputs)
        case .preVoteReply(let granted), .voteReply(let granted):
            var preVote = false
            if case .preVoteReply = message.body { preVote = true }
            receiveVote(
                granted: granted, preVote: preVote, epoch: message.epoch, from: sender, at: now,
                into: &outputs)
        case .append(let append):
            guard append.entries.last.map({ $0.epoch <= message.epoch }) ?? true else { return }
            guard accept(epoch: message.epoch, from: sender, at: now, into: &outputs) else {
                return
            }
            receive(append, from: sender, into: &outputs)
        case .snapshot(let chunk):
            guard accept(epoch: message.epoch, from: sender, at: now, into: &outputs) else {
                return
            }
            receive(chunk, from: sender, into: &outputs)
        case .appendReply(let reply):
            receive(reply, epoch: message.epoch, from: sender, at: now, into: &outputs)
        case .snapshotReply(let index, let received):
            guard role == .leaseholder, message.epoch == epoch else { return }
            receiveProgress(
                ofSnapshot: index, received: received, from: sender, at: now, into: &outputs)
        case .timeoutNow:
            takeOver(epoch: message.epoch, from: sender, at: now, into: &outputs)
        }
    }

    /// Follows the sender if it leads this epoch or a later one; tells it if its epoch is over.
    private mutating func accept(
        epoch heard: Epoch, from sender: HostID, at now: Instant,
        into outputs: inout [ConsensusOutput]
    ) -> Bool {
        guard heard >= epoch else {
            let reply = ConsensusMessage.AppendReply(
                matched: false, index: .zero, hintEpoch: .zero, refused: .zero, sentAt: 0)
            outputs.append(
                .send(ConsensusMessage(epoch: epoch, body: .appendReply(reply)), to: sender))
            return false
        }
        if heard == epoch {
            // Two leaseholders in one epoch cannot be; a message that says so is not believed.
            guard role != .leaseholder, (leaseholder ?? sender) == sender else { return false }
        }
        follow(epoch: heard, leaseholder: sender, at: now, into: &outputs)
        lastHeard = now
        resetElectionDeadline(at: now)
        return true
    }

    /// Takes the leaseholder's entries if they continue this log, else says where they may.
    private mutating func receive(
        _ append: ConsensusMessage.Append, from sender: HostID,
        into outputs: inout [ConsensusOutput]
    ) {
        if heardCommit == nil { heardCommit = append.commit }
        let verified = LogIndex(append.previousIndex.value + UInt64(append.entries.count))
        // What the base stands for is committed here, and so equal everywhere.
        let rest = append.entries.drop { $0.index <= log.baseIndex }
        if append.previousIndex >= log.baseIndex,
            log.epoch(at: append.previousIndex) != append.previousEpoch
        {
            refuse(append, from: sender, into: &outputs)
            return
        }
        let new = Array(rest.drop { log.epoch(at: $0.index) == $0.epoch })
        if let first = new.first {
            var truncateFrom: LogIndex?
            if first.index <= log.lastIndex {
                guard first.index > commitIndex else { return }
                truncateFrom = first.index
                truncateLog(from: first.index)
            }
            guard first.index == log.lastIndex.next else { return }
            appendToLog(new)
            persist(truncateFrom: truncateFrom, entries: new, into: &outputs)
        }
        let commit = min(append.commit, min(verified, log.lastIndex))
        if commit > commitIndex { commitIndex = commit }
        var reply = ConsensusMessage.AppendReply(
            matched: true, index: verified, hintEpoch: .zero, refused: .zero,
            sentAt: append.sentAt)
        if new.isEmpty {
            reply.index = min(verified, durableIndex)
            outputs.append(
                .send(ConsensusMessage(epoch: epoch, body: .appendReply(reply)), to: sender))
        } else {
            sendWhenDurable(ConsensusMessage(epoch: epoch, body: .appendReply(reply)), to: sender)
        }
    }

    private func refuse(
        _ append: ConsensusMessage.Append, from sender: HostID,
        into outputs: inout [ConsensusOutput]
    ) {
        let hint = log.lastIndex(upTo: append.previousIndex, epoch: append.previousEpoch)
        let reply = ConsensusMessage.AppendReply(
            matched: false, index: hint.index, hintEpoch: hint.epoch,
            refused: append.previousIndex, sentAt: append.sentAt)
        outputs.append(
            .send(ConsensusMessage(epoch: epoch, body: .appendReply(reply)), to: sender))
    }

    // MARK: - Snapshots

    /// Collects a snapshot's chunks in order, and installs it when it is whole.
    private mutating func receive(
        _ chunk: ConsensusMessage.SnapshotChunk, from sender: HostID,
        into outputs: inout [ConsensusOutput]
    ) {
        if chunk.index <= commitIndex {
            incoming = nil
            acknowledge(snapshot: min(chunk.index, durableIndex), to: sender, into: &outputs)
            return
        }
        if incoming?.isPart(chunk, from: sender, epoch: epoch) != true {
            incoming = IncomingSnapshot(chunk, from: sender, epoch: epoch)
        }
        guard var current = incoming else { return }
        if Int(chunk.offset) == current.bytes.count {
            incoming = nil  // the bytes have one owner, so that appending copies nothing
            current.bytes += chunk.bytes
            if current.bytes.count == current.totalBytes {
                install(current, from: sender, into: &outputs)
                return
            }
            incoming = current
        }
        let reply = ConsensusMessage(
            epoch: epoch,
            body: .snapshotReply(index: chunk.index, received: UInt64(current.bytes.count)))
        outputs.append(.send(reply, to: sender))
    }

    /// Puts a whole snapshot in the place of the log up to it, and of all of it on a conflict.
    private mutating func install(
        _ received: IncomingSnapshot, from sender: HostID, into outputs: inout [ConsensusOutput]
    ) {
        let installed = LogSnapshot(
            index: received.index, epoch: received.epoch, voters: received.voters,
            state: received.bytes)
        var truncateFrom: LogIndex?
        if log.epoch(at: installed.index) == installed.epoch {
            log.compact(through: installed.index)
        } else {
            truncateFrom = installed.index.next
            log.reset(index: installed.index, epoch: installed.epoch)
            configurations = []
            forgetDurable(from: commitIndex.next)
        }
        configurations.removeAll { $0.index <= installed.index }
        configurations.insert(
            Configuration(index: installed.index, voters: installed.voters), at: 0)
        snapshot = installed
        commitIndex = installed.index
        appliedIndex = installed.index
        persist(
            truncateFrom: truncateFrom, snapshot: installed, compactThrough: installed.index,
            into: &outputs)
        outputs.append(.restore(installed))
        let reply = snapshotAcknowledgement(installed.index)
        sendWhenDurable(reply, to: sender)
    }

    private func acknowledge(
        snapshot index: LogIndex, to sender: HostID, into outputs: inout [ConsensusOutput]
    ) {
        outputs.append(.send(snapshotAcknowledgement(index), to: sender))
    }

    private func snapshotAcknowledgement(_ index: LogIndex) -> ConsensusMessage {
        ConsensusMessage(
            epoch: epoch,
            body: .appendReply(
                ConsensusMessage.AppendReply(
                    matched: true, index: index, hintEpoch: .zero, refused: .zero, sentAt: 0)))
    }
}

extension IncomingSnapshot {
    /// Starts with a chunk, wherever it stands: the answer says what is missing.
    init(_ chunk: ConsensusMessage.SnapshotChunk, from sender: HostID, epoch: Epoch) {
        self.init(
            sender: sender, senderEpoch: epoch, index: chunk.index, epoch: chunk.epoch,
            totalBytes: Int(chunk.totalBytes), voters: chunk.voters)
    }

    /// True when a chunk belongs to this snapshot.
    func isPart(
        _ chunk: ConsensusMessage.SnapshotChunk, from sender: HostID, epoch: Epoch
    ) -> Bool {
        self.sender == sender && senderEpoch == epoch && index == chunk.index
            && self.epoch == chunk.epoch && totalBytes == Int(chunk.totalBytes)
            && voters == chunk.voters
    }
}
