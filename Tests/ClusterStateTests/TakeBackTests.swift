import Base
import ClusterModel
import Testing
import Wire

@testable import ClusterState

/// New limits that no host can give do not stand in the way of others, and are taken back.
@Suite("Limits that hosts refuse")
struct TakeBackTests {
    private static let mebibyte = 1 << 20
    private static let db0 = SlotID(service: "db", ordinal: 0)

    private static func database(size: Int = 64, sets: Int = 2) -> ServiceSpec {
        Cluster.web("db", sets: sets) {
            $0.volumes = [
                VolumeSpec(name: "data", sizeBytes: size * mebibyte, mount: "/data")
            ]
        }
    }

    /// Two sets that run, and hosts that told of volumes of 64 MiB.
    private func running(sets: Int = 2) throws -> Cluster {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Self.database(sets: sets)))
        cluster.settle()
        cluster.reportAll()
        for ordinal in 0..<sets { try tell(ordinal, size: 64, &cluster) }
        return cluster
    }

    private func tell(_ ordinal: Int, size: Int, _ cluster: inout Cluster) throws {
        let slot = SlotID(service: "db", ordinal: ordinal)
        let placement = try #require(cluster.state.slot(slot)?.placement)
        let host = try #require(cluster.state.host(placement.host))
        let owner = try #require(cluster.state.service("db")?.createdAt)
        let others = cluster.state.volumes(of: host.id).filter { $0.slot != slot }
        cluster.tell(
            others + [
                VolumeReport(
                    slot: slot, name: "data", id: "000000000000000\(ordinal)", volumeClass: .loop,
                    sizeBytes: size * Self.mebibyte, owner: owner)
            ], of: host)
    }

    private func message(_ outcome: CommandOutcome) -> String {
        guard case .refused(let refusal) = outcome.result else { return "" }
        return refusal.message
    }

    @Test("a size that no volume reached may be given up, by resize and by apply")
    func givingUp() throws {
        var cluster = try running()
        #expect(cluster.resize("db", to: 80 << 20).refusal == nil)
        #expect(cluster.resize("db", to: 64 << 20).refusal == nil)
        #expect(cluster.state.service("db")?.spec.volumes[0].sizeBytes == 64 << 20)
        #expect(cluster.resize("db", to: 80 << 20).refusal == nil)
        #expect(cluster.apply(.applyService(Self.database())).refusal == nil)
        #expect(cluster.state.service("db")?.spec.volumes[0].sizeBytes == 64 << 20)
        #expect(message(cluster.resize("db", to: 48 << 20)).contains("has 64Mi and cannot shrink"))
    }

    @Test("what one set of the service has is not taken from it")
    func oneGrew() throws {
        var cluster = try running()
        _ = cluster.resize("db", to: 96 << 20)
        try tell(1, size: 96, &cluster)
        #expect(
            message(cluster.resize("db", to: 64 << 20))
                == "volume data of db has 96Mi and cannot shrink to 64Mi while it is in use; "
                + "it can grow")
        #expect(
            message(cluster.apply(.applyService(Self.database()))).contains("has 96Mi and cannot"))
        // A volume that was restored larger than its spec never stood in the way, and does not now.
        var other = try running()
        try tell(0, size: 200, &other)
        var spec = Self.database()
        spec.containers[0].pidsMax = 9
        #expect(other.apply(.applyService(spec)).refusal == nil)
    }

    @Test("limits that every host refused are taken back as a revision of their own")
    func takenBack() throws {
        var cluster = try running()
        let before = cluster.state.service("db")?.spec
        let indexes = cluster.state.services.flatMap(\.slots).compactMap(\.placement?.index)
        cluster.apply(
            .resize(
                service: "db",
                ServiceResize(
                    memoryRequestBytes: 128 << 20,
                    volumes: [VolumeSize(name: "data", sizeBytes: 80 << 20)])))
        cluster.apply(.scale(service: "db", sets: 2))
        let outcome = cluster.apply(.takeBackLimits(service: "db", revision: 2))
        #expect(outcome.result == .applied)
        #expect(outcome.events.last?.message.contains("revision 2 are taken back") == true)
        #expect(cluster.state.service("db")?.spec == before)
        #expect(cluster.state.service("db")?.revision == 3)
        let after = cluster.state.services.flatMap(\.slots).compactMap(\.placement)
        #expect(after.map(\.index) == indexes)
        #expect(after.map(\.revision) == [3, 3])
        cluster.reportAll()
        #expect(cluster.state.slot(Self.db0)?.demand.memoryBytes == 64 << 20)
        #expect(cluster.settle() == 0)
        // Deleted and restored, it has the limits from before.
        cluster.apply(.deleteService("db"))
        cluster.apply(.restoreService("db"))
        #expect(cluster.state.service("db")?.spec == before)
    }

    @Test("taking back is refused once a set has the limits, and for what is not limits alone")
    func notTakenBack() throws {
        var cluster = try running()
        #expect(message(cluster.apply(.takeBackLimits(service: "db", revision: 1))) != "")
        cluster.apply(.resize(service: "db", ServiceResize(pidsMax: 9)))
        #expect(
            message(cluster.apply(.takeBackLimits(service: "db", revision: 1)))
                .contains("has revision 2 by now"))
        cluster.reportAll()
        #expect(
            message(cluster.apply(.takeBackLimits(service: "db", revision: 2)))
                .contains("db.0 has the limits of revision 2"))
        var other = Self.database()
        other.containers[0].command = ["a"]
        cluster.apply(.applyService(other))
        #expect(
            message(cluster.apply(.takeBackLimits(service: "db", revision: 3)))
                .contains("more than limits"))
        #expect(
            cluster.apply(.takeBackLimits(service: "none", revision: 1)).refusal == .serviceUnknown)
    }

    @Test("a volume that did grow keeps its size when the rest is taken back")
    func grownStays() throws {
        var cluster = try running()
        cluster.apply(
            .resize(
                service: "db",
                ServiceResize(pidsMax: 9, volumes: [VolumeSize(name: "data", sizeBytes: 96 << 20)]))
        )
        try tell(0, size: 80, &cluster)
        #expect(cluster.apply(.takeBackLimits(service: "db", revision: 2)).refusal == nil)
        let spec = try #require(cluster.state.service("db")?.spec)
        #expect(spec.containers[0].pidsMax == 1_024)
        #expect(spec.volumes[0].sizeBytes == 80 << 20)
    }

    @Test("the revision that is in force is kept, however many were refused since")
    func keptRevision() throws {
        var cluster = try running(sets: 1)
        let placement = try #require(cluster.state.slot(Self.db0)?.placement)
        for pids in 10..<40 {
            cluster.apply(.resize(service: "db", ServiceResize(pidsMax: pids)))
            var report = Cluster.report(placement, .running)
            report.revision = 1
            cluster.apply(
                .reportSets(host: placement.host, bootEpoch: BootEpoch(10), reports: [report]),
                from: placement.host)
        }
        #expect(cluster.state.service("db")?.spec(revision: 1)?.containers[0].pidsMax == 1_024)
    }

    @Test("the command is read back as it was written, and not when it is cut off")
    func wire() throws {
        let command = Command.takeBackLimits(service: "db", revision: 7)
        #expect(try Command(decoding: command.encoded) == command)
        for length in 0..<command.encoded.count {
            #expect(throws: WireError.self) {
                try Command(decoding: Array(command.encoded.prefix(length)))
            }
        }
    }
}
