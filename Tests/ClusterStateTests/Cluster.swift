import Base
import ClusterModel
import Wire

@testable import ClusterState
@testable import Scheduling

/// A log and the state it makes, for tests.
struct Cluster {
    var state = ReplicatedState()
    /// Every entry that was applied, to replay.
    private(set) var log: [(entry: CommandEnvelope, index: LogIndex)] = []
    private var index = LogIndex.zero
    private var number: UInt64 = 0
    var usable: [HostID] = []

    static let operatorHost = HostID(testing: 999)
    static let epoch = Epoch(3)

    /// Three hosts, and the image `demo/web:1`.
    static func three(
        memory: Int = 1 << 30, change: (inout HostRegistration) -> Void = { _ in }
    ) -> Cluster {
        var cluster = Cluster()
        cluster.addHosts(3, memory: memory, change: change)
        return cluster
    }

    mutating func addHosts(
        _ count: Int, memory: Int = 1 << 30, change: (inout HostRegistration) -> Void = { _ in }
    ) {
        for number in 1...count {
            var registration = Cluster.registration(number, memory: memory)
            change(&registration)
            apply(.registerHost(registration))
            apply(
                .offerVolumes(
                    host: registration.id, bootEpoch: registration.bootEpoch,
                    VolumeOffer(diskBytes: 1 << 50, poolBytes: 1 << 50)), from: registration.id)
            usable.append(registration.id)
        }
        usable.sort()
        apply(.registerImage(Cluster.image("demo/web:1")))
    }

    static func registration(_ number: Int, memory: Int = 1 << 30) -> HostRegistration {
        HostRegistration(
            id: HostID(testing: UInt64(number)), bootEpoch: BootEpoch(10), name: "h\(number)",
            address: SocketAddress(10, 0, 0, UInt8(truncatingIfNeeded: number), port: 7_400),
            capacity: Resources(millicores: 4_000, memoryBytes: memory, sets: 100))
    }

    static func image(_ reference: String, digit: String = "a") -> ImageRecord {
        ImageRecord(
            reference: reference, manifestDigest: "sha256:" + String(repeating: digit, count: 64),
            sizeBytes: 1 << 20, loadedBy: HostID(testing: 1))
    }

    /// A service of one container that takes 100 millicores and 64 MiB.
    static func web(
        _ name: String = "web", sets: Int = 6, change: (inout ServiceSpec) -> Void = { _ in }
    ) -> ServiceSpec {
        var spec = ServiceSpec(
            name: name, sets: sets,
            containers: [ContainerSpec(name: "app", image: "demo/web:1")])
        change(&spec)
        return spec
    }

    @discardableResult
    mutating func apply(
        _ command: Command, from host: HostID = operatorHost, boot: UInt64 = 10
    ) -> CommandOutcome {
        number += 1
        let request = RequestID(host: host, bootEpoch: BootEpoch(boot), number: number)
        return apply(
            CommandEnvelope(
                request: request, proposedAt: WallTime(milliseconds: Int64(number)),
                command: command))
    }

    @discardableResult
    mutating func apply(_ entry: CommandEnvelope) -> CommandOutcome {
        index = index.next
        log.append((entry, index))
        return state.apply(entry, at: index, epoch: Cluster.epoch)
    }

    /// One plan, carried out.
    @discardableResult
    mutating func schedule(maximum: Int = 512) -> CommandOutcome? {
        let decisions = Scheduler().plan(state, usable: usable, maximum: maximum)
        guard !decisions.isEmpty else { return nil }
        return apply(.decide(basedOn: state.appliedIndex, decisions: decisions))
    }

    /// Plans until there is nothing left to decide; the number of plans that decided something.
    @discardableResult
    mutating func settle(maximum: Int = 512, plansMax: Int = 200) -> Int {
        for round in 0..<plansMax where schedule(maximum: maximum) == nil { return round }
        return plansMax
    }

    /// Reports every placed set of the active hosts in this phase.
    mutating func reportAll(_ phase: SetPhase = .running) {
        for host in state.hosts where host.status == .active {
            let reports = state.placements(on: host.id).map {
                Cluster.report($0, phase)
            }
            apply(
                .reportSets(host: host.id, bootEpoch: host.bootEpoch, reports: reports),
                from: host.id, boot: host.bootEpoch.value)
        }
    }

    static func report(_ placement: Placement, _ phase: SetPhase) -> SetReport {
        SetReport(
            slot: placement.slot, placementIndex: placement.index, phase: phase,
            address: [10, 1, 2, 3],
            containers: [ContainerStatus(name: "app", pid: 7, running: phase == .running)],
            revision: placement.revision)
    }

    /// How many sets of a service are on each host, in the order of the hosts.
    func spread(_ service: String = "web") -> [Int] {
        state.hosts.map { host in host.slots.filter { $0.service == service }.count }
    }

    func host(_ name: String) -> HostRecord? { state.hosts.first { $0.name == name } }
}

extension CommandOutcome {
    /// The code of the refusal; nil when it was not refused.
    var refusal: CommandRefusal.Code? {
        guard case .refused(let refusal) = result else { return nil }
        return refusal.code
    }

    var kinds: [EventKind] { events.map(\.kind) }
}
