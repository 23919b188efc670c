import Foundation
import Synchronization
import Testing
import VolumePlan

@testable import VolumeStore

/// Growing, shrinking and copying of volumes with file systems of their own.
@Suite("resizing and copying", .serialized, .enabled(if: mountObstacle == nil))
struct ResizeTests {
    @Test("a mounted xfs grows while it is written to")
    func growXFS() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        try await store.create(
            VolumeRequest(
                name: name, volumeClass: .loop, size: mebibytes(300), fileSystem: .xfs))
        let path = try await store.attach(name).path
        let before = try size(of: path)
        try VolumeFixture.write("kept", to: "\(path)/file")
        let held = open("\(path)/held", O_WRONLY | O_CREAT, 0o600)
        defer { close(held) }
        try await store.grow(name, to: mebibytes(400))
        #expect(try size(of: path) >= before + mebibytes(99))
        #expect(write(held, "on", 2) == 2)
        #expect(VolumeFixture.read("\(path)/file") == "kept")
        #expect(try await store.find(name).size == mebibytes(400))
        close(held)
        try await store.detach(name)
    }

    @Test("an ext4 grows when detached; attached, where the kernel lets this process do it")
    func growExt4() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        try await store.create(VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(16)))
        try await store.grow(name, to: mebibytes(32))
        let path = try await store.attach(name).path
        let before = try size(of: path)
        #expect(before > mebibytes(24))
        if VolumeStore.hasResourceCapability {
            try await store.grow(name, to: mebibytes(64))
            #expect(try size(of: path) >= before + mebibytes(30))
        } else {
            let refusal = try await failure { try await store.grow(name, to: mebibytes(64)) }
            guard case .attached = refusal else { throw refusal }
            #expect("\(refusal)".contains("CAP_SYS_RESOURCE"))
            #expect(try await store.find(name).size == mebibytes(32))
            try await store.detach(name)
            try await store.grow(name, to: mebibytes(64))
        }
        try await store.detach(name)
        #expect(try await store.find(name).size == mebibytes(64))
        let smaller = try await failure { try await store.grow(name, to: mebibytes(32)) }
        #expect("\(smaller)".contains("shrink"))
    }

    @Test("shrinking copies everything, compares it, and keeps the old volume in the trash")
    func shrink() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        let old = try await store.create(
            VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(64)))
        let path = try await store.attach(name).path
        try furnish(path)
        let before = try listing(path)
        let refusal = try await failure { try await store.shrink(name, to: mebibytes(16)) }
        guard case .attached = refusal else { throw refusal }
        try await store.detach(name)
        let progress = Mutex<[VolumeProgress]>([])
        let new = try await store.shrink(name, to: mebibytes(24)) { step in
            progress.withLock { $0.append(step) }
        }
        #expect(new.id != old.id && new.size == mebibytes(24))
        #expect(progress.withLock { $0.contains { $0.doing.hasPrefix("comparing") } })
        _ = try await store.attach(name)
        #expect(try listing(path) == before)
        #expect(try size(of: path) < mebibytes(24))
        try await store.detach(name)
        let trashed = try await store.list().first { $0.record.id == old.id }
        #expect(trashed?.record.state == .trashed(at: 1_000_000, reason: .shrunk))
        // Back again, from the trash.
        try await store.delete(name)
        try await store.restore(old.id)
        _ = try await store.attach(name)
        #expect(try listing(path) == before)
        try await store.detach(name)
    }

    @Test("content that does not fit is refused with its size, and nothing is changed")
    func tooLarge() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        let old = try await store.create(
            VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(64)))
        let path = try await store.attach(name).path
        try VolumeFixture.run(
            "dd", "if=/dev/urandom", "of=\(path)/large", "bs=1M", "count=30")
        try await store.detach(name)
        let files = fixture.files()
        let refusal = try await failure { try await store.shrink(name, to: mebibytes(16)) }
        guard case .contentTooLarge(_, let used, _) = refusal else { throw refusal }
        #expect(used >= mebibytes(30))
        #expect(fixture.files() == files)
        #expect(try await store.list().map(\.record) == [old])
        #expect(VolumeFixture.loopDevices(below: fixture.folder).isEmpty)
    }

    @Test("a snapshot of a volume in use holds what was written before, and clones are separate")
    func snapshotInUse() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        let original = try await store.create(
            VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(32)))
        let path = try await store.attach(name).path
        try VolumeFixture.write("before", to: "\(path)/file")
        let held = open("\(path)/held", O_WRONLY | O_CREAT, 0o600)
        defer { close(held) }
        let copy = try await store.snapshot(name, label: "one")
        #expect(copy.origin == original.id)
        #expect(try await store.snapshot(name, label: "one") == copy)
        // Writers go on.
        #expect(write(held, "on", 2) == 2)
        try VolumeFixture.write("after", to: "\(path)/file")
        let snapshot = try volume("web.0/data@one")
        let snapshotPath = try await store.attach(snapshot).path
        #expect(VolumeFixture.read("\(snapshotPath)/file") == "before")
        #expect(throws: (any Error).self) {
            try VolumeFixture.write("no", to: "\(snapshotPath)/file")
        }
        let clone = try volume("web.7/data")
        try await store.clone(snapshot, as: clone)
        let clonePath = try await store.attach(clone).path
        try VolumeFixture.write("clone", to: "\(clonePath)/file")
        #expect(VolumeFixture.read("\(snapshotPath)/file") == "before")
        #expect(VolumeFixture.read("\(path)/file") == "after")
        close(held)
        for name in [name, snapshot, clone] { try await store.detach(name) }
    }

    @Test("a pause that is too long is refused, and writers go on")
    func pauseLimit() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        try await store.create(VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(64)))
        let path = try await store.attach(name).path
        try Data(repeating: 7, count: mebibytes(32)).write(to: URL(fileURLWithPath: "\(path)/a"))
        do {
            try await store.snapshot(name, label: "one", pauseLimit: .zero)
            // The host's file system shares blocks: no pause at all.
        } catch let error as VolumeError {
            guard case .attached = error else { throw error }
            #expect(try await store.list().count == 1)
        }
        try VolumeFixture.write("on", to: "\(path)/b")
        try await store.detach(name)
    }

    // MARK: - Helpers

    private func size(of path: String) throws -> Int {
        try OpenFile(path, flags: O_RDONLY, attempt: "test").space(attempt: "test").total
    }

    /// One of everything that a copy can get wrong.
    private func furnish(_ path: String) throws {
        let script = """
            cd "$1" && mkdir -p deep/er 'with blank' && echo one > deep/er/file && ln deep/er/file link
            ln -s ../nowhere deep/broken && mkfifo pipe && mknod null c 1 3
            chown 1234:4321 deep/er/file && chmod 4755 deep/er/file && chmod 1777 'with blank'
            truncate -s 40M sparse && echo end >> sparse && touch -d 2001-02-03 deep
            head -c 3000000 /dev/urandom > random && echo name > "$(printf 'new\\nline')"
            """
        let result = try VolumeFixture.run("sh", "-ec", script, "sh", path)
        try #require(result.code == 0, "\(result.output)")
    }

    private func listing(_ path: String) throws -> String {
        let script = """
            cd "$1" && find . -printf '%P %y %m %U %G %s %n %T@ %l\\n' | sort
            find . -type f -exec md5sum {} + | sort
            """
        return try VolumeFixture.run("sh", "-c", script, "sh", path).output
    }
}
