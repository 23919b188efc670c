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
        var held = open("\(path)/held", O_WRONLY | O_CREAT, 0o600)
        // Once: a second close would hit what another test has opened meanwhile.
        defer { if held >= 0 { close(held) } }
        try await store.grow(name, to: mebibytes(400))
        #expect(try size(of: path) >= before + mebibytes(99))
        #expect(write(held, "on", 2) == 2)
        #expect(VolumeFixture.read("\(path)/file") == "kept")
        #expect(try await store.find(name).size == mebibytes(400))
        close(held)
        held = -1
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
            // Each group of 8 MiB has half a MiB of inode tables.
            #expect(try size(of: path) >= before + mebibytes(28))
        } else {
            let early = try await failure { try await store.checkGrowth(name, to: mebibytes(64)) }
            let refusal = try await failure { try await store.grow(name, to: mebibytes(64)) }
            #expect("\(early)" == "\(refusal)", "known before anything is changed")
            guard case .attached = refusal else { throw refusal }
            #expect("\(refusal)".contains("CAP_SYS_RESOURCE"))
            #expect(try await store.find(name).size == mebibytes(32))
            try await store.detach(name)
            try await store.grow(name, to: mebibytes(64))
        }
        try await store.detach(name)
        let grown = try await store.find(name)
        #expect(grown.size == mebibytes(64))
        let image = await store.imagePath(grown)
        let facts = try VolumeFixture.run("dumpe2fs", "-h", image).output
        let blocks = facts.split(separator: "\n").first { $0.hasPrefix("Block count:") }
        #expect(blocks?.hasSuffix(" 65536") == true, "\(facts)")
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

    @Test("a shrinking that nobody wants any more leaves nothing behind")
    func cancelled() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        let old = try await store.create(
            VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(64)))
        let path = try await store.attach(name).path
        try VolumeFixture.run("dd", "if=/dev/urandom", "of=\(path)/file", "bs=1M", "count=8")
        try await store.detach(name)
        let files = fixture.files()
        let work = Task {
            try await store.shrink(name, to: mebibytes(32)) { step in
                // The handler runs inside the task.
                if step.doing.hasPrefix("comparing") { withUnsafeCurrentTask { $0?.cancel() } }
            }
        }
        let refusal = try await failure { _ = try await work.value }
        guard case .cancelled = refusal else { throw refusal }
        #expect(fixture.files() == files)
        #expect(try await store.list().map(\.record) == [old])
        #expect(VolumeFixture.mountPoints(below: fixture.folder).isEmpty)
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
        var held = open("\(path)/held", O_WRONLY | O_CREAT, 0o600)
        // Once: a second close would hit what another test has opened meanwhile.
        defer { if held >= 0 { close(held) } }
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
        held = -1
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
            echo bytes > "$(printf 'no\\377text')"
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

/// The comparison that decides whether a copy may take its original's place.
@Suite("tree comparison", .enabled(if: mountObstacle == nil))
struct TreeComparisonTests {
    /// Changes of a copy that keep its size and look harmless.
    static let changes = [
        "printf X | dd of=deep/file bs=1 seek=1234567 conv=notrunc && touch -r ../a/deep/file deep/file",
        "chmod 600 deep/file", "chown 1 deep/file", "touch deep/file", "rm deep/link",
        "ln -sf elsewhere deep/link && touch -h -r ../a/deep/link deep/link", ": > more",
        "rm second && cp -p deep/file second", "rm pipe && touch -r ../a/pipe pipe",
        "python3 -c 'import os; os.setxattr(\"deep/file\", \"user.note\", b\"nope\")'",
    ]

    @Test("a faithful copy is the same, and every change of it is found", arguments: changes)
    func changed(_ change: String) throws {
        let fixture = try VolumeFixture()
        let script = """
            cd "$1" && mkdir -p a/deep && cd a && head -c 2000000 /dev/urandom > deep/file
            ln deep/file second && ln -s nowhere deep/link && mkfifo pipe
            python3 -c 'import os; os.setxattr("deep/file", "user.note", b"kept")'
            cp -a ../a ../b
            """
        let made = try VolumeFixture.run("sh", "-ec", script, "sh", fixture.folder)
        try #require(made.code == 0, "\(made.output)")
        try compare(fixture)
        let result = try VolumeFixture.run(
            "sh", "-ec", "cd \"$1/b\" && \(change) && touch -r ../a/deep deep && touch -r ../a .",
            "sh", fixture.folder)
        try #require(result.code == 0, "\(result.output)")
        #expect(throws: VolumeError.self) { try compare(fixture) }
    }

    private func compare(_ fixture: VolumeFixture) throws {
        var comparison = try TreeComparison(
            "\(fixture.folder)/a", "\(fixture.folder)/b",
            name: #require(VolumeName("web.0/data")), attempt: "compare")
        while try comparison.step() {}
        #expect(comparison.done >= 2_000_000)
    }
}
