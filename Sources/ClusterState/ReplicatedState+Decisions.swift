import Base
import ClusterModel

extension ReplicatedState {
    /// Carries out the scheduler's decisions; skips, with an event, what is stale by now.
    ///
    /// A decision is stale when its slot was placed, unplaced or created after the state that it is
    /// based on, so that the same batch applied again does nothing.
    mutating func decide(
        _ decisions: [SlotDecision], basedOn: LogIndex, _ change: inout Change
    ) {
        var apart: (service: String, names: [String]) = ("", [])
        for decision in decisions {
            let slot = decision.slot
            if apart.service != slot.service {
                apart = (slot.service, servicesApart(from: slot.service))
            }
            let obstacle = perform(decision, basedOn: basedOn, apart: apart.names, &change)
            guard let obstacle else { continue }
            change.note(.decisionSkipped, slot.description, "decision skipped: \(obstacle)")
        }
    }

    /// Carries out one decision; returns why not.
    private mutating func perform(
        _ decision: SlotDecision, basedOn: LogIndex, apart: [String], _ change: inout Change
    ) -> String? {
        let slot = decision.slot
        // No copy of the service is held: changing a slot beside a copy would copy all slots.
        guard let service = servicePosition(slot.service) else { return "the service is gone" }
        guard services[service].slots.indices.contains(slot.ordinal) else {
            return "the service has only \(services[service].slots.count) sets"
        }
        let record = services[service].slots[slot.ordinal]
        guard record.changedAt <= basedOn else { return "the slot changed meanwhile" }
        switch decision {
        case .place(_, let host, let revision):
            return place(record, of: service, host, revision, apart: apart, &change)
        case .unplace(_, let reason):
            guard let placement = record.placement else { return "the slot has no host" }
            let name = host(placement.host)?.name ?? placement.host.short
            setPlacement(nil, of: slot, demand: Resources(), at: change.index)
            update(slot) { $0.pendingReason = reason.bounded }
            change.note(.setUnplaced, slot.description, "taken from \(name): \(reason)")
        case .pending(_, let reason):
            update(slot) { $0.pendingReason = reason.bounded }
            change.note(.setPending, slot.description, reason)
        }
        return nil
    }

    private mutating func place(
        _ record: SlotRecord, of service: Int, _ id: HostID, _ revision: UInt64,
        apart: [String], _ change: inout Change
    ) -> String? {
        guard let spec = services[service].spec(revision: revision) else {
            return "revision \(revision) is unknown"
        }
        guard record.restoration == nil else { return "its volumes are being restored" }
        // Resized meanwhile: its placement has a newer revision already.
        guard revision >= record.placement?.revision ?? 0 else { return "the slot was resized" }
        guard let position = hostPosition(id) else { return "host \(id.short) is unknown" }
        let host = hosts[position]
        if isHeld(record.slot) { return "the slot is held while its volumes move" }
        if !record.isHomeless, let old = record.placement, old.host == id,
            old.revision == revision
        {
            return "it is there already"
        }
        var free = host.free
        if record.placement?.host == id { free = free + record.demand }
        let demand = spec.demand
        let ledger = spec.volumes.isEmpty ? VolumeLedger([]) : VolumeLedger(volumes(of: id))
        let need = volumeNeed(
            of: record, spec, owner: services[service].createdAt, beside: ledger)
        let promised =
            spec.volumes.isEmpty
            ? VolumeRoom() : volumesPromised(on: position, ledger, without: record.slot)
        let obstacle = host.obstacle(
            to: spec, demand: demand, free: free, apart: apart, volumes: need, promised: promised)
        if let obstacle { return "host \(host.name) \(obstacle.phrase)" }
        let placement = Placement(
            slot: record.slot, host: id, revision: revision, epoch: change.epoch,
            index: change.index)
        setPlacement(
            placement, of: record.slot, demand: demand, hasVolumes: !spec.volumes.isEmpty,
            at: change.index)
        change.note(
            .setPlaced, record.slot.description, "placed on \(host.name), revision \(revision)")
        return nil
    }
}

extension PlacementObstacle {
    /// The obstacle as the end of a sentence that begins with the host.
    package var phrase: String {
        switch self {
        case .lost: "is lost"
        case .unreachable: "does not answer"
        case .otherPool(let pool): "is in pool \(pool)"
        case .otherDatacenter(let datacenter): "is in datacenter \(datacenter)"
        case .apartFrom(let service): "runs \(service), which it must be kept apart from"
        case .lacksCPU: "lacks CPU"
        case .lacksMemory: "lacks memory"
        case .lacksSets: "holds as many sets as it takes"
        case .lacksBandwidth: "lacks bandwidth"
        case .volumesElsewhere(let host): "does not hold its volumes, which are on \(host)"
        case .lacksThinPool: "has no thin pool for lvm volumes"
        case .lacksLoopDevices: "has no loop devices for loop volumes"
        case .volumeRoomUnknown: "has not told yet what room it has for volumes"
        case .lacksVolumeRoom(let volumeClass, let free, let all):
            "has \(Quantity.display(bytes: free)) of \(Quantity.display(bytes: all)) free for "
                + "\(volumeClass.rawValue) volumes"
        case .lacksRuntime(let name): "has no runtime \(name)"
        case .forbidsDevice(let device): "does not allow the device \(device) (allow-devices)"
        case .forbidsCapability(let name):
            "does not allow the capability \(name) (allow-capabilities)"
        }
    }
}
