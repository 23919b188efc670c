import Base
import ClusterModel
import Testing
import Wire

@testable import ClusterState

/// What is wrong with a volume is the cluster's to know, and each turn of it an event.
@Suite("Conditions of volumes, and notices of hosts")
struct ConditionTests {
    private static let db0 = SlotID(service: "db", ordinal: 0)
    private static let host = HostID(testing: 1)

    private static func report(
        _ condition: VolumeCondition = VolumeCondition(), id: String = "00000000000000aa",
        trashedAt: Int? = nil
    ) -> VolumeReport {
        VolumeReport(
            slot: db0, name: "data", id: id, volumeClass: .directory, sizeBytes: 64 << 20,
            trashedAt: trashedAt, owner: LogIndex(4), condition: condition)
    }

    @discardableResult
    private static func tell(
        _ volumes: [VolumeReport], to cluster: inout Cluster, boot: UInt64 = 10
    ) -> CommandOutcome {
        cluster.apply(
            .reportVolumes(host: host, bootEpoch: BootEpoch(boot), volumes: volumes), from: host,
            boot: boot)
    }

    private static let failed = VolumeCondition(trouble: .failed, reason: "its disk is gone")

    @Test("each line is told once on the way up; read-only and writable again, too")
    func filling() {
        var cluster = Cluster.three()
        Self.tell([Self.report()], to: &cluster)
        func turn(_ condition: VolumeCondition, boot: UInt64 = 10) -> [EventKind] {
            Self.tell([Self.report(condition)], to: &cluster, boot: boot).kinds
        }
        #expect(turn(VolumeCondition(filledPercent: 80)) == [.volumeFilling])
        #expect(turn(VolumeCondition(filledPercent: 80)) == [])
        #expect(turn(VolumeCondition(filledPercent: 80), boot: 11) == [], "after a restart")
        #expect(turn(VolumeCondition(filledPercent: 95)) == [], "of an earlier start")
        #expect(turn(VolumeCondition(filledPercent: 95), boot: 11) == [.volumeFilling])
        let message = cluster.state.events.last?.message ?? ""
        #expect(message == "is 95 % full on h1, of 64 MiB: grow it, or remove files")
        let held = VolumeCondition(filledPercent: 100, isHeld: true)
        #expect(turn(held, boot: 12) == [.volumeReadOnly])
        #expect(turn(VolumeCondition(filledPercent: 100), boot: 12) == [.volumeWritable])
        #expect(turn(VolumeCondition(), boot: 12) == [])
    }

    @Test("what failed is told once, also over restarts and the trash, and so is its being well")
    func failing() throws {
        var cluster = Cluster.three()
        Self.tell([Self.report()], to: &cluster)
        #expect(Self.tell([Self.report(Self.failed)], to: &cluster).kinds == [.volumeFailed])
        #expect(cluster.state.events.last?.message == "on h1: its disk is gone")
        #expect(cluster.state.events.last?.subject == "db.0/data")
        #expect(Self.tell([Self.report(Self.failed)], to: &cluster, boot: 11).kinds == [])
        #expect(try ReplicatedState(decoding: cluster.state.encoded) == cluster.state)
        #expect(cluster.state.volumes(of: Self.host).first?.condition == Self.failed)
        let gone = VolumeCondition(trouble: .gone, reason: "gone")
        #expect(Self.tell([Self.report(gone)], to: &cluster, boot: 11).kinds == [.volumeFailed])
        #expect(
            Self.tell([Self.report(gone, trashedAt: 7)], to: &cluster, boot: 11).kinds
                == [.volumeChanged])
        #expect(
            Self.tell([Self.report()], to: &cluster, boot: 11).kinds
                == [.volumeChanged, .volumeRecovered])
        #expect(cluster.state.events.last?.message == "is well again on h1")
    }

    @Test("well volumes are written as before; damaged conditions are refused")
    func forms() throws {
        func command(_ volumes: [VolumeReport]) -> Command {
            .reportVolumes(host: Self.host, bootEpoch: BootEpoch(10), volumes: volumes)
        }
        let well = command([Self.report(), Self.report(id: "00000000000000bb")])
        #expect(well.encoded.first == 20)
        #expect(try Command(decoding: well.encoded) == well)
        let told = command([
            Self.report(), Self.report(Self.failed, id: "00000000000000bb"),
            Self.report(
                VolumeCondition(filledPercent: 95, isHeld: true), id: "00000000000000cc"),
        ])
        #expect(told.encoded.first == 55)
        #expect(try Command(decoding: told.encoded) == told)
        for length in 0..<told.encoded.count {
            #expect(throws: WireError.self) {
                try Command(decoding: Array(told.encoded.prefix(length)))
            }
        }
        // Any byte may come out as anything: refused, or read as something that is written so.
        for position in told.encoded.indices {
            for bit in 0..<8 {
                var bytes = told.encoded
                bytes[position] ^= 1 << bit
                guard let read = try? Command(decoding: bytes) else { continue }
                #expect(try Command(decoding: read.encoded) == read)
            }
        }
        // A position behind the last volume, and one that comes twice.
        for positions: [UInt64] in [[3], [1, 1], [UInt64.max]] {
            var writer = ByteWriter()
            writer.write(UInt64(positions.count))
            for position in positions {
                writer.write(position)
                writer.write(Self.failed)
            }
            var reader = ByteReader(writer.bytes)
            var volumes = [Self.report(), Self.report(), Self.report()]
            #expect(throws: WireError.self) { try reader.readConditions(of: &volumes) }
        }
    }

    @Test("a snapshot from before conditions were told is read")
    func earlierSnapshot() throws {
        var cluster = Cluster.three()
        Self.tell([Self.report()], to: &cluster)
        // One count of conditions for the one host that told of volumes.
        var bytes = Array(cluster.state.encoded.dropLast(UInt64(0).encoded.count))
        bytes[0] = 3
        #expect(try ReplicatedState(decoding: bytes) == cluster.state)
    }

    @Test("a reason that is too long is cut where it is made, so that it is told once")
    func longReason() throws {
        let condition = VolumeCondition(
            trouble: .failed, reason: String(repeating: "\u{1F40B}\u{301}", count: 2_000))
        #expect(condition.reason.utf8.count <= VolumeCondition.reasonBytesMax)
        #expect(try VolumeCondition(decoding: condition.encoded) == condition)
    }

    @Test("killed processes are an event of the set, with the numbers; stale ones are none")
    func kills() throws {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Cluster.web("db", sets: 1)))
        cluster.settle()
        let placement = try #require(cluster.state.slot(Self.db0)?.placement)
        func notice(_ host: HostID, _ index: LogIndex, count: Int = 3) -> Command {
            .notice(
                host: host, bootEpoch: BootEpoch(10),
                .processesKilled(
                    Self.db0, placementIndex: index, container: "app", count: count,
                    memory: MemoryAtExit(peakBytes: 64 << 20, limitBytes: 64 << 20)))
        }
        let command = notice(placement.host, placement.index)
        #expect(try Command(decoding: command.encoded) == command)
        for length in 0..<command.encoded.count {
            #expect(throws: WireError.self) {
                try Command(decoding: Array(command.encoded.prefix(length)))
            }
        }
        let outcome = cluster.apply(command, from: placement.host)
        #expect(outcome.kinds == [.processOutOfMemory])
        let name = try #require(cluster.state.host(placement.host)).name
        #expect(
            outcome.events.first?.message
                == "3 processes in container app were killed on \(name), and the container goes "
                + "on: it used more memory than its limit (used 64 MiB of limit 64 MiB)")
        #expect(try ReplicatedState(decoding: cluster.state.encoded) == cluster.state)
        let other = try #require(cluster.usable.first { $0 != placement.host })
        #expect(cluster.apply(notice(other, placement.index), from: other).kinds == [])
        #expect(cluster.apply(notice(placement.host, .zero), from: placement.host).kinds == [])
        #expect(
            cluster.apply(notice(placement.host, placement.index, count: -1)).kinds == [])
        #expect(
            cluster.apply(notice(HostID(testing: 77), placement.index)).refusal == .hostUnknown)
    }

    @Test("content without a record is told once, however often it is found")
    func unrecorded() {
        var cluster = Cluster.three()
        func find(_ place: String, boot: UInt64) -> [EventKind] {
            cluster.apply(
                .notice(host: Self.host, bootEpoch: BootEpoch(boot), .unrecorded(place)),
                from: Self.host, boot: boot
            ).kinds
        }
        #expect(find("/v/data/x.image", boot: 10) == [.volumeUnrecorded])
        #expect(
            cluster.state.events.last?.message
                == "found /v/data/x.image, which has no record, and left it alone")
        #expect(find("/v/data/x.image", boot: 11) == [])
        #expect(find("/v/data/y.image", boot: 11) == [.volumeUnrecorded])
    }
}
