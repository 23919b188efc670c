import Base
import ClusterModel
import ClusterState

/// Plans one service: hosts for its homeless slots, then its update.
struct ServicePlanner {
    /// The candidates, and what is free for the services that come after.
    private(set) var field: CandidateField
    /// What was decided so far.
    private(set) var decisions: [SlotDecision] = []
    private let service: ServiceRecord
    private let apart: [String]
    /// Slots that must run nowhere for the moment.
    private let held: [SlotID]
    private let room: Int
    /// Tells an operator how a slot whose volumes are lost comes back; empty when it cannot.
    private let wayBack: (SlotRecord) -> String
    /// Homeless slots that got a host in this batch.
    private var placedCount = 0

    init(_ service: ServiceRecord, state: ReplicatedState, tally: Tally, room: Int) {
        self.service = service
        self.room = room
        wayBack = { state.wayBack(of: $0, in: service) }
        apart = state.servicesApart(from: service.name)
        held = state.moves.filter { $0.slot.service == service.name && $0.heldAt != nil }
            .map(\.slot)
        field = CandidateField(service, state: state, tally: tally, apart: apart)
    }

    /// Gives a host to each slot that has none, or says why there is none.
    mutating func placeHomeless() {
        guard service.homelessCount > 0 else { return }
        var reason: String?
        for slot in service.slots where slot.isHomeless {
            guard decisions.count < room else { return }
            if let restoration = slot.restoration {
                waitForRestoration(slot, restoration)
                continue
            }
            if held.contains(slot.slot) { continue }
            if let holder = slot.volumeHost, !service.spec.volumes.isEmpty {
                placeAtVolumes(slot, on: holder)
                continue
            }
            // All slots of a service ask for the same: once nothing fits, nothing fits the rest.
            if reason == nil, let position = field.take() {
                place(slot.slot, at: position)
                placedCount += 1
                continue
            }
            let why = reason ?? noHostFits()
            reason = why
            decline(slot, because: why)
        }
    }

    /// A slot runs only where its volumes are, and waits for that host as long as it takes.
    private mutating func placeAtVolumes(_ slot: SlotRecord, on holder: HostID) {
        let names = service.spec.volumes.map(\.name).joined(separator: ", ")
        let what = service.spec.volumes.count == 1 ? "its volume \(names)" : "its volumes \(names)"
        guard let position = field.tally.position(of: holder) else {
            return decline(
                slot,
                because: "waits for \(what): the host \(holder.short) that held it was forgotten"
                    + wayBack(slot))
        }
        let need = field.need(of: slot, in: service, at: position)
        if field.fits(position, volumes: need) {
            field.add(at: position, volumes: need)
            place(slot.slot, at: position)
            placedCount += 1
            return
        }
        let spec = service.spec
        let obstacle = field.tally.obstacle(
            at: position, to: spec, demand: spec.demand, apart: apart, volumes: need)
        let name = field.tally.hosts[position].name
        decline(
            slot,
            because: "waits for host \(name), which holds \(what)"
                + (obstacle.map { ": it \($0.phrase)" } ?? "")
                + (obstacle == .lost ? wayBack(slot) : ""))
    }

    /// A slot whose volumes are being restored waits for the host that does it.
    private mutating func waitForRestoration(
        _ slot: SlotRecord, _ restoration: VolumeRestoration
    ) {
        let position = field.tally.position(of: restoration.host)
        let name = position.map { field.tally.hosts[$0].name } ?? restoration.host.short
        let isThere = position.map { field.tally.hosts[$0].status == .active } ?? false
        decline(
            slot,
            because: restoration.reason(on: name)
                + (isThere ? "" : "; that host is lost, too" + wayBack(slot)))
    }

    /// Replaces sets of older revisions, a share of the service at a time.
    ///
    /// Sets of the current revision that do not run yet count as under way, so that a revision
    /// that cannot run stops by itself. Sets that do not run anyway go first.
    mutating func replaceOutdated(percent: Int) {
        guard service.outdatedCount > 0 else { return }
        let starting = service.slots.reduce(0) { sum, slot in
            let isNew = !slot.isHomeless && slot.placement?.revision == service.revision
            return isNew && slot.phase != .running ? sum + 1 : sum
        }
        var budget = max(1, service.slots.count * percent / 100) - starting - placedCount
        guard budget > 0 else { return }
        let outdated = service.slots.filter {
            !$0.isHomeless && ($0.placement?.revision ?? service.revision) < service.revision
        }
        let idle = outdated.filter { $0.phase != .running }
        let running = outdated.filter { $0.phase == .running }
        for slot in idle + running {
            guard budget > 0, decisions.count < room else { return }
            budget -= 1
            replace(slot)
        }
    }

    private mutating func replace(_ slot: SlotRecord) {
        guard let placement = slot.placement,
            let old = field.tally.position(of: placement.host)
        else { return }
        field.release(slot.demand, at: old)
        let need = field.need(of: slot, in: service, at: old)
        if field.fits(old, volumes: need) {
            field.add(at: old, volumes: need)
            place(slot.slot, at: old)
        } else if slot.volumeHost != nil, !service.spec.volumes.isEmpty {
            let obstacle = field.tally.obstacle(
                at: old, to: service.spec, demand: service.spec.demand, apart: apart,
                volumes: need)
            field.restore(slot.demand, at: old)
            let name = field.tally.hosts[old].name
            decline(
                slot,
                because: "revision \(service.revision) waits for room on host \(name), which holds "
                    + "its volumes" + (obstacle.map { ": it \($0.phrase)" } ?? ""))
        } else if let position = field.take() {
            place(slot.slot, at: position)
        } else {
            let reason = "revision \(service.revision) waits: \(noHostFits())"
            field.restore(slot.demand, at: old)
            decline(slot, because: reason)
        }
    }

    private mutating func place(_ slot: SlotID, at position: Int) {
        let host = field.tally.hosts[position].id
        decisions.append(.place(slot, host: host, revision: service.revision))
    }

    private mutating func decline(_ slot: SlotRecord, because reason: String) {
        guard slot.pendingReason != reason else { return }
        decisions.append(.pending(slot.slot, reason: reason))
    }

    /// Why no host fits, with how many hosts each reason holds for.
    private func noHostFits() -> String {
        let spec = service.spec
        let demand = spec.demand
        var reasons = ObstacleCount(demand: demand, room: field.volumes.room)
        for position in field.tally.hosts.indices {
            let obstacle = field.tally.obstacle(
                at: position, to: spec, demand: demand, apart: apart, volumes: field.volumes)
            if let obstacle { reasons.add(obstacle) }
        }
        return reasons.sentence(hosts: field.tally.hosts.count)
    }
}

/// Counts why hosts were passed over and puts it in a sentence.
struct ObstacleCount {
    private let demand: Resources
    private let room: VolumeRoom
    private var counts: [(obstacle: PlacementObstacle, hosts: Int)] = []
    private var others = 0

    /// More reasons than anybody reads are counted together.
    private static let maximum = 8

    init(demand: Resources, room: VolumeRoom) {
        self.demand = demand
        self.room = room
    }

    mutating func add(_ obstacle: PlacementObstacle) {
        var obstacle = obstacle
        if case .lacksVolumeRoom(let volumeClass, _, _) = obstacle {
            // Each host has its own figures; here only how many lack room counts.
            obstacle = .lacksVolumeRoom(volumeClass, freeBytes: 0, ofBytes: 0)
        }
        if let known = counts.firstIndex(where: { $0.obstacle == obstacle }) {
            counts[known].hosts += 1
        } else if counts.count < ObstacleCount.maximum {
            counts.append((obstacle, 1))
        } else {
            others += 1
        }
    }

    /// Such as `no host fits: 2 of 3 hosts lack memory (need 64 MiB), 1 is in pool batch`.
    func sentence(hosts: Int) -> String {
        guard hosts > 0 else { return "no host fits: none is registered" }
        var parts = counts.map { (hosts: $0.hosts, text: phrase($0.obstacle, $0.hosts)) }
        parts.sort { ($1.hosts, $0.text) < ($0.hosts, $1.text) }
        if others > 0 { parts.append((others, others == 1 ? "is elsewhere" : "are elsewhere")) }
        let texts = parts.enumerated().map { position, part in
            position == 0
                ? "\(part.hosts) of \(hosts) \(hosts == 1 ? "host" : "hosts") \(part.text)"
                : "\(part.hosts) \(part.text)"
        }
        return "no host fits: " + texts.joined(separator: ", ")
    }

    private func phrase(_ obstacle: PlacementObstacle, _ hosts: Int) -> String {
        let isOne = hosts == 1
        switch obstacle {
        case .lost: return isOne ? "is lost" : "are lost"
        case .unreachable: return isOne ? "does not answer" : "do not answer"
        case .otherPool(let pool): return "\(isOne ? "is" : "are") in pool \(pool)"
        case .otherDatacenter(let datacenter):
            return "\(isOne ? "is" : "are") in datacenter \(datacenter)"
        case .apartFrom(let service):
            return "\(isOne ? "runs" : "run") \(service), which must be kept apart"
        case .lacksCPU:
            let need = Quantity.text(millicores: demand.millicores)
            return "\(isOne ? "lacks" : "lack") CPU (need \(need))"
        case .lacksMemory:
            let need = Quantity.display(bytes: demand.memoryBytes)
            return "\(isOne ? "lacks" : "lack") memory (need \(need))"
        case .lacksBandwidth:
            let need = [
                ("egress", demand.egressBitsPerSecond), ("ingress", demand.ingressBitsPerSecond),
            ].filter { $0.1 > 0 }.map { "\($0.0) \(Quantity.text(bitsPerSecond: $0.1))" }
            return "\(isOne ? "lacks" : "lack") bandwidth (need \(need.joined(separator: ", ")))"
        case .volumesElsewhere(let host):
            return "\(isOne ? "does" : "do") not hold its volumes, which are on \(host)"
        case .lacksThinPool:
            return "\(isOne ? "has" : "have") no thin pool for lvm volumes"
        case .lacksLoopDevices:
            return "\(isOne ? "has" : "have") no loop devices for loop volumes"
        case .volumeRoomUnknown:
            return "\(isOne ? "has" : "have") not told yet what room there is for volumes"
        case .lacksVolumeRoom(let volumeClass, _, _):
            let need = volumeClass == .lvm ? room.poolBytes : room.diskBytes
            return "\(isOne ? "lacks" : "lack") room for \(volumeClass.rawValue) volumes (need "
                + "\(Quantity.display(bytes: need)))"
        case .lacksRuntime(let name): return "\(isOne ? "has" : "have") no runtime \(name)"
        case .forbidsDevice(let device):
            return "\(isOne ? "does" : "do") not allow the device \(device)"
        case .forbidsCapability(let name):
            return "\(isOne ? "does" : "do") not allow the capability \(name)"
        case .lacksSets:
            return isOne ? "holds as many sets as it takes" : "hold as many sets as they take"
        }
    }
}
