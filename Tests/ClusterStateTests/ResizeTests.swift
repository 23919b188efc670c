import Base
import ClusterModel
import Testing
import Wire

@testable import ClusterState

/// Limits change while sets run: all of a service's sets, or none.
@Suite("Resizing")
struct ResizeTests {
    private static let web0 = SlotID(service: "web", ordinal: 0)

    /// Three hosts of 1 GiB that run six sets of 64 MiB each.
    private func running() -> Cluster {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Cluster.web()))
        cluster.settle()
        cluster.reportAll()
        return cluster
    }

    @Test("placements stay, their revision rises, and nothing is placed anew")
    func inPlace() throws {
        var cluster = running()
        let before = cluster.state.services.flatMap(\.slots).compactMap(\.placement)
        let outcome = cluster.apply(
            .resize(
                service: "web",
                ServiceResize(cpuLimitMillicores: 2_000, memoryRequestBytes: 128 << 20)))
        #expect(outcome.result == .applied)
        let after = cluster.state.services.flatMap(\.slots).compactMap(\.placement)
        #expect(after.map(\.index) == before.map(\.index))
        #expect(after.map(\.revision) == before.map { _ in 2 })
        #expect(cluster.settle() == 0)
        #expect(cluster.state.service("web")?.spec.containers[0].cpu.limitMillicores == 2_000)
        #expect(cluster.state.service("web")?.spec(revision: 2)?.demand.memoryBytes == 128 << 20)
        #expect(
            cluster.state.hosts.map(\.allocated.memoryBytes) == [256, 256, 256].map { $0 << 20 })
    }

    @Test("the larger demand is held until the host says that the new limits are in force")
    func shrinking() throws {
        var cluster = running()
        cluster.apply(
            .resize(service: "web", ServiceResize(memoryRequestBytes: 16 << 20)))
        #expect(
            cluster.state.hosts.map(\.allocated.memoryBytes) == [128, 128, 128].map { $0 << 20 })
        let placement = try #require(cluster.state.slot(Self.web0)?.placement)
        let host = try #require(cluster.state.host(placement.host))
        // The old limits are still in force: the memory is in use.
        var report = Cluster.report(placement, .running)
        report.revision = 1
        report.reason = "memory is in use"
        cluster.apply(
            .reportSets(host: host.id, bootEpoch: host.bootEpoch, reports: [report]),
            from: host.id)
        #expect(cluster.state.slot(Self.web0)?.demand.memoryBytes == 64 << 20)
        #expect(cluster.state.slot(Self.web0)?.reason == "memory is in use")
        cluster.reportAll()
        #expect(cluster.state.slot(Self.web0)?.demand.memoryBytes == 16 << 20)
        #expect(cluster.state.hosts.map(\.allocated.memoryBytes) == [32, 32, 32].map { $0 << 20 })
    }

    @Test("one set without room, and nothing changes")
    func allOrNothing() throws {
        var cluster = running()
        // One host is nearly full.
        let filler = Cluster.web("filler", sets: 1) {
            $0.containers[0].memory = MemorySpec(requestBytes: 800 << 20, limitBytes: 1 << 30)
        }
        cluster.apply(.applyService(filler))
        cluster.settle()
        let before = cluster.state.services
        let hosts = cluster.state.hosts
        let outcome = cluster.apply(
            .resize(service: "web", ServiceResize(memoryRequestBytes: 128 << 20)))
        #expect(outcome.refusal == .noRoom)
        guard case .refused(let refusal) = outcome.result else { return }
        #expect(refusal.message.contains("lacks memory"))
        #expect(refusal.message.contains("Nothing was changed"))
        #expect(cluster.state.services == before)
        #expect(cluster.state.hosts == hosts)
        // Two sets on one host count together: 2 x 96 MiB more fit, 2 x 97 do not.
        var tight = Cluster.three(memory: 320 << 20)
        tight.apply(.applyService(Cluster.web()))
        tight.settle()
        let tooMuch = ServiceResize(
            memoryRequestBytes: 161 << 20, memoryLimitBytes: 256 << 20)
        #expect(tight.apply(.resize(service: "web", tooMuch)).refusal == .noRoom)
        let fitting = ServiceResize(
            memoryRequestBytes: 160 << 20, memoryLimitBytes: 256 << 20)
        #expect(tight.apply(.resize(service: "web", fitting)).result == .applied)
    }

    @Test("what cannot be is refused with a reason")
    func refusals() {
        var cluster = running()
        func refusal(_ resize: ServiceResize, of service: String = "web") -> String {
            guard
                case .refused(let refusal) = cluster.apply(
                    .resize(service: service, resize)
                ).result
            else { return "" }
            return refusal.message
        }
        let some = ServiceResize(pidsMax: 10)
        #expect(refusal(some, of: "none").contains("there is no service"))
        #expect(refusal(ServiceResize()).contains("nothing to resize"))
        #expect(refusal(ServiceResize(container: "app")).contains("nothing to resize"))
        #expect(
            refusal(ServiceResize(container: "db", pidsMax: 10)).contains("no container 'db'"))
        #expect(refusal(ServiceResize(memoryLimitBytes: 1)).contains("memory.limit"))
        #expect(refusal(ServiceResize(cpuLimitMillicores: -1)).contains("cpu.limit"))
        #expect(refusal(ServiceResize(cpuRequestMillicores: 5_000)).contains("above the limit"))
        #expect(refusal(ServiceResize(egressBitsPerSecond: 1)).contains("network.egress"))
        #expect(cluster.state.service("web")?.revision == 1)
        let same = cluster.apply(
            .resize(service: "web", ServiceResize(cpuLimitMillicores: 1_000)))
        #expect(same.result == .applied && same.events.isEmpty)
        #expect(cluster.state.service("web")?.revision == 1)
    }

    @Test("of several containers the one to resize must be named")
    func severalContainers() {
        var cluster = Cluster.three()
        let two = Cluster.web {
            $0.containers.append(ContainerSpec(name: "side", image: "demo/web:1"))
        }
        cluster.apply(.applyService(two))
        #expect(
            cluster.apply(.resize(service: "web", ServiceResize(pidsMax: 9))).refusal == .invalid)
        cluster.apply(.resize(service: "web", ServiceResize(container: "side", pidsMax: 9)))
        #expect(cluster.state.service("web")?.spec.containers.map(\.pidsMax) == [1_024, 9])
        // The network is the set's, whatever containers it has.
        cluster.apply(.resize(service: "web", ServiceResize(egressBitsPerSecond: 1_000_000)))
        #expect(cluster.state.service("web")?.spec.network.egressBitsPerSecond == 1_000_000)
        cluster.apply(.resize(service: "web", ServiceResize(egressBitsPerSecond: 0)))
        #expect(cluster.state.service("web")?.spec.network.egressBitsPerSecond == nil)
    }

    @Test("applying a spec that differs in limits alone resizes, and lets sets move without room")
    func applying() throws {
        var cluster = Cluster.three(memory: 200 << 20)
        cluster.apply(.applyService(Cluster.web(sets: 4)))
        cluster.settle()
        cluster.reportAll()
        let spread = cluster.spread()
        #expect(spread.sorted() == [1, 1, 2])
        let larger = Cluster.web(sets: 4) {
            $0.containers[0].memory = MemorySpec(requestBytes: 90 << 20, limitBytes: 128 << 20)
        }
        let indexes = cluster.state.services.flatMap(\.slots).compactMap(\.placement?.index)
        cluster.apply(.applyService(larger))
        #expect(cluster.settle() == 0, "all fit where they are")
        #expect(
            cluster.state.services.flatMap(\.slots).compactMap(\.placement?.index) == indexes)
        let huge = Cluster.web(sets: 3) {
            $0.containers[0].memory = MemorySpec(requestBytes: 150 << 20, limitBytes: 150 << 20)
        }
        cluster.reportAll()
        cluster.apply(.applyService(huge))
        for _ in 0..<10 {
            cluster.settle()
            cluster.reportAll()
        }
        #expect(cluster.spread() == [1, 1, 1])
        let revisions = cluster.state.services.flatMap(\.slots).compactMap(\.placement?.revision)
        #expect(revisions == [3, 3, 3])
    }

    @Test("limits that changed while a host was lost are its sets' own when it returns")
    func whileLost() throws {
        // No room elsewhere, so that the sets of the lost host wait for it.
        var cluster = Cluster.three(memory: 128 << 20)
        cluster.apply(.applyService(Cluster.web()))
        cluster.settle()
        cluster.reportAll()
        let lost = try #require(cluster.state.slot(Self.web0)?.placement?.host)
        let epoch = try #require(cluster.state.host(lost)?.bootEpoch)
        let before = cluster.state.services.flatMap(\.slots).compactMap(\.placement)
        cluster.apply(.declareHostLost(lost, epoch, reason: "no answer"))
        cluster.settle()
        cluster.apply(.resize(service: "web", ServiceResize(cpuLimitMillicores: 2_000)))
        let stranded = cluster.state.services.flatMap(\.slots).filter(\.stranded)
        #expect(stranded.count == 2)
        #expect(stranded.allSatisfy { $0.placement?.revision == 1 })
        cluster.apply(.declareHostReturned(lost, epoch))
        #expect(cluster.settle() == 0, "nothing is placed anew")
        let after = cluster.state.services.flatMap(\.slots).compactMap(\.placement)
        #expect(after.map(\.index) == before.map(\.index))
        #expect(after.allSatisfy { $0.revision == 2 })
        #expect(cluster.state.service("web")?.outdatedCount == 0)
    }

    @Test("another image or command is still a new set")
    func otherChanges() {
        var cluster = running()
        let other = Cluster.web { $0.containers[0].command = ["sleep", "1"] }
        let indexes = cluster.state.services.flatMap(\.slots).compactMap(\.placement?.index)
        cluster.apply(.applyService(other))
        #expect(cluster.state.service("web")?.outdatedCount == 6)
        cluster.settle()
        #expect(
            cluster.state.services.flatMap(\.slots).compactMap(\.placement?.index) != indexes)
    }

    @Test("a decision that was made before a resize does not take it back")
    func staleDecision() throws {
        var cluster = running()
        let basedOn = cluster.state.appliedIndex
        let host = try #require(cluster.state.slot(Self.web0)?.placement?.host)
        cluster.apply(.resize(service: "web", ServiceResize(pidsMax: 10)))
        let outcome = cluster.apply(
            .decide(basedOn: basedOn, decisions: [.place(Self.web0, host: host, revision: 1)]))
        #expect(outcome.kinds == [.decisionSkipped])
        #expect(cluster.state.slot(Self.web0)?.placement?.revision == 2)
    }

    @Test("state and commands are read back as they were written; the first form is read too")
    func wire() throws {
        var cluster = running()
        cluster.apply(.resize(service: "web", ServiceResize(memoryRequestBytes: 16 << 20)))
        #expect(try ReplicatedState(decoding: cluster.state.encoded) == cluster.state)
        let resizes = [
            ServiceResize(), ServiceResize(container: "app", cpuLimitMillicores: 5),
            ServiceResize(
                cpuRequestMillicores: 1, cpuLimitMillicores: 2, memoryRequestBytes: 3,
                memoryLimitBytes: 4, pidsMax: 5, egressBitsPerSecond: 0, ingressBitsPerSecond: .max),
        ]
        for resize in resizes {
            let command = Command.resize(service: "web", resize)
            #expect(try Command(decoding: command.encoded) == command)
        }
        // A report of the first form: the same without the revision, under its own number.
        let placement = try #require(cluster.state.slot(Self.web0)?.placement)
        var report = Cluster.report(placement, .running)
        report.revision = 0
        let command = Command.reportSets(
            host: placement.host, bootEpoch: BootEpoch(1), reports: [report])
        var bytes = command.encoded
        #expect(bytes.removeLast() == 0)
        bytes[0] = 10
        #expect(try Command(decoding: bytes) == command)
    }
}
