import Base
import ClusterModel
import ClusterState

/// Settings of the scheduler.
package struct SchedulerConfig: Equatable, Sendable {
    /// How many percent of a service's sets a newer revision may replace at once; one set at least.
    ///
    /// A larger share updates faster and takes more sets away meanwhile.
    package var updatePercent = 10

    package init() {}
}

/// Decides which host runs which slot: a pure function of the replicated state.
///
/// Its decisions become a `decide` command; nothing takes effect before that is in the log. Each
/// service's candidates are worked out once, in time of its slots and all hosts; each of its sets
/// then takes a step in a heap.
package struct Scheduler: Sendable {
    /// The settings.
    package let config: SchedulerConfig

    package init(config: SchedulerConfig = SchedulerConfig()) {
        self.config = config
    }

    /// The next decisions, most important service first, at most `maximum` of them.
    ///
    /// `usable` are the hosts that new sets may go to, sorted: alive in membership. The caller
    /// proposes the answer as one `decide` with `basedOn` = `state.appliedIndex` and plans again
    /// only after that was applied.
    package func plan(
        _ state: ReplicatedState, usable: [HostID], maximum: Int = 512
    ) -> [SlotDecision] {
        let due = state.services.indices.filter {
            state.services[$0].homelessCount > 0 || state.services[$0].outdatedCount > 0
        }
        guard !due.isEmpty else { return [] }
        let order = due.sorted {
            let (left, right) = (state.services[$0].spec.priority, state.services[$1].spec.priority)
            return left == right ? $0 < $1 : left > right
        }
        var tally = Tally(state, usable: usable)
        var decisions: [SlotDecision] = []
        for position in order where decisions.count < maximum {
            var planner = ServicePlanner(
                state.services[position], state: state, tally: tally,
                room: maximum - decisions.count)
            planner.placeHomeless()
            planner.replaceOutdated(percent: config.updatePercent)
            decisions += planner.decisions
            tally = planner.field.tally
        }
        return decisions
    }
}

/// What is free and who is where, as the batch that is being planned leaves it.
struct Tally {
    /// The hosts of the state, sorted by identity.
    let hosts: [HostRecord]
    /// Whether membership sees the host alive; by position.
    let isUsable: [Bool]
    /// What is left on each host; by position.
    var free: [Resources]
    /// The services that this batch brought to each host; by position.
    var brought: [[String]]
    /// What each host has promised to volumes; by position, and empty until somebody asks for room.
    var promised: [VolumeRoom] = []
    /// The volumes of each host; by position, and empty until somebody asks for room.
    private(set) var ledgers: [VolumeLedger] = []

    init(_ state: ReplicatedState, usable: [HostID]) {
        hosts = state.hosts
        free = hosts.map(\.free)
        brought = Array(repeating: [], count: hosts.count)
        var isUsable = Array(repeating: false, count: hosts.count)
        for id in usable {
            if let position = Tally.position(of: id, in: hosts) { isUsable[position] = true }
        }
        self.isUsable = isUsable
    }

    /// Looks at the volumes of all hosts, once: services without volumes need not wait for that.
    mutating func countVolumes(_ state: ReplicatedState) {
        guard ledgers.isEmpty else { return }
        ledgers = hosts.map { VolumeLedger(state.volumes(of: $0.id)) }
        promised = hosts.map { state.volumesPromised(on: $0.id) }
    }

    /// The position of a host.
    func position(of id: HostID) -> Int? { Tally.position(of: id, in: hosts) }

    private static func position(of id: HostID, in hosts: [HostRecord]) -> Int? {
        var low = 0
        var high = hosts.count
        while low < high {
            let middle = (low + high) / 2
            if hosts[middle].registration.id < id { low = middle + 1 } else { high = middle }
        }
        return low < hosts.count && hosts[low].registration.id == id ? low : nil
    }

    /// Why a set may not go to the host at this position; nil when it may.
    func obstacle(
        at position: Int, to spec: ServiceSpec, demand: Resources, apart: [String],
        volumes: VolumeNeed
    ) -> PlacementObstacle? {
        if let exclusion = exclusion(at: position, to: spec, apart: apart, volumes: volumes) {
            return exclusion
        }
        return hosts[position].obstacle(
            to: spec, demand: demand, free: free[position], apart: apart, volumes: volumes,
            promised: promised.isEmpty ? VolumeRoom() : promised[position])
    }

    /// Why a set may not go to the host at this position, however much room there is.
    func exclusion(
        at position: Int, to spec: ServiceSpec, apart: [String], volumes: VolumeNeed
    ) -> PlacementObstacle? {
        let exclusion = hosts[position].exclusion(of: spec, apart: apart, volumes: volumes)
        if exclusion == .lost { return .lost }
        guard isUsable[position] else { return .unreachable }
        if let other = brought[position].first(where: { apart.contains($0) }) {
            return .apartFrom(other)
        }
        return exclusion
    }
}
