import ClusterModel
import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// SIGKILL at every step of every operation: nothing is lost, leaked or mounted twice.
@Suite("killed", .serialized, .enabled(if: mountObstacle == nil && VictimOrder.own == nil))
struct KillTests {
    /// What the file in the volume says.
    static let token = "acknowledged"

    @Test("a file's volume survives", arguments: VictimOperation.allCases)
    func loop(_ operation: VictimOperation) async throws {
        // A mounted ext4 cannot be grown everywhere, a mounted xfs can.
        let fileSystem = operation == .growAttached ? "xfs" : "ext4"
        try await killEverywhere(operation, volumeClass: "loop", fileSystem: fileSystem)
    }

    @Test("a folder's volume survives", arguments: VictimOperation.allCases)
    func directory(_ operation: VictimOperation) async throws {
        try await killEverywhere(operation, volumeClass: "directory", fileSystem: "host")
    }

    @Test(
        "a logical volume survives", .enabled(if: poolObstacle == nil),
        arguments: VictimOperation.allCases)
    func logical(_ operation: VictimOperation) async throws {
        try await killEverywhere(
            operation, volumeClass: "lvm", fileSystem: "ext4", pool: PoolFixture())
    }

    /// How many kills at random moments; 500 in the long run.
    static let randomKills =
        ProcessInfo.processInfo.environment["SHOALT_KILLS"].flatMap { Int($0) } ?? 20

    @Test("volumes survive kills at any moment, in the middle of tools too")
    func anyMoment() async throws {
        try await killAtAnyMoment(["loop", "directory"], pool: nil)
    }

    @Test(
        "logical volumes survive kills at any moment, in the middle of tools too",
        .enabled(if: poolObstacle == nil))
    func anyMomentLogical() async throws {
        try await killAtAnyMoment(["lvm"], pool: PoolFixture())
    }

    private func killAtAnyMoment(_ classes: [String], pool: PoolFixture?) async throws {
        var longest: [String: UInt32] = [:]
        for round in 0..<KillTests.randomKills {
            let volumeClass = classes[round % classes.count]
            let operations = VictimOperation.allCases.filter {
                // The kernel may refuse it, see `growAttached` of a file's volume.
                $0 != .growAttached || volumeClass != "loop"
            }
            let operation = operations[round / classes.count % operations.count]
            let fixture = try VolumeFixture()
            let order = VictimOrder(
                root: fixture.root, volumeClass: volumeClass,
                fileSystem: volumeClass == "directory" ? "host" : "ext4",
                pool: pool.map { "\($0.pool)" }, operation: operation.rawValue, killAt: 0)
            try await prepare(order, operation)
            // About as long as the operation takes, so that kills fall all over it.
            let key = "\(volumeClass) \(operation)"
            let delay = UInt32.random(in: 0...(longest[key] ?? 60_000))
            let (status, output) = try order.run(killAfter: delay)
            let wasKilled = status & 0x7F == SIGKILL
            try #require(wasKilled || status == 0, "\(output)")
            longest[key] = wasKilled ? max(delay + delay / 2, 60_000) : max(delay, 1_000)
            let step = Comment("\(key) killed after \(delay) µs")
            try await inspect(fixture, pool, order, operation, step)
            try pool?.empty()
        }
    }

    /// Kills the operation at its first checkpoint, its second, and so on until it comes through.
    private func killEverywhere(
        _ operation: VictimOperation, volumeClass: String, fileSystem: String,
        pool: PoolFixture? = nil
    ) async throws {
        var killAt = 1
        while true {
            let fixture = try VolumeFixture()
            let order = VictimOrder(
                root: fixture.root, volumeClass: volumeClass, fileSystem: fileSystem,
                pool: pool.map { "\($0.pool)" }, operation: operation.rawValue, killAt: killAt)
            try await prepare(order, operation)
            let (status, output) = try order.run()
            let wasKilled = status & 0x7F == SIGKILL
            try #require(wasKilled || status == 0, "\(output)")
            let step = Comment("\(operation) killed at checkpoint \(killAt)")
            try await inspect(fixture, pool, order, operation, step)
            guard wasKilled else { break }
            try pool?.empty()
            killAt += 1
        }
        print("\(volumeClass) \(operation): killed at \(killAt - 1) steps")
        // Otherwise nothing was tested.
        #expect(killAt > 2)
    }

    /// Makes what the operation needs.
    private func prepare(_ order: VictimOrder, _ operation: VictimOperation) async throws {
        let store = try VolumeStore(settings: order.settings())
        _ = try await store.recover()
        let name = try #require(VictimOrder.old)
        try await store.create(order.request(name))
        let path = try await store.attach(name).path
        try VolumeFixture.write(KillTests.token, to: "\(path)/file")
        // Only the process is killed here, but what is acknowledged is what is on the disk.
        try VolumeFixture.run("sync", "-f", path)
        // Neither can be had of a folder that is in use.
        let needsQuiet = order.volumeClass == "directory" && operation == .snapshot
        if !operation.isAttached || needsQuiet { try await store.detach(name) }
        if operation.isTrashed { try await store.delete(name) }
    }

    /// Recovers as the next start of the agent does, checks the rules, and does it again.
    private func inspect(
        _ fixture: VolumeFixture, _ pool: PoolFixture?, _ order: VictimOrder,
        _ operation: VictimOperation, _ step: Comment
    ) async throws {
        let store = try VolumeStore(settings: order.settings())
        let said = try await store.recover()
        #expect(!said.contains { $0.contains("could not") || $0.contains("found") }, step)
        try await checkRules(fixture, pool, store, step)
        try await checkContent(store, operation, step)
        // Whoever asked got no answer, and asks again.
        try await order.perform(store)
        try await checkRules(fixture, pool, store, step)
        try await checkOutcome(store, order, operation, step)
        #expect(try await store.recover().isEmpty, step)
        for status in try await store.list(measuring: false) where status.path != nil {
            try await store.detach(status.record.name)
        }
        #expect(VolumeFixture.mountPoints(below: fixture.folder).isEmpty, step)
        #expect(VolumeFixture.loopDevices(below: fixture.folder).isEmpty, step)
    }

    /// What must hold after every recovery.
    private func checkRules(
        _ fixture: VolumeFixture, _ pool: PoolFixture?, _ store: VolumeStore, _ step: Comment
    ) async throws {
        let records = try await store.list(measuring: false).map(\.record)
        #expect(records.allSatisfy { $0.state == .ready || $0.state.isTrashed }, step)
        let names = records.filter(\.state.holdsName).map(\.name)
        #expect(Set(names).count == names.count, step)
        // Nothing leaked, nothing lost.
        let expected = records.flatMap { record -> [String] in
            let end = record.volumeClass == .loop ? ".image" : ""
            let folder = record.state.isTrashed ? "trash" : "data"
            let content = record.volumeClass == .lvm ? [] : ["\(folder)/\(record.id)\(end)"]
            return content + ["records/\(record.id).record"]
        }
        let found = fixture.files().filter { path in
            path.split(separator: "/").count == 2 && !path.hasPrefix("mounts/")
        }
        #expect(found == expected.sorted(), step)
        if let pool {
            let names = records.map { "shoal-\($0.state.isTrashed ? "trash-" : "")\($0.id)" }
            #expect(try pool.volumes() == names.sorted(), step)
        }
        // Nothing mounted twice, nothing held without a mount.
        let points = VolumeFixture.mountPoints(below: fixture.folder)
        let allowed = records.filter { $0.state == .ready }.map { store.mountPath($0) }
        #expect(Set(points).count == points.count && Set(points).isSubset(of: allowed), step)
        let loops = records.filter {
            $0.volumeClass == .loop && points.contains(store.mountPath($0))
        }
        #expect(VolumeFixture.loopDevices(below: fixture.folder).count == loops.count, step)
    }

    /// The volume that was acknowledged is there with its content, in use, at rest or in the trash.
    private func checkContent(
        _ store: VolumeStore, _ operation: VictimOperation, _ step: Comment
    ) async throws {
        let old = try #require(VictimOrder.old)
        let records = try await store.list(measuring: false).map(\.record)
        let holders = records.filter { $0.name == old }
        #expect(!holders.isEmpty || operation == .purge, step)
        for record in records where record.name == old || record.origin != nil {
            #expect(try await content(of: record, in: store) == KillTests.token, step)
        }
    }

    /// What the file in a volume says, in the trash too; the volume is as before.
    private func content(of record: VolumeRecord, in store: VolumeStore) async throws -> String? {
        let path = store.mountPath(record)
        if try await store.mountTable().mount(at: path) != nil, record.state == .ready {
            // Not frozen, either.
            try VolumeFixture.write("more", to: "\(path)/other")
            return VolumeFixture.read("\(path)/file")
        }
        try await store.mountWork(record, isReadOnly: true)
        let text = VolumeFixture.read("\(store.workPath(record.id))/file")
        try await store.unmountWork(record.id)
        return text
    }

    /// The operation, done again, has its effect once.
    private func checkOutcome(
        _ store: VolumeStore, _ order: VictimOrder, _ operation: VictimOperation, _ step: Comment
    ) async throws {
        let records = try await store.list(measuring: false).map(\.record)
        let ready = records.filter { $0.state == .ready }.map { "\($0.name)" }
        let trashed = records.filter(\.state.isTrashed)
        let size = records.first { $0.name == VictimOrder.old && $0.state == .ready }?.size
        switch operation {
        case .create, .clone: #expect(ready == ["web.0/data", "web.1/data"], step)
        case .attach: #expect(try await store.list(measuring: false).first?.path != nil, step)
        case .detach: #expect(try await store.list(measuring: false).first?.path == nil, step)
        case .grow, .growAttached: #expect(size == order.largeSize, step)
        case .shrink:
            #expect(size == order.smallSize, step)
            #expect(trashed.count == (order.volumeClass == "directory" ? 0 : 1), step)
        case .snapshot: #expect(ready == ["web.0/data", "web.0/data@label"], step)
        case .delete: #expect(ready.isEmpty && trashed.count == 1, step)
        case .restore: #expect(ready == ["web.0/data"] && trashed.isEmpty, step)
        case .purge: #expect(records.isEmpty, step)
        }
    }
}
