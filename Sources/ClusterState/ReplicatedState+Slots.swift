import Base
import ClusterModel

/// The only places that change a slot: they keep every count and every host's list in step.
extension ReplicatedState {
    /// Binds a slot to a host, or to none, and moves what it takes from the old host to the new.
    mutating func setPlacement(
        _ placement: Placement?, of slot: SlotID, demand: Resources, hasVolumes: Bool = false,
        at index: LogIndex
    ) {
        guard let service = servicePosition(slot.service),
            services[service].slots.indices.contains(slot.ordinal)
        else { return }
        release(services[service].slots[slot.ordinal])
        updateSlot(service, slot.ordinal) {
            $0.placement = placement
            $0.demand = demand
            $0.stranded = false
            $0.pendingReason = ""
            $0.changedAt = index
            $0.report = nil
            // Without a placement the volumes stay where they are.
            if let placement { $0.volumeHost = hasVolumes ? placement.host : nil }
        }
        if placement != nil { dropMoves(of: slot.service) }
        guard let placement, let host = hostPosition(placement.host) else { return }
        hosts[host].allocated = hosts[host].allocated + demand
        let place = hosts[host].slots.lowerBound(of: slot) { $0 }
        hosts[host].slots.insert(slot, at: place)
    }

    /// Gives back to its host what a slot takes there.
    private mutating func release(_ record: SlotRecord) {
        guard let placement = record.placement, let host = hostPosition(placement.host),
            let place = hosts[host].slots.position(of: record.slot, by: { $0 })
        else { return }
        hosts[host].allocated = hosts[host].allocated - record.demand
        hosts[host].slots.remove(at: place)
    }

    /// Changes a slot that exists; its placement is changed by `setPlacement` alone.
    mutating func update(_ slot: SlotID, _ body: (inout SlotRecord) -> Void) {
        guard let service = servicePosition(slot.service),
            services[service].slots.indices.contains(slot.ordinal)
        else { return }
        updateSlot(service, slot.ordinal, body)
    }

    private mutating func updateSlot(
        _ service: Int, _ ordinal: Int, _ body: (inout SlotRecord) -> Void
    ) {
        services[service].count(services[service].slots[ordinal], by: -1)
        body(&services[service].slots[ordinal])
        services[service].count(services[service].slots[ordinal], by: 1)
    }

    /// Gives a service this many slots: new ones without a host, or the highest ones taken away.
    mutating func resize(_ service: Int, to count: Int, at index: LogIndex) {
        let name = services[service].name
        let before = services[service].slots.count
        for ordinal in stride(from: before - 1, through: count, by: -1) {
            release(services[service].slots[ordinal])
            services[service].count(services[service].slots[ordinal], by: -1)
            services[service].slots.removeLast()
        }
        let hasVolumes = !services[service].spec.volumes.isEmpty
        let owner = services[service].createdAt
        let names = services[service].spec.volumes.map(\.name)
        for ordinal in stride(from: before, to: count, by: 1) {
            let id = SlotID(service: name, ordinal: ordinal)
            let slot = SlotRecord(
                slot: id, placement: nil, demand: Resources(), stranded: false,
                pendingReason: "", changedAt: index,
                volumeHost: hasVolumes
                    ? volumeHolder(of: id, owner: owner, names: names) : nil, report: nil)
            services[service].slots.append(slot)
            services[service].count(slot, by: 1)
        }
        if count < before {
            services[service].shrunkAt = index
            dropMoves(of: name)
        }
        services[service].spec.sets = count
        setCount += count - before
    }
}

extension ServiceRecord {
    /// Adds a slot to the counts, or takes it out.
    mutating func count(_ slot: SlotRecord, by amount: Int) {
        if slot.isHomeless {
            homelessCount += amount
        } else if let placement = slot.placement, placement.revision < revision {
            outdatedCount += amount
        }
    }

    /// Counts all slots anew, after the revision changed or the record was read.
    mutating func recount() {
        homelessCount = 0
        outdatedCount = 0
        for ordinal in slots.indices { count(slots[ordinal], by: 1) }
    }
}
