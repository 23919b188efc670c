import Base

extension ConsensusCore {
    /// Starts to send the newest snapshot to a peer that is too far behind for entries.
    mutating func startSnapshot(
        to position: Int, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        guard let snapshot else { return }
        peers[position].inflight = []
        peers[position].mode = .snapshot(
            Progress.Transfer(snapshot: snapshot, offset: 0, sentAt: now))
        sendChunk(to: position, at: now, into: &outputs)
    }

    /// Sends the chunk again when nothing was heard of it for an election timeout.
    mutating func resendChunk(
        to position: Int, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        guard case .snapshot(let transfer) = peers[position].mode,
            now >= transfer.sentAt + config.electionTimeout.lowerBound
        else { return }
        sendChunk(to: position, at: now, into: &outputs)
    }

    /// Takes a peer's word of how much of the snapshot it has, and sends what comes next.
    mutating func receiveProgress(
        ofSnapshot index: LogIndex, received: UInt64, from sender: HostID, at now: Instant,
        into outputs: inout [ConsensusOutput]
    ) {
        guard let position = position(of: sender) else { return }
        peers[position].lastHeard = now
        // A repeated answer is no reason to send a second stream of chunks.
        guard case .snapshot(var transfer) = peers[position].mode,
            transfer.snapshot.index == index, received <= UInt64(transfer.snapshot.state.count),
            Int(received) != transfer.offset
        else { return }
        transfer.offset = Int(received)
        peers[position].mode = .snapshot(transfer)
        sendChunk(to: position, at: now, into: &outputs)
    }

    private mutating func sendChunk(
        to position: Int, at now: Instant, into outputs: inout [ConsensusOutput]
    ) {
        guard case .snapshot(var transfer) = peers[position].mode else { return }
        transfer.sentAt = now
        peers[position].mode = .snapshot(transfer)
        let state = transfer.snapshot.state
        let end = min(state.count, transfer.offset + config.snapshotChunkBytes)
        let chunk = ConsensusMessage.SnapshotChunk(
            index: transfer.snapshot.index, epoch: transfer.snapshot.epoch,
            voters: transfer.snapshot.voters, totalBytes: UInt64(state.count),
            offset: UInt64(transfer.offset), bytes: Array(state[transfer.offset..<end]))
        outputs.append(
            .send(
                ConsensusMessage(epoch: epoch, body: .snapshot(chunk)), to: peers[position].id))
    }
}
