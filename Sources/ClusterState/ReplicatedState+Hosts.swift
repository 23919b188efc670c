import Base
import ClusterModel

extension ReplicatedState {
    /// Adds a host or takes in what changed of it; ends its being lost.
    mutating func register(
        _ registration: HostRegistration, _ change: inout Change
    ) throws(CommandRefusal) {
        if let problem = registration.problem {
            throw CommandRefusal(
                .invalid, "host \(registration.id.short) cannot register: \(problem)")
        }
        guard let position = hostPosition(registration.id) else {
            return try addHost(registration, &change)
        }
        let known = hosts[position].registration
        guard registration.bootEpoch >= known.bootEpoch else { throw stale(known) }
        if hosts[position].status == .lost { markReturned(position, &change) }
        guard registration != known else { return }
        hosts[position].registration = registration
        let what =
            registration.bootEpoch > known.bootEpoch
            ? "its agent started again" : "it changed what it offers"
        change.note(
            .hostChanged, registration.name, "\(what): \(registration.summary)")
    }

    private mutating func addHost(
        _ registration: HostRegistration, _ change: inout Change
    ) throws(CommandRefusal) {
        guard hosts.count < Limits.hosts else {
            throw CommandRefusal(
                .tooMany,
                "the cluster has \(Limits.hosts) hosts already, lost ones among "
                    + "them: that is the most there can be")
        }
        let record = HostRecord(
            registration: registration, status: .active, statusReason: "",
            subnetIndex: lowestFreeSubnet, registeredAt: change.index, allocated: Resources(),
            slots: [])
        let place = hosts.lowerBound(of: registration.id) { $0.registration.id }
        hosts.insert(record, at: place)
        change.note(.hostRegistered, registration.name, "joined: \(registration.summary)")
    }

    /// Numbers of forgotten hosts are used again, so that all stay below `Limits.hosts`.
    private var lowestFreeSubnet: Int {
        var candidate = 0
        for used in hosts.map(\.subnetIndex).sorted() where used == candidate { candidate += 1 }
        return candidate
    }

    /// Marks a host lost; its sets keep their placement until there is room elsewhere.
    mutating func declareLost(
        _ id: HostID, _ bootEpoch: BootEpoch, reason: String, _ change: inout Change
    ) throws(CommandRefusal) {
        let position = try knownHost(id, bootEpoch)
        guard hosts[position].status == .active else { return }
        hosts[position].status = .lost
        hosts[position].statusReason = reason.bounded
        let slots = hosts[position].slots
        for slot in slots {
            update(slot) {
                $0.stranded = true
                $0.pendingReason = "its host was lost"
            }
        }
        change.note(
            .hostLost, hosts[position].name, "lost with \(slots.count) sets: \(reason)")
        releaseMoves(to: id, named: hosts[position].name, &change)
    }

    /// Marks a lost host active again; sets that did not move meanwhile are its own again.
    mutating func declareReturned(
        _ id: HostID, _ bootEpoch: BootEpoch, _ change: inout Change
    ) throws(CommandRefusal) {
        let position = try knownHost(id, bootEpoch)
        hosts[position].registration.bootEpoch = bootEpoch
        if hosts[position].status == .lost { markReturned(position, &change) }
    }

    private mutating func markReturned(_ position: Int, _ change: inout Change) {
        hosts[position].status = .active
        hosts[position].statusReason = ""
        let slots = hosts[position].slots
        for slot in slots {
            update(slot) {
                $0.stranded = false
                $0.pendingReason = ""
            }
        }
        change.note(
            .hostReturned, hosts[position].name, "returned; \(slots.count) sets are still its own")
        resizeReturned(slots)
    }

    /// Limits that changed while a host was lost need no new sets when it returns with its own.
    private mutating func resizeReturned(_ slots: [SlotID]) {
        // Sorted, so those of one service stand together.
        for (index, slot) in slots.enumerated()
        where index == 0 || slots[index - 1].service != slot.service {
            guard let position = servicePosition(slot.service) else { continue }
            let service = services[position]
            let outdated = slotsToResize(of: position, to: service.spec).slots.filter { slot in
                slots.position(of: slot, by: { $0 }) != nil
                    && self.slot(slot)?.placement?.revision != service.revision
            }
            carryOut(outdated, of: position, to: service.spec)
        }
    }

    /// Removes a lost host; sets that found no room elsewhere are without a host from then on.
    mutating func forget(_ id: HostID, _ change: inout Change) throws(CommandRefusal) {
        guard let position = hostPosition(id) else { throw unknown(id) }
        let host = hosts[position]
        guard host.status == .lost else {
            throw CommandRefusal(
                .hostActive,
                "host \(host.name) is active with \(host.slots.count) sets; end its agent first, "
                    + "only a lost host can be forgotten")
        }
        for slot in host.slots {
            setPlacement(nil, of: slot, demand: Resources(), at: change.index)
            update(slot) { $0.pendingReason = "its host \(host.name) was forgotten".bounded }
        }
        hosts.remove(at: position)
        // Should it join again, it tells of them again.
        hostVolumes.removeAll { $0.host == id }
        change.note(.hostForgotten, host.name, "forgotten by the operator")
        forgetMoves(of: id, named: host.name, &change)
    }

    /// The position of a host, unless it has been started again since `bootEpoch`.
    private func knownHost(
        _ id: HostID, _ bootEpoch: BootEpoch
    ) throws(CommandRefusal) -> Int {
        guard let position = hostPosition(id) else { throw unknown(id) }
        guard bootEpoch >= hosts[position].bootEpoch else {
            throw stale(hosts[position].registration)
        }
        return position
    }

    private func unknown(_ id: HostID) -> CommandRefusal {
        CommandRefusal(
            .hostUnknown, "no host \(id.short) is registered; `shoal hosts` lists the known ones")
    }

    private func stale(_ known: HostRegistration) -> CommandRefusal {
        CommandRefusal(
            .hostStale, "host \(known.name) has been started again since; nothing was changed")
    }
}

extension HostRegistration {
    /// What breaks a rule; nil when it may register.
    fileprivate var problem: String? {
        if !Naming.isHostName(name) {
            return "its name must have 1 to 255 of letters, digits, '-', '_' and '.'"
        }
        for (what, text) in [
            ("pool", pool), ("datacenter", zone.datacenter), ("rack", zone.rack),
        ] where !Naming.isLabel(text) {
            return "its \(what) must have 1 to 63 of letters, digits, '-', '_' and '.'"
        }
        if agentVersion.utf8.count > 64 { return "its agent's version is longer than 64 bytes" }
        if !capacity.isSane { return "its capacity is out of range" }
        return abilities.problem
    }

    /// What it offers, for events.
    fileprivate var summary: String {
        "\(Quantity.text(millicores: capacity.millicores)) CPU, "
            + "\(Quantity.display(bytes: capacity.memoryBytes)) memory, \(capacity.sets) sets, "
            + (capacity.egressBitsPerSecond > 0
                ? "\(Quantity.text(bitsPerSecond: capacity.egressBitsPerSecond)), " : "")
            + "pool \(pool), \(zone.datacenter)/\(zone.rack), at \(address)"
    }
}
