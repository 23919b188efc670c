import Base
import ClusterModel
import Testing
import Wire

@testable import ClusterState

/// A slot with volumes runs where they are, or waits and says so.
@Suite("Slots with volumes")
struct VolumeTests {
    private static let db0 = SlotID(service: "db", ordinal: 0)

    private static func database(
        sets: Int = 1, change: (inout ServiceSpec) -> Void = { _ in }
    ) -> ServiceSpec {
        Cluster.web("db", sets: sets) {
            $0.volumes = [VolumeSpec(name: "data", sizeBytes: 64 << 20, mount: "/data")]
            change(&$0)
        }
    }

    private func running() -> Cluster {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Self.database()))
        cluster.settle()
        cluster.reportAll()
        return cluster
    }

    @Test(
        "when its host is lost the slot waits, names host and volume, and goes on when it returns")
    func lostHost() throws {
        var cluster = running()
        let placement = try #require(cluster.state.slot(Self.db0)?.placement)
        let host = try #require(cluster.state.host(placement.host))
        #expect(cluster.state.slot(Self.db0)?.volumeHost == host.id)
        cluster.apply(.declareHostLost(host.id, host.bootEpoch, reason: "silent"))
        cluster.settle()
        let waiting = try #require(cluster.state.slot(Self.db0))
        #expect(waiting.phase == .pending)
        #expect(
            waiting.pendingReason
                == "waits for host \(host.name), which holds its volume data: it is lost")
        #expect(cluster.settle() == 0, "and says so once")
        cluster.apply(.declareHostReturned(host.id, host.bootEpoch))
        cluster.settle()
        #expect(cluster.state.slot(Self.db0)?.placement == placement)
    }

    @Test("a new revision runs on the same host, and waits there for room")
    func update() throws {
        var cluster = running()
        let host = try #require(cluster.state.slot(Self.db0)?.volumeHost)
        cluster.apply(.applyService(Self.database { $0.containers[0].command = ["a"] }))
        cluster.settle()
        #expect(cluster.state.slot(Self.db0)?.placement?.host == host)
        #expect(cluster.state.slot(Self.db0)?.placement?.revision == 2)
        cluster.reportAll()
        let huge = Self.database {
            $0.containers[0].command = ["b"]
            $0.containers[0].cpu = CPUSpec(requestMillicores: 5_000, limitMillicores: 5_000)
        }
        cluster.apply(.applyService(huge))
        cluster.settle()
        #expect(cluster.state.slot(Self.db0)?.placement?.revision == 2)
        #expect(
            cluster.state.slot(Self.db0)?.pendingReason.contains("which holds its volumes") == true)
    }

    @Test("a slot that was taken from its host goes back to its volumes, whatever is freer")
    func unplaced() throws {
        var cluster = running()
        let host = try #require(cluster.state.slot(Self.db0)?.volumeHost)
        let basedOn = cluster.state.appliedIndex
        cluster.apply(.decide(basedOn: basedOn, decisions: [.unplace(Self.db0, reason: "drain")]))
        #expect(cluster.state.slot(Self.db0)?.placement == nil)
        let other = try #require(cluster.usable.first { $0 != host })
        let elsewhere = cluster.apply(
            .decide(
                basedOn: cluster.state.appliedIndex,
                decisions: [.place(Self.db0, host: other, revision: 1)]))
        #expect(elsewhere.kinds == [.decisionSkipped])
        #expect(try ReplicatedState(decoding: cluster.state.encoded) == cluster.state)
        cluster.settle()
        #expect(cluster.state.slot(Self.db0)?.placement?.host == host)
    }

    @Test("sets with volumes spread as others do; without volumes nothing holds a slot")
    func spread() throws {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Self.database(sets: 6)))
        cluster.settle()
        #expect(cluster.spread("db") == [2, 2, 2])
        cluster.reportAll()
        cluster.apply(.applyService(Self.database(sets: 6) { $0.volumes = [] }))
        for _ in 0..<10 {
            cluster.settle()
            cluster.reportAll()
        }
        let holders = cluster.state.service("db")?.slots.compactMap(\.volumeHost)
        #expect(holders == [])
    }

    @Test("a forgotten host's slot says what became of its volumes")
    func forgotten() throws {
        var cluster = running()
        let id = try #require(cluster.state.slot(Self.db0)?.volumeHost)
        let host = try #require(cluster.state.host(id))
        cluster.apply(.declareHostLost(id, host.bootEpoch, reason: "silent"))
        cluster.apply(.forgetHost(id))
        cluster.usable.removeAll { $0 == id }
        cluster.settle()
        #expect(
            cluster.state.slot(Self.db0)?.pendingReason
                == "waits for its volume data: the host \(id.short) that held it was forgotten")
    }

    @Test("a set of before a deletion ends after a restore, also where the slot is gone")
    func oldCopyAfterRestore() throws {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Self.database(sets: 6)))
        cluster.settle()
        cluster.reportAll()
        let last = SlotID(service: "db", ordinal: 5)
        let placement = try #require(cluster.state.slot(last)?.placement)
        cluster.apply(.scale(service: "db", sets: 3))
        cluster.apply(.deleteService("db"))
        cluster.apply(.restoreService("db"))
        #expect(cluster.state.service("db")?.slots.count == 3)
        let verdict = cluster.state.verdict(
            on: last, placementIndex: placement.index, host: placement.host)
        #expect(verdict == .stop(reason: "service db has only 3 sets"))
    }

    @Test("volumes that cannot be are refused with their place")
    func problems() {
        func problems(_ volumes: [VolumeSpec]) -> [String] {
            Self.database { $0.volumes = volumes }.problems().map(\.description)
        }
        let good = VolumeSpec(name: "data", sizeBytes: 64 << 20, mount: "/data")
        #expect(problems([good]) == [])
        for mount in [
            "", "data", "/", "/a//b", "/a/", "/a/../b", "/./a", "/proc", "/proc/x", "/sys",
            "/dev/x",
            "/" + String(repeating: "x", count: 2_000), "/a\0b",
        ] {
            let bad = VolumeSpec(name: "data", sizeBytes: 64 << 20, mount: mount)
            #expect(problems([bad]).contains { $0.hasPrefix("volumes[0].mount") }, "\(mount)")
        }
        let small = VolumeSpec(name: "data", sizeBytes: 1, mount: "/data")
        #expect(problems([small]).contains { $0.hasPrefix("volumes[0].size") })
        let named = VolumeSpec(name: "Data!", sizeBytes: 64 << 20, mount: "/data")
        #expect(problems([named]).contains { $0.hasPrefix("volumes[0].name") })
        #expect(problems([good, good]).count == 2)
        #expect(problems(Array(repeating: good, count: 17)).contains { $0.contains("at most 16") })
    }
}
