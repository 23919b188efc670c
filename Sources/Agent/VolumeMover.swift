import BackupStore
import Base
import ClusterModel
import ClusterState
import PeerCore
import VolumePlan
import VolumeStore

/// Brings slots that move to this host here: copies their volumes, has them held, and switches.
///
/// Everything it needs to know is in the log and in the store's records, so that it goes on after
/// any crash: a copy is compared with its original piece by piece, and what is there is not sent
/// again.
actor VolumeMover {
    private let driver: PeerDriver
    let volumes: VolumeKeeper
    /// Reads the copies of folders for their digests.
    let engine: BackupEngine
    let log: AgentLog
    /// The moves under way here, by the entry that began each.
    private var tasks: [LogIndex: Task<Void, Never>] = [:]

    private static let lookStep = Duration.milliseconds(250)
    private static let retryStep = Duration.milliseconds(500)
    static let patience = Duration.seconds(60)
    /// How long a slot is held for a last copy that cannot be had.
    private static let heldMax = Duration.seconds(60)
    /// A pass that sent no more than this is followed by the last one, and so is the fourth.
    private static let smallPassBytes = 32 << 20
    private static let passesMax = 4

    init(driver: PeerDriver, volumes: VolumeKeeper, engine: BackupEngine, log: AgentLog) {
        self.driver = driver
        self.volumes = volumes
        self.engine = engine
        self.log = log
    }

    /// Looks at the log until it is cancelled.
    func run() async {
        while (try? await Task.sleep(for: VolumeMover.lookStep)) != nil {
            let (me, state, mayAct) = await driver.read { peer, _ in
                (peer.id, peer.state, peer.mayActOnState)
            }
            guard mayAct else { continue }
            let moves = state.moves.filter { $0.target == me }
            for (index, task) in tasks where !moves.contains(where: { $0.index == index }) {
                task.cancel()
                await task.value
                tasks[index] = nil
            }
            do {
                try await settleCopies(state, me)
            } catch {
                log.error("could not settle copies of volumes: \(error)")
            }
            for move in moves where tasks[move.index] == nil {
                tasks[move.index] = Task { await self.carryOut(move.slot, move.index) }
            }
        }
        for task in tasks.values { task.cancel() }
    }

    // MARK: What became of copies

    /// Makes copies volumes whose slots have moved here, and removes those of moves that are over.
    ///
    /// A copy is never the only one of its data before the log says so, and the log remembers what
    /// arrived until this host has told of it.
    private func settleCopies(_ state: ReplicatedState, _ me: HostID) async throws {
        var changed = false
        for copy in try await volumes.store.receivedCopies() {
            if state.hasArrived(copy: copy.id.description, on: me) {
                try await volumes.store.acceptCopy(copy.id)
                log.info("\(copy.name) is here now (\(copy.id))")
                changed = true
            } else if state.move(of: copy.name.slot)?.target != me {
                log.info("removing the copy of \(copy.name) (\(copy.id)): its move is over")
                try await volumes.store.discardCopy(copy.id)
            }
        }
        if changed { await volumes.tell(always: true) }
    }

    // MARK: One move

    /// Why a move can never succeed as things are.
    private struct Obstacle: Error { let reason: String }

    private func carryOut(_ slot: SlotID, _ index: LogIndex) async {
        var passes = 0
        var heldSince: ContinuousClock.Instant?
        var told = ""
        while !Task.isCancelled, let move = await current(slot, index) {
            heldSince = move.heldAt == nil ? nil : heldSince ?? .now
            do {
                let pass = try await copy(move)
                if let heldAt = move.heldAt {
                    try await step(move, .finish(heldAt: heldAt, copies: pass.copies))
                    continue
                }
                passes += 1
                if pass.sent <= VolumeMover.smallPassBytes || passes >= VolumeMover.passesMax {
                    try await step(move, .hold)
                    passes = 0
                }
                continue
            } catch let error as VolumeError {
                await end(move, because: "\(error)")
            } catch let error as Obstacle {
                await end(move, because: error.reason)
            } catch {
                if told != "\(error)" { log.info("moving \(slot) here has to wait: \(error)") }
                told = "\(error)"
                if let heldSince, ContinuousClock.now - heldSince > VolumeMover.heldMax {
                    try? await step(move, .release(reason: told))
                }
            }
            try? await Task.sleep(for: VolumeMover.retryStep)
        }
    }

    private func current(_ slot: SlotID, _ index: LogIndex) async -> SlotMove? {
        let move = await driver.read { peer, _ in peer.state.move(of: slot) }
        return move?.index == index ? move : nil
    }

    private func end(_ move: SlotMove, because reason: String) async {
        guard !Task.isCancelled else { return }
        log.warning("\(move.slot) cannot move here: \(reason)")
        try? await step(move, .cancel(reason: reason))
    }

    /// Takes a step; throws what may pass by itself, and an obstacle for what does not.
    private func step(_ move: SlotMove, _ step: MoveStep) async throws {
        switch await driver.submit(.stepMove(move.slot, move: move.index, step)) {
        case .done(let outcome, _):
            guard case .refused(let refusal) = outcome.result else { return }
            if case .hold = step, refusal.code == .noRoom || refusal.code == .hostUnknown {
                throw Obstacle(reason: refusal.message)
            }
            throw AgentError(refusal.message)
        case .failed(let failure): throw AgentError("\(failure.controlError.message)")
        }
    }

    // MARK: Copying

    /// One pass over all volumes; what was sent, and which copy is of which volume.
    ///
    /// Once the slot is held, the copies equal the originals when this returns, on the disk.
    private func copy(_ move: SlotMove) async throws -> (sent: Int, copies: [MovedVolume]) {
        let header = PeerRequest.moveVolumes(
            slot: move.slot, move: move.index, heldAt: move.heldAt)
        let channel = PeerChannel(
            try await driver.openStream(to: move.source, header: header.encoded))
        defer { channel.cancel() }
        try await channel.expectReady(patience: VolumeMover.patience)
        guard
            case .volumes(let list) = try await channel.receive(
                PeerMoveFrame.self, patience: VolumeMover.patience)
        else { throw AgentError("the source does not name the volumes") }
        let originals = try list.originals()
        guard originals.allSatisfy({ $0.name.slot == move.slot }) else {
            throw AgentError("the source names volumes of another slot")
        }
        for original in originals { try await volumes.store.requireReceivable(original) }
        var sent = 0
        var copies: [MovedVolume] = []
        for original in originals {
            let copy = try await volumes.store.beginReceiving(original)
            copies.append(
                MovedVolume(original: original.id.description, copy: copy.id.description))
            guard original.volumeClass != .directory else {
                sent += try await copyTree(
                    original, to: copy.id, isHeld: move.heldAt != nil, channel)
                continue
            }
            let blocks = try await volumes.store.openCopy(copy.id)
            let (bytes, digest) = try await receive(into: blocks, channel)
            sent += bytes
            if move.heldAt != nil { try await compare(blocks, with: digest, original.name) }
        }
        return (sent, copies)
    }

    /// Receives the pieces of one volume that differ; the bytes, and the digest of the whole.
    private func receive(
        into blocks: VolumeBlocks, _ channel: PeerChannel
    ) async throws -> (sent: Int, digest: PieceDigest) {
        let store = volumes.store
        var sent = 0
        var whole = PieceDigest.zeros
        var next = 0
        while let frame = try await channel.receive(
            PeerMoveFrame.self, patience: VolumeMover.patience)
        {
            if case .end = frame {
                guard next == blocks.count else { break }
                return (sent, whole)
            }
            guard case .digests(let first, let raw) = frame, first == next, !raw.isEmpty,
                first + raw.count <= blocks.count
            else { break }
            let theirs = raw.compactMap { PieceDigest(bytes: $0) }
            guard theirs.count == raw.count else { break }
            let ours = try await store.digests(of: blocks, first..<first + raw.count)
            let wanted = raw.indices.filter { ours[$0] != theirs[$0] }.map { first + $0 }
            try await channel.send(PeerMoveFrame.wanted(wanted))
            for piece in wanted {
                guard
                    case .piece(let number, let bytes) = try await channel.receive(
                        PeerMoveFrame.self, patience: VolumeMover.patience), number == piece
                else { throw AgentError("the source sent another piece than was wanted") }
                try await store.write(piece, bytes, to: blocks)
                sent += bytes.count
            }
            whole = PieceDigest.chain(theirs, after: whole)
            next += raw.count
        }
        throw AgentError("the source broke off in the middle of a volume")
    }

    /// Reads the whole copy from the disk and compares it with what the original is.
    private func compare(
        _ blocks: VolumeBlocks, with expected: PieceDigest, _ name: VolumeName
    ) async throws {
        let store = volumes.store
        try await store.settle(blocks)
        var whole = PieceDigest.zeros
        var first = 0
        while first < blocks.count {
            let pieces = first..<min(blocks.count, first + PeerMoveFrame.piecesMax)
            whole = PieceDigest.chain(
                try await store.digests(of: blocks, pieces), after: whole)
            first = pieces.upperBound
        }
        guard whole == expected else {
            throw AgentError("the copy of \(name) differs from its original")
        }
    }
}
