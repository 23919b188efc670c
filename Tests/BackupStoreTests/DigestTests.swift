import Foundation
import Testing
import VolumeStore

@testable import BackupStore

/// The digest of a tree: the same for the same, another for anything else.
@Suite("tree digest", .serialized, .enabled(if: resticObstacle == nil))
struct DigestTests {
    @Test("each change gives another digest, and undone it is the first again")
    func seesEverything() throws {
        let fixture = try BackupFixture()
        let root = fixture.source
        try makeOddTree(root)
        let first = try digest(of: root)
        #expect(try digest(of: root) == first)
        var seen: Set<String> = [first.description]
        func expectOther(_ what: String, _ change: () -> Int32) throws {
            try #require(change() >= 0, "\(what)")
            let new = try digest(of: root)
            #expect(seen.insert(new.description).inserted, "\(what)")
        }
        try expectOther("mode") { chmod("\(root)/plain", 0o640) }
        try expectOther("owner") { chown("\(root)/plain", 5, 0) }
        try expectOther("group") { chown("\(root)/plain", 5, 6) }
        try expectOther("mode of the top") { chmod(root, 0o711) }
        try expectOther("name") { rename("\(root)/plain", "\(root)/other") }
        try expectOther("link") {
            unlink("\(root)/link")
            return symlink("deep/y", "\(root)/link")
        }
        try expectOther("a name less of a file with three") { unlink("\(root)/third name") }
        try expectOther("size") { truncate("\(root)/sparse", 64 << 20 - 1) }
        try expectOther("an empty folder") { mkdir("\(root)/new", 0o755) }
        try expectOther("time") {
            utimensat(
                AT_FDCWD, "\(root)/new", [timespec(), timespec(tv_sec: 1, tv_nsec: 1)], 0)
        }
        try expectOther("a nanosecond") {
            utimensat(
                AT_FDCWD, "\(root)/new", [timespec(), timespec(tv_sec: 1, tv_nsec: 2)], 0)
        }
        try expectOther("an attribute") {
            RootFactsSetter.set("user.note", "x", of: "\(root)/other")
        }
        try expectOther("one byte") {
            let file = open("\(root)/sparse", O_WRONLY)
            defer { close(file) }
            return pwrite(file, "x", 1, 50_000_000) == 1 ? 0 : -1
        }
    }

    @Test("holes, sockets and the file system's own folder are no content")
    func ignoresWhatIsNoContent() throws {
        let fixture = try BackupFixture()
        let root = fixture.source
        let file = open("\(root)/file", O_RDWR | O_CREAT, 0o644)
        defer { close(file) }
        try #require(ftruncate(file, 3 << 20) == 0)
        try #require(pwrite(file, "end", 3, 3 << 20 - 3) == 3)
        let times = [timespec(), timespec(tv_sec: 1, tv_nsec: 1)]
        try #require(futimens(file, times) == 0)
        try #require(utimensat(AT_FDCWD, root, times, 0) == 0)
        let first = try digest(of: root)
        let zeros = [UInt8](repeating: 0, count: 1 << 20)
        try #require(pwrite(file, zeros, zeros.count, 1 << 20) == zeros.count)
        try #require(futimens(file, times) == 0)
        #expect(try digest(of: root) == first, "zeros are zeros")
        try #require(mkdir("\(root)/lost+found", 0o700) == 0)
        try #require(mknod("\(root)/socket", S_IFSOCK | 0o600, 0) == 0)
        try #require(utimensat(AT_FDCWD, root, times, 0) == 0)
        #expect(try digest(of: root) == first)
        try Data().write(to: URL(fileURLWithPath: "\(root)/lost+found/#12"))
        try #require(utimensat(AT_FDCWD, root, times, 0) == 0)
        #expect(try digest(of: root) != first, "what was found there is content")
    }

    @Test("a link that restic would bring back wrong is refused by name")
    func refusesOddLinks() throws {
        let fixture = try BackupFixture()
        try #require(symlink([-1, 0], "\(fixture.source)/odd") == 0)
        #expect {
            try digest(of: fixture.source)
        } throws: {
            guard case .notKeepable(let path, _)? = $0 as? BackupError else { return false }
            return path == "odd"
        }
    }

    @Test("for a move nothing is left out, and no link is refused")
    func move() async throws {
        let fixture = try BackupFixture()
        let root = fixture.source
        try makeOddTree(root)
        let engine = fixture.engine
        try #require(utimensat(AT_FDCWD, root, [timespec(), timespec()], 0) == 0)
        var seen = [
            try await engine.digestForMove(of: root),
            try await engine.digestForMove(of: root, readsFromDisk: true),
        ]
        #expect(seen[0] == seen[1])
        #expect(try digest(of: root) != seen[0], "never taken for a backup's")
        for change in [
            { mknod("\(root)/socket", S_IFSOCK | 0o600, 0) }, { chmod("\(root)/socket", 0o640) },
            { mkdir("\(root)/lost+found", 0o700) }, { symlink([-1, 0], "\(root)/odd") },
        ] {
            try #require(change() == 0)
            // The folder's own time changes, too: not that alone is to be seen.
            try #require(utimensat(AT_FDCWD, root, [timespec(), timespec()], 0) == 0)
            seen.append(try await engine.digestForMove(of: root))
        }
        #expect(Set(seen).count == 5)
    }

    @Test("facts of the top survive their tag; damaged ones are refused")
    func rootFactsSurvive() throws {
        let fixture = try BackupFixture()
        try makeOddTree(fixture.source)
        let facts = try TreeDigest(fixture.source, attempt: "test").root
        #expect(RootFacts(facts.text) == facts)
        #expect(!facts.text.contains(","))
        for (old, new) in [(":", "::"), ("2751", "92751"), ("77", "-7"), ("88", "4294967296")] {
            let damaged = facts.text.replacing(old, with: new, maxReplacements: 1)
            #expect(RootFacts(damaged) == nil, "\(damaged)")
        }
        #expect(RootFacts(facts.text + "f") == nil)
        #expect(RootFacts("") == nil)
    }
}

/// Sets attributes by way of the form that tags have.
enum RootFactsSetter {
    static func set(_ key: String, _ value: String, of path: String) -> Int32 {
        guard let file = try? OpenFile(path, flags: O_RDONLY, attempt: "test"),
            var facts = try? TreeDigest("/proc/self/fdinfo", attempt: "test").root,
            let status = try? file.status(attempt: "test")
        else { return -1 }
        var form = Array(key.utf8) + [0]
        form += (0..<4).map { UInt8(truncatingIfNeeded: value.utf8.count >> (24 - 8 * $0)) }
        facts = RootFacts(status, attributes: form + Array(value.utf8))
        return (try? facts.apply(to: file, attempt: "test")) == nil ? -1 : 0
    }
}
