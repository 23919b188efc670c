import ClusterModel
import Foundation
import Synchronization
import Testing
import VolumePlan

@testable import VolumeStore

/// Volumes of class loop, with real files, devices and mounts.
@Suite("loop volumes", .serialized, .enabled(if: mountObstacle == nil))
struct LoopTests {
    @Test(
        "a volume is made, mounted, written, unmounted and mounted again", arguments: [false, true])
    func lifecycle(isXFS: Bool) async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.3/data")
        let request = VolumeRequest(
            name: name, volumeClass: .loop, size: mebibytes(isXFS ? 300 : 32),
            fileSystem: isXFS ? .xfs : .ext4)
        let record = try await store.create(request)
        #expect(try await store.create(request) == record)
        let attached = try await store.attach(name)
        #expect(attached.path == "\(store.path)/mounts/web.3.data")
        #expect(!attached.isReadOnly)
        #expect(try await store.attach(name) == attached)
        #expect(VolumeFixture.mountPoints(below: fixture.folder) == [attached.path])
        try VolumeFixture.write("kept", to: "\(attached.path)/file")
        #expect(try await store.list().first?.path == attached.path)
        try await store.detach(name)
        try await store.detach(name)
        #expect(VolumeFixture.mountPoints(below: fixture.folder).isEmpty)
        #expect(VolumeFixture.loopDevices(below: fixture.folder).isEmpty)
        let again = try await store.attach(name)
        #expect(VolumeFixture.read("\(again.path)/file") == "kept")
        try await store.detach(name)
    }

    @Test("a deleted volume keeps its content in the trash until it expires")
    func trash() async throws {
        let fixture = try VolumeFixture()
        let clock = TestClock()
        let store = try await fixture.store(fixture.settings(trashSeconds: 100, now: clock.read))
        let name = try volume("web.3/data")
        let request = VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(16))
        let record = try await store.create(request)
        let path = try await store.attach(name).path
        try VolumeFixture.write("precious", to: "\(path)/file")
        let trashed = try await store.delete(name)
        #expect(trashed.state == .trashed(at: clock.read(), reason: .deleted))
        #expect(fixture.files().contains("trash/\(record.id).image"))
        let missing = try await failure { _ = try await store.attach(name) }
        guard case .notFound = missing else { throw missing }

        // The name is free: another volume may have it meanwhile.
        let other = try await store.create(request)
        let taken = try await failure { try await store.restore(record.id) }
        guard case .exists = taken else { throw taken }
        let restored = try await store.restore(record.id, as: volume("web.3/old"))
        let oldPath = try await store.attach(restored.name).path
        #expect(VolumeFixture.read("\(oldPath)/file") == "precious")

        try await store.delete(name)
        clock.advance(99)
        #expect(try await store.purgeExpired().isEmpty)
        clock.advance(1)
        #expect(try await store.purgeExpired().map(\.id) == [other.id])
        #expect(!fixture.files().contains { $0.contains(other.id.description) })
        #expect(try await store.list().map(\.record.id) == [record.id])
        try await store.detach(restored.name)
    }

    @Test("what belongs to nobody can be given to a service, and to one only")
    func adopted() async throws {
        let fixture = try VolumeFixture()
        let name = try volume("test.0/data")
        var store: VolumeStore? = try await fixture.store()
        let made = try await store?.create(
            VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(8), owner: 7))
        #expect(try await store?.adopt(name, owner: 7) == made)
        let taken = try await failure { try await store?.adopt(name, owner: 8) }
        #expect("\(taken)".contains("belongs to another service"))
        let id = try #require(made?.id)
        try await store?.delete(name)
        try await store?.restore(id, owner: 0)
        #expect(try await store?.find(name).owner == 0)
        try await store?.adopt(name, owner: 8)
        store = nil
        store = try await fixture.store()
        #expect(try await store?.find(name).owner == 8, "and it is on disk")
    }

    @Test("a volume in use is neither unmounted nor deleted, and the refusal names the user")
    func inUse() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        try await store.create(
            VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(16)))
        let path = try await store.attach(name).path
        let file = open("\(path)/held", O_WRONLY | O_CREAT, 0o600)
        let refusal = try await failure { try await store.delete(name) }
        close(file)
        guard case .inUse(_, let user) = refusal else { throw refusal }
        #expect(user.contains("process \(getpid())"))
        #expect(try await store.list().first?.record.state == .ready)
        try await store.detach(name)
    }

    @Test("a volume mounted in another mount namespace is never mounted twice")
    func elsewhere() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        try await store.create(
            VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(16)))
        _ = try await store.attach(name)
        let holder = try Bystander(inOwnNamespace: "sleep", "600")
        let refusal = try await failure { try await store.detach(name) }
        guard case .inUse(_, let user) = refusal else { throw refusal }
        #expect(user.contains("mount namespace"))
        let second = try await failure { _ = try await store.attach(name) }
        guard case .inUse = second else { throw second }
        holder.end()
        try await store.detach(name)
        #expect(VolumeFixture.loopDevices(below: fixture.folder).isEmpty)
    }

    @Test("a volume at capacity gives ENOSPC, and its neighbour does not notice")
    func full() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let (full, neighbour) = (try volume("web.0/data"), try volume("web.1/data"))
        for name in [full, neighbour] {
            try await store.create(
                VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(16)))
        }
        let path = try await store.attach(full).path
        let other = try await store.attach(neighbour).path
        let result = try VolumeFixture.run(
            "dd", "if=/dev/zero", "of=\(path)/fill", "bs=64k", "count=1000")
        #expect(result.code != 0 && result.output.contains("No space left on device"))
        try VolumeFixture.write(String(repeating: "x", count: 1 << 20), to: "\(other)/file")
        let events = try await store.watch()
        let levels = events.compactMap { event -> FillLevel? in
            if case .filling(full, _, let level) = event { return level }
            return nil
        }
        #expect(levels == [.full] || levels == [.nearlyFull])
        #expect(try await store.watch().isEmpty)
        #expect(!events.contains { "\($0)".contains("web.1") })
        let usage = try await store.usage(full)
        #expect(usage.used > usage.capacity * 95 / 100)
        try await store.detach(full)
        try await store.detach(neighbour)
    }
}

/// A clock that the test sets.
final class TestClock: Sendable {
    private let seconds = Mutex(1_000_000)

    /// The time; for settings.
    var read: @Sendable () -> Int { { self.seconds.withLock { $0 } } }

    func advance(_ by: Int) { seconds.withLock { $0 += by } }
}
