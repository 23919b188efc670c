import Base
import ClusterModel

/// Changing limits while sets run.
///
/// A placement is a promise to run a slot on a host; new limits change what it promises and not
/// that it does. So the placement keeps its index, by which its host knows the set, and only its
/// revision rises: the host then changes the limits of the running set and reports which revision's
/// are in force. Until it has, the slot takes the larger of both demands of its host, so that what
/// is allocated is never less than what the kernel grants.
extension ReplicatedState {
    /// Gives all sets of a service new limits, or none: refused when one does not fit its host.
    mutating func resize(
        _ name: String, by resize: ServiceResize, _ change: inout Change
    ) throws(CommandRefusal) {
        guard let position = servicePosition(name) else { throw unknown(service: name) }
        let spec: ServiceSpec
        do throws(ResizeProblem) {
            spec = try services[position].spec.resized(by: resize)
        } catch {
            throw CommandRefusal(.invalid, error.description)
        }
        try checkRules(spec)
        if let problem = spec.problem(
            after: services[position].spec, held: volumesHeld(by: services[position]))
        {
            throw CommandRefusal(.invalid, problem)
        }
        guard spec != services[position].spec else { return }
        let fit = slotsToResize(of: position, to: spec)
        guard fit.misfits.isEmpty else { throw lacksRoom(fit.misfits, spec) }
        try revise(position, spec, &change)
        services[position].spec = spec
        carryOut(fit.slots, of: position, to: spec)
    }

    /// Takes the limits of a revision back that every host refused: those of the revision before it
    /// are wanted again, as a revision of their own.
    ///
    /// Refused unless that revision is the newest still, differs from the one before it in limits
    /// alone, and is in force on no set. Volumes that grew keep the size they have.
    mutating func takeBackLimits(
        _ name: String, revision: UInt64, _ change: inout Change
    ) throws(CommandRefusal) {
        guard let position = servicePosition(name) else { throw unknown(service: name) }
        let service = services[position]
        guard service.revision == revision else {
            throw CommandRefusal(
                .invalid,
                "\(name) has revision \(service.revision) by now, so that nothing of revision "
                    + "\(revision) is taken back")
        }
        guard var spec = service.revisions.dropLast().last?.spec,
            spec.withoutLimits.template == service.spec.withoutLimits.template
        else {
            throw CommandRefusal(
                .invalid,
                "revision \(revision) of \(name) changed more than limits; apply what is wanted")
        }
        if let taken = service.slots.first(where: { $0.report?.revision == revision }) {
            throw CommandRefusal(
                .invalid, "\(taken.slot) has the limits of revision \(revision) by now")
        }
        (spec.sets, spec.priority) = (service.spec.sets, service.spec.priority)
        for held in volumesHeld(by: service) {
            guard let volume = spec.volumes.firstIndex(where: { $0.name == held.name }),
                let wanted = service.spec.volumes.first(where: { $0.name == held.name })
            else { continue }
            let most = min(held.sizeBytes, wanted.sizeBytes)
            spec.volumes[volume].sizeBytes = max(spec.volumes[volume].sizeBytes, most)
        }
        let fit = slotsToResize(of: position, to: spec)
        guard fit.misfits.isEmpty else { throw lacksRoom(fit.misfits, spec) }
        try revise(position, spec, &change)
        services[position].spec = spec
        carryOut(fit.slots, of: position, to: spec)
        change.note(
            .serviceChanged, name, "the limits of revision \(revision) are taken back: refused")
    }

    /// The largest volume of each name that a service's sets have, as hosts told.
    ///
    /// A host that grows one just now tells so later: then a volume is larger than its spec, which
    /// takes nothing from anybody.
    package func volumesHeld(by service: ServiceRecord) -> [VolumeSize] {
        service.spec.volumes.map { volume in
            var most = 0
            for told in hostVolumes {
                for held in told.volumes
                where held.slot.service == service.name && held.name == volume.name
                    && held.owner == service.createdAt && held.snapshot == nil
                    && held.trashedAt == nil
                {
                    most = max(most, held.sizeBytes)
                }
            }
            return VolumeSize(name: volume.name, sizeBytes: most)
        }
    }

    /// Moves the placements that can stay where they are to the revision just made.
    mutating func carryOut(_ slots: [SlotID], of position: Int, to spec: ServiceSpec) {
        let revision = services[position].revision
        let demand = spec.demand
        for slot in slots {
            guard let record = self.slot(slot), let placement = record.placement,
                let host = hostPosition(placement.host)
            else { continue }
            let taken = record.demand.union(demand)
            hosts[host].allocated = hosts[host].allocated - record.demand + taken
            update(slot) {
                $0.placement?.revision = revision
                $0.demand = taken
                $0.pendingReason = ""
            }
        }
    }

    /// The placed slots that differ from the spec in limits alone: those that can take them where
    /// they are, and those whose hosts lack room, with what is lacking.
    func slotsToResize(
        of position: Int, to spec: ServiceSpec
    ) -> (slots: [SlotID], misfits: [(slot: SlotID, host: String, PlacementObstacle)]) {
        let service = services[position]
        let made = spec.withoutLimits.template
        let demand = spec.demand
        // Only looked up, never iterated: the order of a dictionary differs from host to host.
        var alike: [UInt64: Bool] = [:]
        var free: [HostID: Resources] = [:]
        var grown: [HostID: (ledger: VolumeLedger, promised: VolumeRoom)] = [:]
        var slots: [SlotID] = []
        var misfits: [(slot: SlotID, host: String, PlacementObstacle)] = []
        for record in service.slots {
            guard !record.stranded, let placement = record.placement,
                let host = hostPosition(placement.host)
            else { continue }
            let isAlike =
                alike[placement.revision]
                ?? (service.spec(revision: placement.revision)?.withoutLimits.template == made)
            alike[placement.revision] = isAlike
            guard isAlike else { continue }
            let room = (free[placement.host] ?? hosts[host].free) + record.demand
            let taken = record.demand.union(demand)
            if let obstacle = HostRecord.shortage(of: room, for: taken), taken != record.demand {
                misfits.append((record.slot, hosts[host].name, obstacle))
                continue
            }
            let obstacle = growth(
                of: record, in: service, from: placement.revision, to: spec, on: host,
                &grown[placement.host])
            if let obstacle {
                misfits.append((record.slot, hosts[host].name, obstacle))
                continue
            }
            free[placement.host] = room - taken
            slots.append(record.slot)
        }
        return (slots, misfits)
    }

    /// Counts what the volumes of a placed slot are to grow, unless its host lacks the room.
    ///
    /// `counted` is what the host has promised with what was counted before.
    private func growth(
        of record: SlotRecord, in service: ServiceRecord, from revision: UInt64,
        to spec: ServiceSpec, on host: Int,
        _ counted: inout (ledger: VolumeLedger, promised: VolumeRoom)?
    ) -> PlacementObstacle? {
        guard !spec.volumes.isEmpty else { return nil }
        let ledger = counted?.ledger ?? VolumeLedger(volumes(of: hosts[host].id))
        let promised = counted?.promised ?? volumesPromised(on: host, ledger)
        let owner = service.createdAt
        var need = volumeNeed(of: record, spec, owner: owner, beside: ledger)
        let before = service.spec(revision: revision).map {
            ledger.growth(of: record.slot, to: $0.volumes, owner: owner)
        }
        need.room = need.room.beyond(before ?? VolumeRoom())
        counted = (ledger, promised)
        guard need.room != VolumeRoom() else { return nil }
        if let obstacle = hosts[host].volumeShortage(for: need, promised: promised) {
            return obstacle
        }
        counted = (ledger, promised + need.room)
        return nil
    }

    /// Takes in which revision's limits a host says are in force: what the old ones took is free.
    mutating func limitsReported(_ record: SlotRecord, revision: UInt64) {
        guard let placement = record.placement, placement.revision == revision,
            let host = hostPosition(placement.host),
            let demand = service(record.slot.service)?.spec(revision: revision)?.demand,
            demand != record.demand
        else { return }
        hosts[host].allocated = hosts[host].allocated - record.demand + demand
        update(record.slot) { $0.demand = demand }
    }

    private func lacksRoom(
        _ misfits: [(slot: SlotID, host: String, PlacementObstacle)], _ spec: ServiceSpec
    ) -> CommandRefusal {
        let named = misfits.prefix(3).map { slot, host, obstacle in
            "\(slot) on \(host), which \(obstacle.phrase)"
        }
        let more = misfits.count > 3 ? " and \(misfits.count - 3) more" : ""
        return CommandRefusal(
            .noRoom,
            "no room to resize \(named.joined(separator: "; "))\(more); a set is to have "
                + "\(Quantity.text(millicores: spec.demand.millicores)) of CPU and "
                + "\(Quantity.display(bytes: spec.demand.memoryBytes)) set aside. Nothing was "
                + "changed; ask for less, or change the service with `shoal apply`, which lets "
                + "sets move")
    }
}
