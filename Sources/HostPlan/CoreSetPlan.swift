import ClusterModel

/// Which processors each container runs on: one plan for dedicated and shared containers and for the
/// groups beside us that the host's configuration keeps cores for.
///
/// Whole cores are given away, never half of one: SMT siblings stay together. What is taken comes
/// from one NUMA node where it fits, and from the end of the machine, since interrupts prefer its
/// beginning. Who has cores keeps them, whatever else comes and goes. One core stays shared always.
package struct CoreSetPlan: Equatable, Sendable {
    /// A group that is not ours and that has cores to itself, such as `machine.slice`.
    package struct Reservation: Hashable, Sendable {
        /// The group's path below the root of the hierarchy.
        package var group: String
        /// How many processors; rounded up to whole cores.
        package var processors: Int

        package init(group: String, processors: Int) {
            self.group = group
            self.processors = processors
        }
    }

    /// A container with cores to itself.
    package struct Owner: Hashable, Sendable {
        /// The set.
        package var slot: SlotID
        /// The container's name in it.
        package var container: String

        package init(slot: SlotID, container: String) {
            self.slot = slot
            self.container = container
        }
    }

    /// What a container wants to itself.
    package struct Demand: Hashable, Sendable {
        /// The container.
        package var owner: Owner
        /// How many processors; rounded up to whole cores.
        package var processors: Int
        /// The processors it has, which it keeps as far as possible.
        package var held: [Int]

        package init(owner: Owner, processors: Int, held: [Int] = []) {
            self.owner = owner
            self.processors = processors
            self.held = held
        }
    }

    /// The processors of each reserved group, in the order of the reservations.
    package private(set) var reserved: [(group: String, processors: [Int])] = []
    /// The processors of each container that got its cores, in the order of the demands.
    package private(set) var dedicated: [(owner: Owner, processors: [Int])] = []
    /// The containers that got none, which run where the shared ones do.
    package private(set) var refused: [Owner] = []
    /// The processors of all other containers; never empty on a machine with processors.
    package private(set) var shared: [Int] = []
    /// The reserved groups for which too few cores were there: these got none.
    package private(set) var unreserved: [String] = []

    /// Everything that is ours: the shared and the dedicated processors.
    package var ours: [Int] { (shared + dedicated.flatMap(\.processors)).sorted() }

    /// The processors of a container with cores to itself; nil for one that shares.
    package func processors(of owner: Owner) -> [Int]? {
        dedicated.first { $0.owner == owner }?.processors
    }

    /// Makes the plan.
    ///
    /// Demands that cannot be met are refused, the later before the earlier; the rest stands.
    package init(
        topology: ProcessorTopology, reservations: [Reservation], demands: [Demand]
    ) {
        var free = topology.cores
        for reservation in reservations {
            guard let cores = CoreSetPlan.take(reservation.processors, from: free, near: []) else {
                unreserved.append(reservation.group)
                continue
            }
            free.removeAll { cores.contains($0) }
            reserved.append((reservation.group, CoreSetPlan.processors(cores)))
        }
        // What is held goes first, so that nobody new takes it from whoever is further back.
        var kept: [[ProcessorCore]] = []
        for demand in demands {
            let held = Set(demand.held)
            var cores: [ProcessorCore] = []
            var count = 0
            for core in free where count < demand.processors && held.isSuperset(of: core.processors)
            {
                guard free.count - cores.count > 1 else { break }
                cores.append(core)
                count += core.processors.count
            }
            free.removeAll { cores.contains($0) }
            kept.append(cores)
        }
        for (demand, cores) in zip(demands, kept) {
            let count = cores.reduce(0) { $0 + $1.processors.count }
            guard demand.processors > 0,
                let more = CoreSetPlan.take(demand.processors - count, from: free, near: cores)
            else {
                refused.append(demand.owner)
                free = (free + cores).sorted {
                    ($0.node, $0.processors[0]) < ($1.node, $1.processors[0])
                }
                continue
            }
            free.removeAll { more.contains($0) }
            dedicated.append((demand.owner, CoreSetPlan.processors(cores + more)))
        }
        shared = CoreSetPlan.processors(free)
    }

    package static func == (left: CoreSetPlan, right: CoreSetPlan) -> Bool {
        left.shared == right.shared && left.refused == right.refused
            && left.unreserved == right.unreserved
            && left.reserved.elementsEqual(right.reserved, by: ==)
            && left.dedicated.elementsEqual(right.dedicated, by: ==)
    }

    private static func processors(_ cores: [ProcessorCore]) -> [Int] {
        cores.flatMap(\.processors).sorted()
    }

    /// Cores with so many processors in sum, and one free core left over; nil when there are too few.
    private static func take(
        _ wanted: Int, from free: [ProcessorCore], near: [ProcessorCore]
    ) -> [ProcessorCore]? {
        guard wanted > 0 else { return [] }
        var nodes: [(node: Int, cores: [ProcessorCore])] = []
        for core in free.reversed() {
            if let position = nodes.firstIndex(where: { $0.node == core.node }) {
                nodes[position].cores.append(core)
            } else {
                nodes.append((core.node, [core]))
            }
        }
        let home = Set(near.map(\.node))
        func size(_ cores: [ProcessorCore]) -> Int { cores.reduce(0) { $0 + $1.processors.count } }
        // Its own node; then the tightest that has room; then as few as possible, the emptiest first.
        let fitting = nodes.filter { size($0.cores) >= wanted }
            .min {
                (home.contains($0.node) ? 0 : 1, size($0.cores)) < (
                    home.contains($1.node) ? 0 : 1, size($1.cores)
                )
            }
        let candidates =
            fitting.map { [$0] }
            ?? nodes.sorted {
                (home.contains($0.node) ? 0 : 1, -size($0.cores))
                    < (home.contains($1.node) ? 0 : 1, -size($1.cores))
            }
        var taken: [ProcessorCore] = []
        var missing = wanted
        for node in candidates {
            var cores = node.cores
            while missing > 0, !cores.isEmpty {
                // No more of a core than is wanted where there are cores of several sizes.
                let position =
                    cores.firstIndex { $0.processors.count <= missing }
                    ?? cores.indices.min { cores[$0].processors.count < cores[$1].processors.count }
                let core = cores.remove(at: position ?? 0)
                taken.append(core)
                missing -= core.processors.count
            }
        }
        return missing <= 0 && taken.count < free.count ? taken : nil
    }
}
