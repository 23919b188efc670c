import Base
import ClusterModel
import Testing

@testable import ClusterState
@testable import Scheduling

/// Where sets go, and why they do not.
@Suite struct SchedulerTests {
    @Test("sets spread evenly over equal hosts, in one batch or in many", arguments: [1, 4, 512])
    func spreadsEvenly(maximum: Int) {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Cluster.web()))
        cluster.settle(maximum: maximum)
        #expect(cluster.spread() == [2, 2, 2])
        cluster.apply(.scale(service: "web", sets: 20))
        cluster.settle(maximum: maximum)
        #expect(cluster.spread().sorted() == [6, 7, 7])
    }

    /// Hosts in datacentre and rack, and how ten sets spread over them.
    static let zones: [(zones: [String], spread: [FailureDomain], expected: [Int])] = [
        (["a/1", "a/2", "b/1"], [.datacenter, .rack, .host], [3, 2, 5]),
        (["a/1", "a/1", "a/2"], [.rack, .host], [3, 2, 5]),
        (["a/1", "a/1", "b/1"], [.host], [4, 3, 3]),
        (["a/1", "a/2", "b/1"], [.host, .datacenter], [3, 3, 4]),
        (["a/1", "a/1", "b/1"], [.datacenter], [3, 2, 5]),
    ]

    @Test("sets spread over failure domains in the order of the spec", arguments: zones)
    func spreadsOverDomains(zones: [String], spread: [FailureDomain], expected: [Int]) {
        var rest = zones[...]
        var cluster = Cluster.three {
            let parts = rest.removeFirst().split(separator: "/").map(String.init)
            $0.zone = Zone(datacenter: parts[0], rack: parts[1])
        }
        cluster.apply(.applyService(Cluster.web(sets: 10) { $0.placement.spread = spread }))
        cluster.settle()
        let byName = ["h1", "h2", "h3"].map { cluster.host($0)?.slots.count ?? -1 }
        let domains = { (counts: [Int]) in counts.sorted() }
        #expect(domains(byName) == domains(expected), "\(byName)")
    }

    @Test("without anything to spread over, the host with the largest free share is chosen")
    func mostFreeShare() {
        var number = 0
        var cluster = Cluster.three {
            number += 1
            $0.capacity.memoryBytes = number << 30
            $0.capacity.millicores = number * 4_000
            $0.capacity.sets = number * 100
        }
        cluster.apply(.applyService(Cluster.web(sets: 12) { $0.placement.spread = [] }))
        cluster.settle()
        #expect(["h1", "h2", "h3"].map { cluster.host($0)?.slots.count } == [2, 4, 6])
    }

    /// How hosts and service are made, and what the pending slot says.
    struct Pending: Sendable, CustomTestStringConvertible {
        let reason: String
        let host: @Sendable (Int, inout HostRegistration) -> Void
        let service: @Sendable (inout ServiceSpec) -> Void
        var testDescription: String { reason }
    }

    static let pending: [Pending] = [
        Pending(
            reason: "no host fits: 2 of 3 hosts lack memory (need 64 MiB), 1 is in pool batch",
            host: { number, host in
                host.capacity.memoryBytes = 1 << 20
                if number == 3 { host.pool = "batch" }
            }, service: { _ in }),
        Pending(
            reason: "no host fits: 3 of 3 hosts lack CPU (need 8)", host: { _, _ in },
            service: {
                $0.containers[0].cpu = CPUSpec(requestMillicores: 8_000, limitMillicores: 8_000)
            }),
        Pending(
            reason: "no host fits: 2 of 3 hosts are in datacenter default, 1 is in datacenter x",
            host: { number, host in if number == 1 { host.zone.datacenter = "x" } },
            service: { $0.placement.datacenters = ["dc9"] }),
        Pending(
            reason: "no host fits: 3 of 3 hosts hold as many sets as they take",
            host: { _, host in host.capacity.sets = 0 }, service: { _ in }),
        Pending(
            reason: "no host fits: 3 of 3 hosts lack bandwidth (need egress 60Mbit, ingress 1Mbit)",
            host: { number, host in
                // One of the two is enough to lack.
                host.capacity.egressBitsPerSecond = number == 1 ? 0 : 50_000_000
                host.capacity.ingressBitsPerSecond = number == 1 ? 900_000 : 0
            },
            service: {
                $0.network = NetworkSpec(
                    egressBitsPerSecond: 60_000_000, ingressBitsPerSecond: 1_000_000)
            }),
    ]

    @Test("what fits nowhere says why, once", arguments: pending)
    func pendingReason(pending: Pending) {
        var number = 0
        var cluster = Cluster.three {
            number += 1
            pending.host(number, &$0)
        }
        cluster.apply(.applyService(Cluster.web(sets: 2, change: pending.service)))
        #expect(cluster.schedule()?.kinds == [.setPending, .setPending])
        #expect(cluster.state.slot(SlotID(service: "web", ordinal: 1))?.reason == pending.reason)
        #expect(cluster.schedule() == nil)
    }

    @Test("guaranteed bandwidth is given out once; ceilings and unknown links do not count")
    func bandwidth() {
        var cluster = Cluster.three { $0.capacity.egressBitsPerSecond = 100_000_000 }
        let rate = BandwidthSpec(
            rateBitsPerSecond: 40_000_000, ceilingBitsPerSecond: 1_000_000_000)
        cluster.apply(.applyService(Cluster.web(sets: 9) { $0.network.egress = rate }))
        cluster.settle()
        #expect(cluster.spread("web") == [2, 2, 2])
        // Who asks for no guarantee gets a place, also where all is given out.
        for host in cluster.state.hosts {
            var registration = host.registration
            registration.capacity.egressBitsPerSecond = 50_000_000
            cluster.apply(.registerHost(registration))
        }
        let ceiling = BandwidthSpec(ceilingBitsPerSecond: 1_000_000_000)
        cluster.apply(.applyService(Cluster.web("db", sets: 3) { $0.network.egress = ceiling }))
        cluster.settle()
        #expect(cluster.spread("db") == [1, 1, 1])
        for host in cluster.state.hosts {
            var registration = host.registration
            registration.capacity.egressBitsPerSecond = 0
            cluster.apply(.registerHost(registration))
        }
        cluster.settle()
        #expect(cluster.spread("web") == [3, 3, 3])
    }

    @Test("a cluster without hosts, or with hosts that do not answer, says so")
    func noHosts() {
        var cluster = Cluster()
        cluster.apply(.registerImage(Cluster.image("demo/web:1")))
        cluster.apply(.applyService(Cluster.web(sets: 1)))
        cluster.settle()
        let slot = SlotID(service: "web", ordinal: 0)
        #expect(cluster.state.slot(slot)?.reason == "no host fits: none is registered")
        cluster.addHosts(2)
        cluster.usable = []
        cluster.settle()
        #expect(cluster.state.slot(slot)?.reason == "no host fits: 2 of 2 hosts do not answer")
    }

    @Test("services that must be kept apart share no host, whichever of them says so")
    func keptApart() {
        for (first, second) in [("db", "web"), ("web", "db")] {
            var cluster = Cluster.three()
            cluster.apply(.applyService(Cluster.web(first, sets: 2)))
            cluster.settle()
            cluster.apply(
                .applyService(Cluster.web(second, sets: 4) { $0.placement.apartFrom = [first] }))
            cluster.settle()
            for (one, other) in zip(cluster.spread("web"), cluster.spread("db")) {
                #expect(one == 0 || other == 0)
            }
            #expect(cluster.spread(first).reduce(0, +) == 2)
            #expect(cluster.spread(second).reduce(0, +) == 4)
        }
    }

    @Test("more important services go first when room is short")
    func priority() {
        var cluster = Cluster.three(memory: 64 << 20)
        cluster.apply(.applyService(Cluster.web("a", sets: 3)))
        cluster.apply(.applyService(Cluster.web("b", sets: 2) { $0.priority = 60 }))
        cluster.settle()
        #expect(cluster.spread("b").reduce(0, +) == 2)
        #expect(cluster.spread("a").reduce(0, +) == 1)
    }

    @Test("a lost host's sets move to the others, as far as there is room")
    func lostHost() {
        var cluster = Cluster.three(memory: 256 << 20)
        cluster.apply(.applyService(Cluster.web(sets: 9)))
        cluster.settle()
        cluster.apply(
            .declareHostLost(HostID(testing: 1), BootEpoch(10), reason: "does not answer"))
        cluster.usable.removeAll { $0 == HostID(testing: 1) }
        cluster.settle()
        #expect(["h2", "h3"].map { cluster.host($0)?.slots.count } == [4, 4])
        #expect(cluster.host("h1")?.slots.count == 1)
        let waiting = cluster.state.service("web")?.slots.filter { $0.isHomeless } ?? []
        #expect(
            waiting.map(\.reason) == [
                "no host fits: 2 of 3 hosts lack memory (need 64 MiB), 1 is lost"
            ])
        cluster.addHosts(4, memory: 256 << 20)
        cluster.settle()
        #expect(cluster.state.service("web")?.homelessCount == 0)
    }

    @Test("a new revision replaces a tenth at a time, in place, and waits for it to run")
    func rollingUpdate() {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Cluster.web(sets: 30)))
        cluster.settle()
        cluster.reportAll()
        let hosts = cluster.state.service("web")?.slots.map { $0.placement?.host }
        cluster.apply(.applyService(Cluster.web(sets: 30) { $0.containers[0].command = ["a"] }))
        var rounds = 0
        while let outcome = cluster.schedule(), rounds < 20 {
            rounds += 1
            #expect(outcome.kinds == [.setPlaced, .setPlaced, .setPlaced])
            #expect(cluster.schedule() == nil)
            cluster.reportAll()
        }
        #expect(rounds == 10)
        #expect(cluster.state.service("web")?.outdatedCount == 0)
        #expect(cluster.state.service("web")?.slots.map { $0.placement?.host } == hosts)
    }

    @Test("a revision that does not run stops after its first share")
    func brokenRevision() {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Cluster.web(sets: 20)))
        cluster.settle()
        cluster.reportAll()
        cluster.apply(.applyService(Cluster.web(sets: 20) { $0.containers[0].command = ["a"] }))
        cluster.schedule()
        cluster.reportAll(.failed)
        #expect(cluster.schedule() == nil)
        #expect(cluster.state.service("web")?.outdatedCount == 18)
    }

    @Test("a larger revision moves where it fits, and says why it waits where nothing does")
    func largerRevision() {
        var number = 0
        var cluster = Cluster.three {
            number += 1
            $0.capacity.memoryBytes = number == 3 ? 256 << 20 : 64 << 20
        }
        cluster.apply(.applyService(Cluster.web(sets: 2) { $0.placement.datacenters = [] }))
        cluster.settle()
        cluster.reportAll()
        for _ in 0..<4 {
            cluster.apply(
                .applyService(
                    Cluster.web(sets: 2) {
                        $0.containers[0].memory = MemorySpec(
                            requestBytes: 200 << 20, limitBytes: 200 << 20)
                    }))
            cluster.schedule()
            cluster.reportAll()
        }
        let slots = cluster.state.service("web")?.slots ?? []
        #expect(slots.filter { $0.placement?.revision == 2 }.count == 1)
        #expect(cluster.host("h3")?.allocated.memoryBytes == 200 << 20)
        let waiting = slots.first { $0.placement?.revision == 1 }
        #expect(waiting?.pendingReason.hasPrefix("revision 2 waits: no host fits") == true)
        #expect(waiting?.phase == .running)
        #expect(cluster.schedule() == nil)
    }

    @Test("an explanation lists every host with its obstacle or its terms, best first")
    func explains() {
        var number = 0
        var cluster = Cluster.three {
            number += 1
            if number == 2 { $0.pool = "batch" }
        }
        cluster.apply(.applyService(Cluster.web(sets: 3)))
        let slot = SlotID(service: "web", ordinal: 2)
        let before = Scheduler().explain(
            slot: slot, state: cluster.state, usable: cluster.usable)
        #expect(before?.best == before?.hosts.first?.host)
        cluster.settle()
        let after = Scheduler().explain(slot: slot, state: cluster.state, usable: cluster.usable)
        #expect(after?.hosts.map(\.obstacle) == [nil, nil, .otherPool("batch")])
        #expect(after?.hosts.map(\.setsOnHost) == [1, 1, 0])
        #expect(after?.placement == cluster.state.slot(slot)?.placement)
        #expect(after?.best == after?.hosts.first?.host)
        let missing = SlotID(service: "web", ordinal: 3)
        let none = Scheduler().explain(
            slot: missing, state: cluster.state, usable: cluster.usable)
        #expect(none == nil)
    }
}
