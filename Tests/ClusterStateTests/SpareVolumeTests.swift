import Base
import ClusterModel
import Testing
import Wire

@testable import ClusterState

/// Volumes that belong to no service: snapshots, clones, what was taken out of the trash.
@Suite("Volumes that belong to nobody")
struct SpareVolumeTests {
    private static let test0 = SlotID(service: "test", ordinal: 0)

    private static func report(
        _ slot: SlotID, snapshot: String? = nil, id: String, trashedAt: Int? = nil,
        owner: LogIndex = .zero
    ) -> VolumeReport {
        VolumeReport(
            slot: slot, name: "data", snapshot: snapshot, id: id, volumeClass: .loop,
            sizeBytes: 64 << 20, usedBytes: 1 << 20, trashedAt: trashedAt, owner: owner)
    }

    private static func tell(
        _ volumes: [VolumeReport], host: Int, to cluster: inout Cluster
    ) {
        let id = HostID(testing: UInt64(host))
        cluster.apply(
            .reportVolumes(host: id, bootEpoch: BootEpoch(10), volumes: volumes), from: id)
    }

    private static func database(_ name: String, sets: Int = 1) -> ServiceSpec {
        Cluster.web(name, sets: sets) {
            $0.volumes = [VolumeSpec(name: "data", sizeBytes: 64 << 20, mount: "/data")]
        }
    }

    @Test("a clone made for a slot pins it to its host, once the service is there")
    func cloneIsAdopted() throws {
        for host in 1...3 {
            var cluster = Cluster.three()
            Self.tell(
                [Self.report(Self.test0, id: "00000000000000aa")], host: host, to: &cluster)
            cluster.apply(.applyService(Self.database("test", sets: 2)))
            cluster.settle()
            let holder = HostID(testing: UInt64(host))
            #expect(cluster.state.slot(Self.test0)?.volumeHost == holder)
            #expect(cluster.state.slot(Self.test0)?.placement?.host == holder)
        }
    }

    @Test("what a slot has of its own goes before what belongs to nobody; other names are left")
    func ownFirst() throws {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Self.database("test")))
        let owner = try #require(cluster.state.service("test")?.createdAt)
        cluster.apply(.scale(service: "test", sets: 0))
        Self.tell([Self.report(Self.test0, id: "00000000000000aa")], host: 1, to: &cluster)
        Self.tell(
            [Self.report(Self.test0, id: "00000000000000bb", trashedAt: 9, owner: owner)], host: 2,
            to: &cluster)
        cluster.apply(.scale(service: "test", sets: 1))
        #expect(cluster.state.slot(Self.test0)?.volumeHost == HostID(testing: 2))

        var other = Cluster.three()
        var elsewhere = Self.report(Self.test0, id: "00000000000000aa")
        elsewhere.name = "logs"
        let snapshot = Self.report(Self.test0, snapshot: "monday", id: "00000000000000bb")
        let trashed = Self.report(Self.test0, id: "00000000000000cc", trashedAt: 9)
        Self.tell([elsewhere, snapshot, trashed], host: 1, to: &other)
        other.apply(.applyService(Self.database("test")))
        #expect(other.state.slot(Self.test0)?.volumeHost == nil)
    }

    @Test("nobody's volumes are never put into the trash by the log")
    func verdicts() throws {
        var cluster = Cluster.three()
        let host = HostID(testing: 1)
        let clone = Self.report(Self.test0, id: "00000000000000aa")
        let snapshot = Self.report(Self.test0, snapshot: "monday", id: "00000000000000bb")
        func expectLeftAlone(_ when: String) {
            for volume in [clone, snapshot] {
                #expect(cluster.state.verdict(on: volume, host: host) == .unknown, "\(when)")
            }
        }
        expectLeftAlone("without a service")
        cluster.apply(.applyService(Self.database("test")))
        cluster.settle()
        expectLeftAlone("with one")
        cluster.apply(.scale(service: "test", sets: 0))
        expectLeftAlone("without its slot")
        cluster.apply(.deleteService("test"))
        expectLeftAlone("after its end")
    }

    @Test("snapshots are told and kept; reports and states of before are still read")
    func forms() throws {
        var cluster = Cluster.three()
        let volumes = [
            Self.report(Self.test0, id: "00000000000000aa", owner: LogIndex(4)),
            Self.report(Self.test0, snapshot: "monday", id: "00000000000000bb"),
        ]
        Self.tell(volumes, host: 1, to: &cluster)
        #expect(cluster.state.volumes(of: HostID(testing: 1)) == volumes)
        #expect(cluster.state.events.last?.subject == "test.0/data@monday")
        #expect(try ReplicatedState(decoding: cluster.state.encoded) == cluster.state)

        let command = Command.reportVolumes(
            host: HostID(testing: 1), bootEpoch: BootEpoch(10), volumes: volumes)
        #expect(try Command(decoding: command.encoded) == command)
        // What agents before this version wrote: tag 14, and no snapshot at the end of a volume.
        var old = ByteWriter()
        old.write(byte: 14)
        old.write(HostID(testing: 1))
        old.write(BootEpoch(10))
        old.write(UInt64(1))
        for byte in volumes[0].encoded.dropLast() { old.write(byte: byte) }
        #expect(
            try Command(decoding: old.bytes)
                == .reportVolumes(
                    host: HostID(testing: 1), bootEpoch: BootEpoch(10), volumes: [volumes[0]]))
    }
}
