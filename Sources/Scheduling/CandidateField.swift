import Base
import ClusterModel
import ClusterState

/// The hosts that one service's sets may go to, so ordered that the best is found quickly.
///
/// Hosts of the same rack share the service's counts of that rack and its datacentre, so each rack
/// keeps a heap of its hosts and only the racks' best ones are compared. An entry whose host
/// changed since is left in its heap and dropped when it comes up.
struct CandidateField {
    /// What is free, for all services of the batch.
    var tally: Tally
    private let spec: ServiceSpec
    private let demand: Resources
    /// What the volumes of one more set take.
    let volumes: VolumeNeed
    private let spread: [FailureDomain]
    private var racks: [Rack] = []
    /// Sets of the service in each datacentre.
    private var inDatacenter: [Int] = []
    /// Sets of the service on each host; by position.
    private(set) var onHost: [Int]
    /// The rack of each host; by position.
    private let rackOf: [Int]
    /// Whether the service's sets may go there as far as room does not matter; by position.
    private var isEligible: [Bool]
    /// Rises with every change of a host; entries with an older number are void.
    private var versions: [Int]

    private struct Rack {
        let zone: Zone
        let datacenter: Int
        var sets = 0
        var entries: [Entry] = []
    }

    private struct Entry {
        let sets: Int
        let freeShare: Int
        let position: Int
        let version: Int
    }

    init(_ service: ServiceRecord, state: ReplicatedState, tally: Tally, apart: [String]) {
        self.tally = tally
        spec = service.spec
        demand = service.spec.demand
        volumes = VolumeNeed(service.spec.volumes)
        if !spec.volumes.isEmpty { self.tally.countVolumes(state) }
        spread = service.spec.placement.spread
        onHost = Array(repeating: 0, count: tally.hosts.count)
        versions = onHost
        (racks, rackOf, inDatacenter) = CandidateField.racks(of: tally.hosts)
        isEligible = tally.hosts.indices.map {
            tally.exclusion(at: $0, to: service.spec, apart: apart, volumes: VolumeNeed()) == nil
        }
        for slot in service.slots where !slot.isHomeless {
            guard let placement = slot.placement,
                let position = tally.position(of: placement.host)
            else { continue }
            count(position, by: 1)
        }
        for position in tally.hosts.indices { offer(position) }
    }

    /// The distinct racks, each host's rack, and a zero for each datacentre.
    private static func racks(of hosts: [HostRecord]) -> ([Rack], [Int], [Int]) {
        // For looking up only: their order never matters.
        var known: [Zone: Int] = [:]
        var datacenters: [String: Int] = [:]
        var racks: [Rack] = []
        var rackOf: [Int] = []
        for host in hosts {
            let zone = host.registration.zone
            if let rack = known[zone] {
                rackOf.append(rack)
                continue
            }
            let datacenter = datacenters[zone.datacenter] ?? datacenters.count
            datacenters[zone.datacenter] = datacenter
            known[zone] = racks.count
            rackOf.append(racks.count)
            racks.append(Rack(zone: zone, datacenter: datacenter))
        }
        return (racks, rackOf, Array(repeating: 0, count: datacenters.count))
    }

    /// Takes the best host for one more set; nil when none fits.
    mutating func take() -> Int? {
        var best: (rack: Int, entry: Entry)?
        for rack in racks.indices {
            guard let entry = top(of: rack) else { continue }
            if let known = best, !isBetter((rack, entry), than: known) { continue }
            best = (rack, entry)
        }
        guard let best else { return nil }
        add(at: best.entry.position)
        return best.entry.position
    }

    /// True when a set fits the host now; its volumes are new there unless their need is given.
    func fits(_ position: Int, volumes need: VolumeNeed? = nil) -> Bool {
        guard isEligible[position],
            HostRecord.shortage(of: tally.free[position], for: demand) == nil
        else { return false }
        guard !spec.volumes.isEmpty else { return true }
        return tally.hosts[position].volumeShortage(
            for: need ?? volumes, promised: tally.promised[position]) == nil
    }

    /// What the volumes of a slot need at a host beyond what is promised to them there.
    func need(of slot: SlotRecord, in service: ServiceRecord, at position: Int) -> VolumeNeed {
        guard !spec.volumes.isEmpty else { return volumes }
        let ledger = tally.ledgers[position]
        var need = volumes
        need.room = ledger.growth(of: slot.slot, to: spec.volumes, owner: service.createdAt)
        if let placement = slot.placement, placement.host == tally.hosts[position].id,
            let placed = service.spec(revision: placement.revision)
        {
            need.room = need.room.beyond(
                ledger.growth(of: slot.slot, to: placed.volumes, owner: service.createdAt))
        }
        need.holder = slot.volumeHost.map { id in
            VolumeNeed.Holder(
                id: id, name: tally.position(of: id).map { tally.hosts[$0].name } ?? id.short)
        }
        return need
    }

    /// Counts one set of the service's current revision in.
    mutating func add(at position: Int, volumes need: VolumeNeed? = nil) {
        count(position, by: 1)
        if !spec.volumes.isEmpty {
            tally.promised[position] = tally.promised[position] + (need ?? volumes).room
        }
        tally.free[position] = tally.free[position] - demand
        if tally.brought[position].last != spec.name { tally.brought[position].append(spec.name) }
        offer(position)
    }

    /// Gives back what a set of any revision takes at the host.
    mutating func release(_ demand: Resources, at position: Int) {
        count(position, by: -1)
        tally.free[position] = tally.free[position] + demand
        offer(position)
    }

    /// Undoes `release`.
    mutating func restore(_ demand: Resources, at position: Int) {
        count(position, by: 1)
        tally.free[position] = tally.free[position] - demand
        offer(position)
    }

    /// Sets of the service in the host's datacentre, its rack and on itself.
    func counts(at position: Int) -> (datacenter: Int, rack: Int, host: Int) {
        let rack = racks[rackOf[position]]
        return (inDatacenter[rack.datacenter], rack.sets, onHost[position])
    }

    /// The scarcest resource's free share in ten-thousandths.
    func freeShare(at position: Int) -> Int {
        let free = tally.free[position]
        let capacity = tally.hosts[position].registration.capacity
        func share(_ free: Int, _ capacity: Int) -> Int {
            capacity > 0 && free > 0 ? free * 10_000 / capacity : 0
        }
        func bandwidth(_ free: Int, _ capacity: Int) -> Int {
            // A host that does not know its bandwidth has all of it left.
            capacity > 0 ? share(free, capacity) : 10_000
        }
        return min(
            share(free.millicores, capacity.millicores),
            share(free.memoryBytes, capacity.memoryBytes), share(free.sets, capacity.sets),
            min(
                bandwidth(free.egressBitsPerSecond, capacity.egressBitsPerSecond),
                bandwidth(free.ingressBitsPerSecond, capacity.ingressBitsPerSecond)))
    }

    private mutating func count(_ position: Int, by amount: Int) {
        onHost[position] += amount
        racks[rackOf[position]].sets += amount
        inDatacenter[racks[rackOf[position]].datacenter] += amount
    }

    /// Puts the host as it is now into its rack's heap, if a set fits.
    private mutating func offer(_ position: Int) {
        versions[position] += 1
        guard fits(position) else { return }
        let entry = Entry(
            sets: spread.contains(.host) ? onHost[position] : 0,
            freeShare: freeShare(at: position), position: position, version: versions[position])
        racks[rackOf[position]].entries.heapInsert(entry, by: CandidateField.isAhead)
    }

    /// The best entry of a rack that is still true.
    private mutating func top(of rack: Int) -> Entry? {
        while let entry = racks[rack].entries.first {
            if entry.version == versions[entry.position] { return entry }
            racks[rack].entries.heapRemoveFirst(by: CandidateField.isAhead)
        }
        return nil
    }

    private static func isAhead(_ left: Entry, _ right: Entry) -> Bool {
        if left.sets != right.sets { return left.sets < right.sets }
        if left.freeShare != right.freeShare { return left.freeShare > right.freeShare }
        return left.position < right.position
    }

    /// The service's failure domains in their order, then the free share, then the identity.
    private func isBetter(_ left: (rack: Int, entry: Entry), than right: (rack: Int, entry: Entry))
        -> Bool
    {
        for domain in spread {
            let (a, b) = (sets(left, in: domain), sets(right, in: domain))
            if a != b { return a < b }
        }
        if left.entry.freeShare != right.entry.freeShare {
            return left.entry.freeShare > right.entry.freeShare
        }
        return left.entry.position < right.entry.position
    }

    private func sets(_ candidate: (rack: Int, entry: Entry), in domain: FailureDomain) -> Int {
        switch domain {
        case .datacenter: inDatacenter[racks[candidate.rack].datacenter]
        case .rack: racks[candidate.rack].sets
        case .host: onHost[candidate.entry.position]
        }
    }
}

extension Array {
    /// Adds an element to a binary heap whose first element is ahead of all others.
    mutating func heapInsert(_ element: Element, by isAhead: (Element, Element) -> Bool) {
        append(element)
        var child = count - 1
        while child > 0, isAhead(self[child], self[(child - 1) / 2]) {
            swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// Removes the first element of a binary heap.
    mutating func heapRemoveFirst(by isAhead: (Element, Element) -> Bool) {
        guard let last = popLast(), !isEmpty else { return }
        self[0] = last
        var parent = 0
        while 2 * parent + 1 < count {
            var child = 2 * parent + 1
            if child + 1 < count, isAhead(self[child + 1], self[child]) { child += 1 }
            guard isAhead(self[child], self[parent]) else { return }
            swapAt(child, parent)
            parent = child
        }
    }
}
