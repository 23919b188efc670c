import Base
import ClusterModel

/// Moving a slot with its volumes to another host.
extension ReplicatedState {
    /// The move of a slot that is under way; nil when there is none.
    package func move(of slot: SlotID) -> SlotMove? {
        moves.position(of: slot) { $0.slot }.map { moves[$0] }
    }

    /// True while a slot must run nowhere, because its volumes are copied for the last time.
    package func isHeld(_ slot: SlotID) -> Bool { move(of: slot)?.heldAt != nil }

    /// True for a volume whose slot has its volumes on another host: what a move left behind, or a
    /// copy of a move that came to nothing.
    package func isLeftBehind(_ volume: VolumeReport, on host: HostID) -> Bool {
        if finishedMove(leaving: volume.id, on: host) != nil { return true }
        guard volume.owner != .zero, let service = service(volume.slot.service),
            service.createdAt == volume.owner, let holder = slot(volume.slot)?.volumeHost
        else { return false }
        return holder != host
    }

    /// The finished move that left this volume behind.
    func finishedMove(leaving volume: String, on host: HostID) -> FinishedMove? {
        finishedMoves.last { finished in
            finished.move.source == host && finished.volumes.contains { $0.original == volume }
        }
    }

    /// The host that got a slot's volumes and has not told of them yet.
    func arrival(of slot: SlotID, owner: LogIndex) -> HostID? {
        finishedMoves.last { $0.move.slot == slot && $0.owner == owner && !$0.isTargetDone }?
            .move.target
    }

    /// True when the log says that this copy on this host is a volume of its slot now.
    package func hasArrived(copy: String, on host: HostID) -> Bool {
        finishedMoves.contains { finished in
            finished.move.target == host && finished.volumes.contains { $0.copy == copy }
        }
    }

    // MARK: Steps

    /// Begins a move, after everything that can be known before was looked at.
    mutating func startMove(
        of slot: SlotID, to target: HostID, _ change: inout Change
    ) throws(CommandRefusal) {
        guard let record = self.slot(slot), let service = service(slot.service) else {
            throw CommandRefusal(
                .serviceUnknown, "there is no set \(slot); `shoal sets` lists them")
        }
        guard !service.spec.volumes.isEmpty, let source = record.volumeHost else {
            throw CommandRefusal(
                .invalid, "\(slot) has no volumes: nothing holds it to a host, or moves with it")
        }
        guard record.restoration == nil else {
            throw CommandRefusal(
                .invalid, "the volumes of \(slot) are being restored: wait for that")
        }
        let host = try usable(target, for: slot, of: service)
        guard source != target else {
            throw CommandRefusal(.invalid, "the volumes of \(slot) are on \(host.name) already")
        }
        if let known = move(of: slot) {
            guard known.target != target else { return }
            let other = self.host(known.target)?.name ?? known.target.short
            throw CommandRefusal(
                .invalid,
                "\(slot) is on its way to \(other); cancel that first, with `shoal volume move "
                    + "\(slot) --cancel`")
        }
        guard let holder = self.host(source), holder.status == .active else {
            throw CommandRefusal(
                .hostUnknown,
                "the host \(self.host(source)?.name ?? source.short), which holds the volumes of "
                    + "\(slot), is lost: there is nothing to copy them from")
        }
        guard moves.count + finishedMoves.count < Limits.moves else {
            throw CommandRefusal(
                .tooMany, "\(Limits.moves) moves are under way or not settled: wait for some")
        }
        let place = moves.lowerBound(of: slot) { $0.slot }
        moves.insert(
            SlotMove(slot: slot, source: source, target: target, index: change.index), at: place)
        change.note(
            .slotMoved, slot.description,
            "moves from \(holder.name) to \(host.name): copying while it runs")
    }

    /// The target of a move, if it may run the slot.
    private func usable(
        _ id: HostID, for slot: SlotID, of service: ServiceRecord, hasCopies: Bool = false
    ) throws(CommandRefusal) -> HostRecord {
        guard let host = host(id) else {
            throw CommandRefusal(
                .hostUnknown, "no host \(id.short) is registered; `shoal hosts` lists them")
        }
        var need = VolumeNeed(service.spec.volumes)
        // What copies take on the host is taken already.
        if hasCopies { need.room = VolumeRoom() }
        let obstacle = host.obstacle(
            to: service.spec, demand: service.spec.demand, free: host.free,
            apart: servicesApart(from: service.name), volumes: need,
            promised: volumesPromised(on: id))
        if let obstacle {
            throw CommandRefusal(
                .noRoom, "\(slot) cannot move to \(host.name): it \(obstacle.phrase)")
        }
        return host
    }

    /// Takes a step of a move; a step of another move, or one that was taken already, is refused or
    /// changes nothing.
    mutating func stepMove(
        of slot: SlotID, _ index: LogIndex, _ step: MoveStep, _ change: inout Change
    ) throws(CommandRefusal) {
        guard let position = moves.position(of: slot, by: { $0.slot }),
            moves[position].index == index, let service = service(slot.service)
        else {
            throw CommandRefusal(.invalid, "\(slot) is not being moved, or not by this move")
        }
        let move = moves[position]
        switch step {
        case .hold:
            guard move.heldAt == nil else { return }
            let host = try usable(move.target, for: slot, of: service, hasCopies: true)
            moves[position].heldAt = change.index
            setPlacement(nil, of: slot, demand: Resources(), at: change.index)
            update(slot) { $0.pendingReason = "is held while its last changes go to \(host.name)" }
            change.note(
                .slotMoved, slot.description,
                "held: what changed since the copy goes to \(host.name)")
        case .release(let reason): release(position, reason: reason, &change)
        case .finish(let heldAt, let copies):
            guard move.heldAt == heldAt else {
                throw CommandRefusal(.invalid, "\(slot) ran again since its volumes were copied")
            }
            try finish(position, copies, owner: service.createdAt, &change)
        case .cancel(let reason):
            moves.remove(at: position)
            if move.heldAt != nil { update(slot) { $0.pendingReason = reason.bounded } }
            let source = host(move.source)?.name ?? move.source.short
            change.note(.slotMoved, slot.description, "stays on \(source): \(reason)")
        }
    }

    private mutating func release(_ position: Int, reason: String, _ change: inout Change) {
        guard moves[position].heldAt != nil else { return }
        let slot = moves[position].slot
        moves[position].heldAt = nil
        update(slot) { $0.pendingReason = reason.bounded }
        change.note(
            .slotMoved, slot.description, "runs where it was while its move waits: \(reason)")
    }

    private mutating func finish(
        _ position: Int, _ copies: [MovedVolume], owner: LogIndex, _ change: inout Change
    ) throws(CommandRefusal) {
        let move = moves[position]
        guard !copies.isEmpty, copies.count <= FinishedMove.volumesMax else {
            throw CommandRefusal(.invalid, "a move of \(copies.count) volumes is none")
        }
        moves.remove(at: position)
        finishedMoves.append(FinishedMove(move: move, owner: owner, volumes: copies))
        update(move.slot) {
            $0.volumeHost = move.target
            $0.pendingReason = ""
            $0.changedAt = change.index
        }
        let names = [move.source, move.target].map { host($0)?.name ?? $0.short }
        change.note(
            .slotMoved, move.slot.description,
            "moved from \(names[0]) to \(names[1]) with \(copies.count) volumes")
    }

    // MARK: What else happens

    /// Lets slots run again that are held for a host which is lost now.
    mutating func releaseMoves(to id: HostID, named name: String, _ change: inout Change) {
        for position in moves.indices where moves[position].target == id {
            release(position, reason: "host \(name), where it moves to, is lost", &change)
        }
    }

    /// Ends moves from or to a host that is gone for good.
    mutating func forgetMoves(of id: HostID, named name: String, _ change: inout Change) {
        for move in moves where move.source == id || move.target == id {
            change.note(.slotMoved, move.slot.description, "stays: host \(name) was forgotten")
        }
        moves.removeAll { $0.source == id || $0.target == id }
        finishedMoves.removeAll { $0.move.source == id || $0.move.target == id }
    }

    /// Ends the move of a slot whose volumes are replaced by others.
    mutating func dropMove(of slot: SlotID, _ change: inout Change) {
        guard let position = moves.position(of: slot, by: { $0.slot }) else { return }
        moves.remove(at: position)
        change.note(.slotMoved, slot.description, "its move is over: its volumes are restored")
    }

    /// Ends the moves of slots that are no more, or have no volumes any more.
    mutating func dropMoves(of service: String) {
        guard moves.contains(where: { $0.slot.service == service }) else { return }
        moves = moves.filter { move in
            move.slot.service != service || self.slot(move.slot)?.volumeHost == move.source
        }
    }

    /// Takes in what a host says of its volumes: it may know of finished moves now.
    mutating func settleMoves(_ volumes: [VolumeReport], of host: HostID) {
        for position in finishedMoves.indices {
            let finished = finishedMoves[position]
            if finished.move.source == host {
                finishedMoves[position].isSourceDone = !volumes.contains { volume in
                    (volume.trashedAt == nil || volume.owner != .zero)
                        && finished.volumes.contains { $0.original == volume.id }
                }
            }
            if finished.move.target == host {
                finishedMoves[position].isTargetDone = finished.volumes.allSatisfy { moved in
                    volumes.contains { $0.id == moved.copy }
                }
            }
        }
        finishedMoves.removeAll { $0.isSourceDone && $0.isTargetDone }
    }
}
