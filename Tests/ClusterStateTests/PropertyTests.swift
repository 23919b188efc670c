import Base
import ClusterModel
import Testing
import Wire

@testable import ClusterState
@testable import Scheduling

/// What holds after any history, for made-up histories.
@Suite struct PropertyTests {
    static let seeds: [UInt64] = Array(1...8)

    @Test("counts stay true, capacity holds and plans are carried out whole", arguments: seeds)
    func historyKeepsInvariants(seed: UInt64) throws {
        var history = History(seed: seed)
        for step in 0..<150 {
            history.step()
            history.cluster.state.checkCounts()
            if step % 30 == 29 {
                let state = history.cluster.state
                let read = try ReplicatedState(decoding: state.encoded)
                #expect(read == state)
                #expect(read.fingerprint == state.fingerprint)
            }
        }
        #expect(history.skipped == 0)
    }

    @Test("the same log makes the same state, also from a snapshot on", arguments: seeds)
    func replayIsEqual(seed: UInt64) throws {
        var history = History(seed: seed)
        for _ in 0..<100 { history.step() }
        let log = history.cluster.log
        var replayed = ReplicatedState()
        for (position, item) in log.enumerated() {
            if position == log.count / 2 {
                replayed = try ReplicatedState(decoding: replayed.encoded)
            }
            let entry = try CommandEnvelope(decoding: item.entry.encoded)
            #expect(entry == item.entry)
            _ = replayed.apply(entry, at: item.index, epoch: Cluster.epoch)
        }
        #expect(replayed == history.cluster.state)
        #expect(replayed.fingerprint == history.cluster.state.fingerprint)
    }

    @Test("planning comes to an end, and then whatever fits somewhere is placed", arguments: seeds)
    func placesWhatFits(seed: UInt64) {
        var history = History(seed: seed)
        for _ in 0..<100 { history.step() }
        #expect(history.cluster.settle(maximum: 40) < 200)
        let state = history.cluster.state
        for service in state.services where service.homelessCount > 0 {
            let apart = state.servicesApart(from: service.name)
            for host in state.hosts where history.cluster.usable.contains(host.id) {
                let obstacle = host.obstacle(
                    to: service.spec, demand: service.spec.demand, free: host.free, apart: apart,
                    volumes: VolumeNeed(), promised: VolumeRoom())
                #expect(obstacle != nil, "\(service.name) fits \(host.name)")
            }
            for slot in service.slots where slot.isHomeless {
                #expect(slot.reason.hasPrefix("no host fits"))
            }
        }
    }

    @Test("damaged snapshots and commands are refused or read, and never crash", arguments: seeds)
    func damagedBytes(seed: UInt64) {
        var history = History(seed: seed)
        for _ in 0..<40 { history.step() }
        var random = RandomSource(seed: seed)
        let snapshot = history.cluster.state.encoded
        for _ in 0..<60 {
            let length = Int.random(in: 0..<snapshot.count, using: &random)
            #expect(throws: WireError.self) {
                try ReplicatedState(decoding: Array(snapshot[..<length]))
            }
            guard var state = try? ReplicatedState(decoding: snapshot.damaged(&random)) else {
                continue
            }
            _ = Scheduler().plan(state, usable: history.cluster.usable, maximum: 50)
            _ = state.apply(
                history.cluster.log[0].entry, at: LogIndex(.max), epoch: Epoch(.max))
            _ = state.encoded
        }
        for item in history.cluster.log {
            let bytes = item.entry.encoded
            for _ in 0..<10 {
                guard let entry = try? CommandEnvelope(decoding: bytes.damaged(&random)) else {
                    continue
                }
                var state = history.cluster.state
                _ = state.apply(entry, at: state.appliedIndex.next, epoch: Cluster.epoch)
                state.checkCounts()
            }
        }
    }

    @Test("noise is no command and no snapshot", arguments: seeds)
    func noise(seed: UInt64) {
        var random = RandomSource(seed: seed)
        for _ in 0..<300 {
            let bytes = (0..<Int.random(in: 0...200, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            _ = try? CommandEnvelope(decoding: bytes)
            _ = try? Command(decoding: bytes)
            _ = try? ReplicatedState(decoding: bytes)
            _ = try? ReplicatedState(decoding: [1] + bytes)
        }
    }

    @Test("hundreds of hosts and thousands of sets are filled evenly and recovered")
    func largeCluster() {
        var cluster = Cluster()
        var number = 0
        cluster.addHosts(500) {
            number += 1
            $0.zone = Zone(datacenter: "dc\(number % 3)", rack: "r\(number % 60)")
        }
        for service in 0..<10 {
            cluster.apply(.applyService(Cluster.web("s\(service)", sets: 500)))
        }
        cluster.settle(maximum: 8_192)
        let counts = cluster.state.hosts.map(\.slots.count)
        #expect(counts.reduce(0, +) == 5_000)
        #expect((counts.max() ?? 0) - (counts.min() ?? 0) <= 10)
        for host in cluster.state.hosts.prefix(20) {
            cluster.apply(.declareHostLost(host.id, host.bootEpoch, reason: "test"))
        }
        cluster.settle(maximum: 8_192)
        #expect(cluster.state.services.allSatisfy { $0.homelessCount == 0 })
        cluster.state.checkCounts()
    }
}

/// A made-up history of a small cluster.
struct History {
    var cluster = Cluster()
    /// Decisions of a fresh plan that were skipped when they were applied: there must be none.
    private(set) var skipped = 0
    private var random: RandomSource

    init(seed: UInt64) {
        random = RandomSource(seed: seed)
        var maker = random.fork("hosts")
        cluster.addHosts(6) {
            $0.capacity = Resources(
                millicores: Int.random(in: 200...2_000, using: &maker),
                memoryBytes: Int.random(in: 64...1_024, using: &maker) << 20,
                sets: Int.random(in: 0...20, using: &maker))
            $0.zone.datacenter = Bool.random(using: &maker) ? "a" : "b"
            $0.zone.rack = Bool.random(using: &maker) ? "1" : "2"
            $0.pool = maker.happens(perThousand: 200) ? "batch" : "default"
        }
    }

    private mutating func pick(_ range: ClosedRange<Int>) -> Int {
        Int.random(in: range, using: &random)
    }

    mutating func step() {
        let host = HostID(testing: UInt64(pick(1...7)))
        let boot = cluster.state.host(host)?.bootEpoch ?? BootEpoch(1)
        switch pick(0...15) {
        case 0: cluster.apply(.declareHostLost(host, boot, reason: "test"))
        case 1: cluster.apply(.declareHostReturned(host, boot))
        case 2:
            var registration = Cluster.registration(pick(1...7))
            registration.bootEpoch = BootEpoch(UInt64(pick(9...12)))
            registration.capacity.memoryBytes = pick(0...600) << 20
            cluster.apply(.registerHost(registration))
        case 3: cluster.apply(.forgetHost(host))
        case 4, 5: cluster.apply(.applyService(service()))
        case 6: cluster.apply(.scale(service: "s\(pick(0...4))", sets: pick(0...30)))
        case 7 where pick(0...3) == 0: cluster.apply(.deleteService("s\(pick(0...4))"))
        case 8: reportSome()
        case 9: cluster.reportAll()
        case 10: repeatOne()
        case 11: decideAnything()
        case 12:
            cluster.usable = cluster.state.hosts.map(\.id).filter { _ in
                random.happens(perThousand: 900)
            }
        default:
            let before = cluster.state
            let outcome = cluster.schedule(maximum: pick(1...50))
            skipped += outcome?.kinds.filter { $0 == .decisionSkipped }.count ?? 0
            for host in cluster.state.hosts {
                let grew = host.slots.count > before.host(host.id)?.slots.count ?? 0
                #expect(!grew || host.fits(Resources()), "\(host.name) holds more than it has")
            }
        }
    }

    private mutating func service() -> ServiceSpec {
        let name = "s\(pick(0...4))"
        let memory = pick(4...128) << 20
        let sets = pick(0...30)
        let priority = pick(0...100)
        let other = "s\(pick(0...4))"
        let isApart = pick(0...3) == 0 && other != name
        let pool = pick(0...5) == 0 ? "batch" : "default"
        let spread = FailureDomain.allCases.filter { _ in random.happens(perThousand: 700) }
        return Cluster.web(name, sets: sets) {
            $0.priority = priority
            $0.pool = pool
            $0.containers[0].memory = MemorySpec(requestBytes: memory, limitBytes: memory)
            $0.placement = PlacementSpec(spread: spread, apartFrom: isApart ? [other] : [])
        }
    }

    private mutating func reportSome() {
        guard let host = cluster.state.hosts.randomElement(using: &random) else { return }
        var reports: [SetReport] = []
        for placement in cluster.state.placements(on: host.id) {
            let phase = SetPhase.allCases[pick(0...5)]
            var report = Cluster.report(placement, phase)
            report.containers[0].restarts = pick(0...2)
            report.containers[0].lastExit = ContainerExit(
                code: pick(0...255), outOfMemory: pick(0...1) == 0)
            reports.append(report)
        }
        cluster.apply(
            .reportSets(host: host.id, bootEpoch: host.bootEpoch, reports: reports),
            from: host.id, boot: host.bootEpoch.value)
    }

    private mutating func repeatOne() {
        guard let item = cluster.log.randomElement(using: &random) else { return }
        let before = cluster.state
        cluster.apply(item.entry)
        #expect(cluster.state.services == before.services)
        #expect(cluster.state.hosts == before.hosts)
        #expect(cluster.state.events == before.events)
    }

    private mutating func decideAnything() {
        let decisions = (0..<5).map { _ -> SlotDecision in
            let slot = SlotID(service: "s\(pick(0...5))", ordinal: pick(0...35))
            let host = HostID(testing: UInt64(pick(1...8)))
            return switch pick(0...2) {
            case 0: .unplace(slot, reason: "test")
            case 1: .pending(slot, reason: "test")
            default: .place(slot, host: host, revision: UInt64(pick(0...3)))
            }
        }
        let last = Int(cluster.state.appliedIndex.value)
        let basedOn = LogIndex(UInt64(max(0, last - pick(0...20))))
        cluster.apply(.decide(basedOn: basedOn, decisions: decisions))
    }
}

extension [UInt8] {
    /// The bytes with a few changed, taken out or put in.
    func damaged(_ random: inout RandomSource) -> [UInt8] {
        var bytes = self
        for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
            let position = Int.random(in: bytes.indices, using: &random)
            switch Int.random(in: 0...3, using: &random) {
            case 0: bytes.remove(at: position)
            case 1: bytes.insert(UInt8.random(in: 0...255, using: &random), at: position)
            default: bytes[position] = UInt8.random(in: 0...255, using: &random)
            }
        }
        return bytes
    }
}

extension ReplicatedState {
    /// Works out anew what is kept up to date step by step.
    func checkCounts() {
        var fresh = self
        var sets = 0
        for position in fresh.hosts.indices {
            fresh.hosts[position].allocated = Resources()
            fresh.hosts[position].slots = []
        }
        for position in fresh.services.indices {
            fresh.services[position].recount()
            sets += fresh.services[position].slots.count
            for slot in fresh.services[position].slots {
                guard let placement = slot.placement else { continue }
                guard let host = fresh.hostPosition(placement.host) else {
                    Issue.record("\(slot.slot) is on an unknown host")
                    continue
                }
                fresh.hosts[host].allocated = fresh.hosts[host].allocated + slot.demand
                fresh.hosts[host].slots.append(slot.slot)
                #expect(slot.stranded == (fresh.hosts[host].status == .lost))
                #expect(placement.index == slot.changedAt)
            }
        }
        #expect(fresh.setCount == sets)
        #expect(fresh == self)
    }
}
