import Base
import ClusterModel
import ClusterState
import ControlAPI
import VolumePlan
import VolumeStore

/// Moving a slot away from this host: beginning it, showing how far it is, and giving its volumes.
extension AgentBackend {
    /// How long the target may take for its next word.
    static let patience = Duration.seconds(60)
    private static let lookStep = Duration.milliseconds(200)

    // MARK: For operators

    /// Begins a move, or finds it under way, and follows it to its end.
    func move(
        _ text: String, to hostName: String, progress: @escaping VolumeProgressHandler
    ) async throws -> VolumeOperationResult {
        let look = await look()
        let slot = try look.slot(of: text)
        let target = try look.state.host(called: hostName).id
        if look.state.move(of: slot)?.target != target {
            try look.requireStart(of: slot, to: target)
            try await requireReceivable(slot, at: target, look)
            try await write(.startMove(slot, to: target))
        }
        guard let move = await self.look().state.move(of: slot) else {
            throw ControlError(
                .refused, "the move of \(slot) ended at once",
                next: "`shoal events` says why")
        }
        return try await follow(move, progress: progress)
    }

    private func follow(
        _ move: SlotMove, progress: @escaping VolumeProgressHandler
    ) async throws -> VolumeOperationResult {
        while true {
            let look = await look()
            if let now = look.state.move(of: move.slot), now.index == move.index {
                let far = await departures.progress(of: move.slot)
                let what = now.heldAt == nil ? "copying" : "held, copying what changed:"
                let which = far?.volume ?? "\(move.slot)"
                progress(
                    VolumeProgress(
                        doing: "\(what) \(which)", done: far?.done ?? 0, total: far?.total ?? 0))
                try await Task.sleep(for: AgentBackend.lookStep)
                continue
            }
            // What was quick is told of, too.
            if let far = await departures.progress(of: move.slot) {
                progress(
                    VolumeProgress(doing: "copied \(far.volume)", done: far.done, total: far.total))
            }
            await departures.forget(move.slot)
            if let result = look.arrived(move) { return result }
            let last = look.state.events.last {
                $0.kind == .slotMoved && $0.subject == move.slot.description
            }
            throw ControlError(
                .refused, "\(move.slot) \(last?.message ?? "was not moved")",
                next: "`shoal events` shows how it went")
        }
    }

    /// Ends the move of a slot, which stays where it is.
    func cancelMove(_ text: String) async throws -> VolumeOperationResult {
        let look = await look()
        let slot = try look.slot(of: text)
        guard let move = look.state.move(of: slot) else {
            throw ControlError(.refused, "\(slot) is not being moved")
        }
        let known = look.lastVolume(of: slot, on: move.source)
        try await write(
            .stepMove(slot, move: move.index, .cancel(reason: "cancelled by an operator")))
        guard let known else {
            throw ControlError(.failed, "the move of \(slot) is cancelled; it has no volumes here")
        }
        return VolumeOperationResult(message: "\(slot) stays where it is", volume: known)
    }

    /// Asks the target whether it has room, before anything begins.
    private func requireReceivable(_ slot: SlotID, at target: HostID, _ look: Look) async throws {
        let originals = try await keeper.volumes.originals(of: slot, owner: look.owner(of: slot))
        do {
            try AgentBackend.requirePrograms(for: originals)
        } catch {
            throw ControlError(
                .refused, "\(slot) cannot move away from \(look.name(of: look.me)): \(error)")
        }
        let channel = try await open(.receivable(PeerMoveVolumes(originals)), at: target)
        defer { channel.cancel() }
        do {
            try await channel.expectReady()
        } catch {
            throw ControlError(
                .refused, "\(slot) cannot move to \(look.name(of: target)): \(error)")
        }
    }

    // MARK: For other hosts

    /// Answers whether copies of these volumes could be made here.
    func serveReceivable(_ volumes: PeerMoveVolumes, _ channel: PeerChannel) async throws {
        do {
            let originals = try volumes.originals()
            try AgentBackend.requirePrograms(for: originals)
            for original in originals {
                try await keeper.volumes.store.requireReceivable(original)
            }
        } catch {
            return try await channel.refuse("\(error)")
        }
        try await channel.send(PeerReply.ready)
        await channel.finish()
    }

    /// Gives the volumes of a slot that moves away, as far as the log says that they may be had: while
    /// it runs, or at rest once it is held.
    func serveMove(
        _ slot: SlotID, _ index: LogIndex, heldAt: LogIndex?, _ channel: PeerChannel
    ) async throws {
        let look = await look()
        guard let move = look.state.move(of: slot), move.index == index, move.source == look.me,
            move.heldAt == heldAt
        else { return try await channel.refuse("it knows of no such step of a move yet") }
        if heldAt != nil {
            guard await keeper.isGone(slot) else {
                return try await channel.refuse("the set \(slot) is still ending there")
            }
        }
        let originals: [VolumeOriginal]
        do {
            originals = try await keeper.volumes.originals(of: slot, owner: look.owner(of: slot))
        } catch {
            return try await channel.refuse("\(error)")
        }
        try await channel.send(PeerReply.ready)
        try await channel.send(PeerMoveFrame.volumes(PeerMoveVolumes(originals)))
        let store = keeper.volumes.store
        for original in originals {
            if original.volumeClass == .directory {
                try await giveTree(original, isHeld: heldAt != nil, channel)
            } else if heldAt == nil {
                try await give(try await store.openForCopying(original.name), original, channel)
            } else {
                try await store.atRest(original.name) { blocks in
                    try await give(blocks, original, channel)
                }
            }
        }
        await channel.finish()
    }

    private func give(
        _ blocks: VolumeBlocks, _ original: VolumeOriginal, _ channel: PeerChannel
    ) async throws {
        let store = keeper.volumes.store
        var first = 0
        while first < blocks.count {
            let pieces = first..<min(blocks.count, first + PeerMoveFrame.piecesMax)
            let digests = try await store.digests(of: blocks, pieces)
            try await channel.send(PeerMoveFrame.digests(first: first, digests.map(\.bytes)))
            guard
                case .wanted(let wanted) = try await channel.receive(
                    PeerMoveFrame.self, patience: AgentBackend.patience)
            else { throw AgentError("the other host wants something else than pieces") }
            for piece in wanted {
                guard pieces.contains(piece) else {
                    throw AgentError("the other host wants a piece that was not offered")
                }
                let isZero = digests[piece - first].bytes.isEmpty
                let bytes = isZero ? [] : try await store.read(piece, of: blocks)
                try await channel.send(PeerMoveFrame.piece(piece, bytes))
            }
            first = pieces.upperBound
            await departures.note(
                original.name.slot, volume: original.name.description,
                done: min(first * VolumeBlocks.pieceBytes, blocks.size), total: blocks.size)
        }
        try await channel.send(PeerMoveFrame.end)
    }
}

/// How far the copying of slots that move away is, for whoever looks.
actor DepartureProgress {
    private var slots: [SlotID: (volume: String, done: Int, total: Int)] = [:]

    func note(_ slot: SlotID, volume: String, done: Int, total: Int) {
        slots[slot] = (volume, done, total)
    }

    func progress(of slot: SlotID) -> (volume: String, done: Int, total: Int)? { slots[slot] }

    func forget(_ slot: SlotID) { slots[slot] = nil }
}

extension VolumeKeeper {
    /// The volumes of a slot here, as another host must know them; throws while one is busy.
    func originals(of slot: SlotID, owner: LogIndex) async throws -> [VolumeOriginal] {
        let records = try await store.list(measuring: false).map(\.record).filter {
            $0.name.slot == slot && $0.name.snapshot == nil && $0.owner == owner.value
                && $0.state.holdsName
        }
        if let busy = records.first(where: { $0.state != .ready }) {
            throw AgentError("\(busy.name) is \(busy.state.summary)")
        }
        guard !records.isEmpty else { throw AgentError("\(slot) has no volumes here yet") }
        return records.map {
            VolumeOriginal(
                name: $0.name, id: $0.id, volumeClass: $0.volumeClass, fileSystem: $0.fileSystem,
                size: $0.size, owner: $0.owner)
        }
    }
}

extension AgentBackend.Look {
    /// The slot of `web.3`, or of `web.3/data`.
    fileprivate func slot(of text: String) throws -> SlotID {
        guard let slot = SlotID(String(text.prefix { $0 != "/" })) else {
            throw ControlError(.invalid, "'\(text.prefix(100))' is no slot such as web.3")
        }
        return slot
    }

    /// Tries a move on a copy of the state: what the log would refuse needs no asking around.
    fileprivate func requireStart(of slot: SlotID, to target: HostID) throws {
        var copy = state
        let request = RequestID(
            host: HostID(testing: 0), bootEpoch: BootEpoch(0), number: UInt64.max)
        let outcome = copy.apply(
            CommandEnvelope(
                request: request, proposedAt: .now, command: .startMove(slot, to: target)),
            at: state.appliedIndex.next, epoch: state.appliedEpoch)
        if case .refused(let refusal) = outcome.result { throw refusal.controlError }
    }

    /// The entry that created a slot's service.
    fileprivate func owner(of slot: SlotID) -> LogIndex {
        state.service(slot.service)?.createdAt ?? .zero
    }

    /// A volume of a slot on a host, as the host last told.
    fileprivate func lastVolume(of slot: SlotID, on host: HostID) -> VolumeDetails? {
        let volume = state.volumes(of: host).first {
            $0.slot == slot && $0.snapshot == nil && $0.trashedAt == nil
        }
        return volume.map { details(of: $0, on: host) }
    }

    private func details(of volume: VolumeReport, on host: HostID) -> VolumeDetails {
        VolumeDetails(
            volume: volume.title, id: volume.id, host: name(of: host), state: "ready",
            class: volume.volumeClass.rawValue, sizeBytes: volume.sizeBytes,
            usedBytes: volume.usedBytes, slot: volume.slot.description)
    }

    /// What a move came to, once the slot's volumes are on its target and told of.
    fileprivate func arrived(_ move: SlotMove) -> VolumeOperationResult? {
        guard let record = state.slot(move.slot), record.volumeHost == move.target else {
            return nil
        }
        let from = name(of: move.source)
        let finished = state.finishedMoves.last { $0.move.index == move.index }
        let original = state.volumes(of: move.source).first { volume in
            finished?.volumes.contains { $0.original == volume.id } ?? false
        }
        var details =
            lastVolume(of: move.slot, on: move.target)
            ?? original.map { self.details(of: $0, on: move.target) }
            ?? VolumeDetails(
                volume: move.slot.description, id: "", host: name(of: move.target),
                state: "ready", class: "", sizeBytes: 0, usedBytes: 0)
        if let copy = finished?.volumes.first(where: { $0.original == details.id })?.copy {
            details.id = copy
        }
        return VolumeOperationResult(
            message: "moved \(move.slot) from \(from) to \(name(of: move.target))",
            volume: details)
    }
}
