import Base
import ClusterModel
import HostPlan
import Testing

/// Who runs on which processors.
@Suite("Cores")
struct CoreSetPlanTests {
    /// Two nodes of four cores with two processors each; siblings are eight apart, as on most servers.
    private let server = ProcessorTopology(
        online: Array(0..<16),
        siblings: Dictionary(uniqueKeysWithValues: (0..<16).map { ($0, [$0 % 8, $0 % 8 + 8]) }),
        nodes: Dictionary(uniqueKeysWithValues: (0..<16).map { ($0, $0 % 8 / 4) }))

    private func owner(_ ordinal: Int) -> CoreSetPlan.Owner {
        CoreSetPlan.Owner(slot: SlotID(service: "web", ordinal: ordinal), container: "app")
    }

    private func demand(_ ordinal: Int, _ count: Int, held: [Int] = []) -> CoreSetPlan.Demand {
        CoreSetPlan.Demand(owner: owner(ordinal), processors: count, held: held)
    }

    @Test("siblings stay together, and one node is enough where it has room")
    func placing() {
        let plan = CoreSetPlan(
            topology: server, reservations: [],
            demands: [demand(0, 2), demand(1, 3), demand(2, 8)])
        #expect(plan.processors(of: owner(0)) == [7, 15])
        // Three processors are two cores; on the node that is begun already.
        #expect(plan.processors(of: owner(1)) == [5, 6, 13, 14])
        // The other node would be full, but one core is left there and on none else.
        #expect(plan.processors(of: owner(2)) == [0, 1, 2, 3, 8, 9, 10, 11])
        #expect(plan.shared == [4, 12])
        #expect(plan.refused.isEmpty)
        #expect(plan.ours == Array(0..<16))
    }

    @Test("what crosses nodes crosses as few as possible")
    func crossing() {
        let plan = CoreSetPlan(topology: server, reservations: [], demands: [demand(0, 10)])
        #expect(plan.processors(of: owner(0))?.count == 10)
        #expect(plan.shared.count == 6)
    }

    @Test("reserved cores come first and belong to nobody else")
    func reserved() {
        let plan = CoreSetPlan(
            topology: server,
            reservations: [
                CoreSetPlan.Reservation(group: "machine.slice", processors: 7),
                CoreSetPlan.Reservation(group: "other", processors: 1),
                CoreSetPlan.Reservation(group: "greedy", processors: 16),
            ], demands: [demand(0, 4), demand(1, 3), demand(2, 2)])
        #expect(plan.reserved.map(\.group) == ["machine.slice", "other"])
        #expect(plan.reserved[0].processors == [4, 5, 6, 7, 12, 13, 14, 15])
        #expect(plan.reserved[1].processors == [3, 11])
        #expect(plan.unreserved == ["greedy"])
        #expect(plan.processors(of: owner(0)) == [1, 2, 9, 10])
        #expect(plan.refused == [owner(1), owner(2)])
        #expect(plan.shared == [0, 8])
        #expect(plan.ours == [0, 1, 2, 8, 9, 10])
    }

    @Test("whoever has cores keeps them while others come, go, grow and shrink")
    func keeping() throws {
        var plan = CoreSetPlan(
            topology: server, reservations: [], demands: [demand(0, 2), demand(1, 2)])
        let second = try #require(plan.processors(of: owner(1)))
        // The first goes, a third comes, and is in front of the second.
        plan = CoreSetPlan(
            topology: server, reservations: [],
            demands: [demand(2, 6), demand(1, 2, held: second)])
        #expect(plan.processors(of: owner(1)) == second)
        // It grows beside what it has, on its node; it shrinks to a part of that.
        let grown = CoreSetPlan(
            topology: server, reservations: [], demands: [demand(1, 4, held: second)])
        let wider = try #require(grown.processors(of: owner(1)))
        #expect(Set(wider).isSuperset(of: second) && wider.count == 4)
        let shrunk = CoreSetPlan(
            topology: server, reservations: [], demands: [demand(1, 1, held: wider)])
        let narrower = try #require(shrunk.processors(of: owner(1)))
        #expect(Set(wider).isSuperset(of: narrower) && narrower.count == 2)
        // What is held of a core that is reserved now, or of half a core, is not kept.
        let moved = CoreSetPlan(
            topology: server,
            reservations: [CoreSetPlan.Reservation(group: "machine.slice", processors: 2)],
            demands: [demand(1, 2, held: [7, 15]), demand(2, 2, held: [0, 1])])
        #expect(moved.processors(of: owner(1)) == [6, 14])
        #expect(moved.processors(of: owner(2)) == [5, 13])
    }

    @Test("one core stays shared: a machine of one core gives none away")
    func lastCore() {
        let single = ProcessorTopology(online: [0, 1], siblings: [0: [0, 1]], nodes: [:])
        let plan = CoreSetPlan(
            topology: single, reservations: [.init(group: "machine.slice", processors: 1)],
            demands: [demand(0, 1), demand(1, 1, held: [0, 1])])
        #expect(plan.shared == [0, 1])
        #expect(plan.refused == [owner(0), owner(1)])
        #expect(plan.unreserved == ["machine.slice"])
        let odd = CoreSetPlan(
            topology: server, reservations: [],
            demands: [demand(0, 0), demand(1, -3), demand(2, Int.max)])
        #expect(odd.refused.count == 3 && odd.shared.count == 16)
    }

    @Test("cores of different sizes are not wasted on who wants few")
    func hybrid() {
        // Two fast cores with two processors, four slow ones with one.
        let laptop = ProcessorTopology(
            online: Array(0..<8), siblings: [0: [0, 1], 2: [2, 3]], nodes: [:])
        #expect(laptop.cores.count == 6)
        let plan = CoreSetPlan(
            topology: laptop, reservations: [], demands: [demand(0, 1), demand(1, 3)])
        #expect(plan.processors(of: owner(0)) == [7])
        #expect(plan.processors(of: owner(1))?.count == 3)
    }

    @Test("files that contradict each other or name what is not there give a topology all the same")
    func contradictions() {
        let odd = ProcessorTopology(
            online: [3, 1, 2, 1, 9], siblings: [1: [2, 77], 2: [2], 3: [9, 3], 9: []],
            nodes: [9: 4, 1: 1])
        #expect(
            odd.cores == [
                ProcessorCore(processors: [3, 9], node: 0),
                ProcessorCore(processors: [1, 2], node: 1),
            ])
        #expect(odd.processorCount == 4)
        #expect(ProcessorTopology(online: [], siblings: [:], nodes: [:]).cores.isEmpty)
        let none = CoreSetPlan(
            topology: ProcessorTopology(online: [], siblings: [:], nodes: [:]),
            reservations: [], demands: [demand(0, 1)])
        #expect(none.shared.isEmpty && none.refused == [owner(0)])
    }

    @Test("lists of processors are read and written as the kernel does")
    func lists() {
        for (text, numbers) in [
            ("0-3,8\n", [0, 1, 2, 3, 8]), ("", []), ("5", [5]), ("1,0,1", [0, 1]), ("\n", []),
        ] {
            #expect(ProcessorList.numbers(text) == numbers)
        }
        for text in ["a", "3-1", "-1", "1-", "0-65536", "1-2-3", "99999999999999999999"] {
            #expect(ProcessorList.numbers(text) == nil)
        }
        #expect(ProcessorList.text([0, 1, 2, 3, 8]) == "0-3,8")
        #expect(ProcessorList.text([]) == "")
    }

    @Test("no plan gives a processor to two, splits a core or loses one", arguments: 1...20)
    func always(seed: UInt64) {
        var random = RandomSource(seed: seed)
        let width = Int.random(in: 1...2, using: &random)
        let count = Int.random(in: 1...24, using: &random)
        let topology = ProcessorTopology(
            online: Array(0..<count * width),
            siblings: Dictionary(
                uniqueKeysWithValues: (0..<count * width).map { ($0, [$0 % count]) }),
            nodes: Dictionary(
                uniqueKeysWithValues: (0..<count * width).map { ($0, $0 % count % 3) }))
        var demands: [CoreSetPlan.Demand] = []
        for step in 0..<30 {
            if Bool.random(using: &random), !demands.isEmpty {
                demands.remove(at: Int.random(in: demands.indices, using: &random))
            } else {
                demands.append(demand(step, Int.random(in: 1...6, using: &random)))
            }
            let plan = CoreSetPlan(
                topology: topology, reservations: [.init(group: "vm", processors: 2)],
                demands: demands)
            let all = plan.reserved.flatMap(\.processors) + plan.ours
            #expect(all.sorted() == Array(0..<count * width))
            for owned in plan.dedicated {
                let wanted = demands.first { $0.owner == owned.owner }
                #expect(owned.processors.count >= wanted?.processors ?? .max)
                #expect(owned.processors.count < (wanted?.processors ?? 0) + width)
                let core = Set(owned.processors.map { $0 % count })
                #expect(core.count * width == owned.processors.count)
                // Whoever had cores has the same ones still.
                if let held = wanted?.held, !held.isEmpty { #expect(owned.processors == held) }
            }
            #expect(!plan.shared.isEmpty)
            demands.removeAll { plan.refused.contains($0.owner) }
            for position in demands.indices {
                demands[position].held = plan.processors(of: demands[position].owner) ?? []
            }
        }
    }
}
