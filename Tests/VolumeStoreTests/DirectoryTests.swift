import ClusterModel
import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// Why overlays cannot be mounted here; nil when they can.
let overlayObstacle: String? = {
    if let mountObstacle { return mountObstacle }
    let systems = (try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8)) ?? ""
    guard systems.contains("overlay") else {
        print("VolumeStoreTests of folders skipped: needs overlayfs")
        return "needs overlayfs"
    }
    return nil
}()

/// Volumes of class directory on a file system that does not count by project: soft limits.
@Suite("directory volumes", .serialized, .enabled(if: overlayObstacle == nil))
struct DirectoryTests {
    /// A store with one attached volume of 4 MiB, and what stands in for a container's copy of its
    /// mount.
    private func attached(
        _ fixture: VolumeFixture
    ) async throws -> (store: VolumeStore, name: VolumeName, inside: String) {
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        try await store.create(
            VolumeRequest(name: name, volumeClass: .directory, size: mebibytes(4)))
        let path = try await store.attach(name).path
        let inside = "\(fixture.folder)/container"
        try FileManager.default.createDirectory(
            atPath: inside, withIntermediateDirectories: false)
        try #require(VolumeFixture.run("mount", "--bind", path, inside).code == 0)
        return (store, name, inside)
    }

    private func fill(_ path: String, mebibytes count: Int) throws {
        try Data(count: mebibytes(count)).write(to: URL(fileURLWithPath: path))
    }

    @Test("a full volume turns read-only inside the container too, and back after growth")
    func readOnly() async throws {
        let fixture = try VolumeFixture()
        let (store, name, inside) = try await attached(fixture)
        #expect(try await store.watch().isEmpty)
        try fill("\(inside)/fill", mebibytes: 5)
        let clock = ContinuousClock()
        let start = clock.now
        let events = try await watchUntilEvent(store)
        #expect(start.duration(to: clock.now) < .seconds(2))
        guard case .readOnly(name, let usage)? = events.last else {
            Issue.record("\(events)")
            return
        }
        #expect(usage.used >= mebibytes(5) && usage.capacity == mebibytes(4))
        #expect(throws: (any Error).self) {
            try VolumeFixture.write("no", to: "\(inside)/more")
        }
        #expect(try await store.list().first?.isReadOnly == true)
        let full = VolumeCondition(filledPercent: 100, isHeld: true)
        #expect(try await store.list().first?.condition == full)
        #expect(VolumeFixture.read("\(inside)/fill")?.utf8.count == mebibytes(5))
        // Told once.
        #expect(try await store.watch().isEmpty)
        try await store.grow(name, to: mebibytes(8))
        #expect(try await store.list().first?.condition.isHeld == false)
        try VolumeFixture.write("yes", to: "\(inside)/more")
        umount2(inside, 0)
        try await store.detach(name)
    }

    @Test("a clean-up makes a full volume writable for a while, and for good when it helped")
    func cleanUp() async throws {
        let fixture = try VolumeFixture()
        let (store, name, inside) = try await attached(fixture)
        try fill("\(inside)/fill", mebibytes: 5)
        _ = try await watchUntilEvent(store)
        try await store.allowCleanUp(name, for: .seconds(600))
        try VolumeFixture.write("small", to: "\(inside)/other")
        try FileManager.default.removeItem(atPath: "\(inside)/fill")
        _ = try await store.watch()
        try VolumeFixture.write("still", to: "\(inside)/another")
        umount2(inside, 0)
        try await store.detach(name)
    }

    @Test("what is removed below a held volume makes it writable again")
    func writableAgain() async throws {
        let fixture = try VolumeFixture()
        let (store, name, inside) = try await attached(fixture)
        try fill("\(inside)/fill", mebibytes: 5)
        _ = try await watchUntilEvent(store)
        // Another start of the agent knows nothing but what the kernel says.
        let record = try await store.find(name)
        let content = await store.contentPath(record)
        try FileManager.default.removeItem(atPath: "\(content)/fill")
        let events = try await watchUntilEvent(store)
        guard case .writable(name, _)? = events.last else {
            Issue.record("\(events)")
            return
        }
        try VolumeFixture.write("yes", to: "\(inside)/more")
        umount2(inside, 0)
        try await store.detach(name)
    }

    @Test("a program that keeps a file open for writing is named, and cannot fill the disk")
    func openWriter() async throws {
        let fixture = try VolumeFixture()
        let (store, name, inside) = try await attached(fixture)
        try fill("\(inside)/fill", mebibytes: 5)
        let file = open("\(inside)/log", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        try #require(file >= 0)
        #expect(write(file, "one", 3) == 3)
        let events = try await watchUntilEvent(store)
        guard case .stillWritten(name, _, let users)? = events.last else {
            Issue.record("\(events)")
            return
        }
        #expect(users.map(\.process) == [getpid()] && users[0].path.hasSuffix("/log"))
        let content = try await store.contentPath(store.find(name))
        let kind = try VolumeFixture.run("stat", "-f", "-c", "%T", content).output
        if kind.hasPrefix("ext") {
            #expect(write(file, "two", 3) == -1 && errno == EPERM)
        }
        close(file)
        let later = try await watchUntilEvent(store)
        guard case .readOnly(name, _)? = later.last else {
            Issue.record("\(later)")
            return
        }
        // Nobody is shut out any more once there is room.
        try await store.grow(name, to: mebibytes(8))
        try VolumeFixture.write("three", to: "\(inside)/log")
        umount2(inside, 0)
        try await store.detach(name)
    }

    @Test("a folder's content comes back from the trash, and its copies are its own")
    func trashAndCopies() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        let record = try await store.create(
            VolumeRequest(name: name, volumeClass: .directory, size: mebibytes(4)))
        let path = try await store.attach(name).path
        try VolumeFixture.write("one", to: "\(path)/file")
        let refusal = try await failure { try await store.snapshot(name, label: "first") }
        guard case .attached = refusal else { throw refusal }
        try await store.detach(name)
        try await store.snapshot(name, label: "first")
        _ = try await store.attach(name)
        try VolumeFixture.write("two", to: "\(path)/file")
        let snapshot = try await store.attach(volume("web.0/data@first"))
        #expect(snapshot.isReadOnly && VolumeFixture.read("\(snapshot.path)/file") == "one")
        try await store.detach(volume("web.0/data@first"))
        try await store.delete(name)
        try await store.restore(record.id)
        _ = try await store.attach(name)
        #expect(VolumeFixture.read("\(path)/file") == "two")
        let tooSmall = try await failure { try await store.shrink(name, to: 1) }
        #expect("\(tooSmall)".contains("at least"))
        try await store.shrink(name, to: mebibytes(1))
        #expect(try await store.usage(name).capacity == mebibytes(1))
        try await store.detach(name)
    }

    /// Looks until there is something to tell; measurements are due about every second.
    private func watchUntilEvent(_ store: VolumeStore) async throws -> [VolumeEvent] {
        while true {
            let events = try await store.watch()
            if !events.isEmpty { return events }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
