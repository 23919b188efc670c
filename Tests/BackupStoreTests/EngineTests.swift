import Foundation
import Synchronization
import Testing
import VolumePlan

@testable import BackupStore

/// Real restic, real files.
@Suite("backups", .serialized, .enabled(if: resticObstacle == nil))
struct EngineTests {
    @Test("what is restored is what was backed up, whatever is in the tree")
    func comesBack() async throws {
        let fixture = try BackupFixture()
        try makeOddTree(fixture.source)
        let repository = try fixture.repository()
        #expect(try await fixture.engine.snapshots(repository).isEmpty)
        let told = Mutex<[BackupProgress]>([])
        let before = Date().timeIntervalSince1970
        let made = try await fixture.engine.backup(
            folder: fixture.source, volumeSize: 1 << 30, tags: ["by=test"], to: repository
        ) { progress in told.withLock { $0.append(progress) } }
        #expect(made.contentDigest == (try digest(of: fixture.source)))
        #expect(made.volumeSize == 1 << 30 && made.tags == ["by=test"])
        #expect(made.files > 30 && made.bytes > 64 << 20)
        #expect(try #require(made.addedBytes) > 0)
        #expect((before - 1...before + 60).contains(made.time), "\(made.time)")
        let phases = told.withLock { $0.map(\.phase) }
        #expect(phases.contains(.reading) && phases.contains(.storing))
        #expect(told.withLock { $0.allSatisfy { $0.done >= 0 && $0.done <= $0.total ?? .max } })

        let listed = try await fixture.engine.snapshots(repository)
        var expected = made
        expected.addedBytes = nil
        #expect(listed == [expected])
        let folder = try fixture.emptyFolder("restored")
        try await fixture.engine.restore(listed[0], from: repository, into: folder)
        #expect(try digest(of: folder) == made.contentDigest)
        let size = try await fixture.engine.size(repository)
        #expect(size.snapshots == 1 && size.storedBytes > 0)
        let check = try await fixture.engine.check(repository, depth: .everything)
        #expect(check.isSound, "\(check.problems)")
    }

    @Test("a second backup adds little, and is not made of the first one's digest")
    func addsLittle() async throws {
        let fixture = try BackupFixture()
        try fixture.randomFile("large", bytes: 8 << 20)
        let repository = try fixture.repository()
        let first = try await fixture.engine.backup(folder: fixture.source, to: repository)
        #expect(try #require(first.addedBytes) > 8 << 20)
        try fixture.randomFile("small", bytes: 10_000)
        let second = try await fixture.engine.backup(folder: fixture.source, to: repository)
        #expect(try #require(second.addedBytes) < 100_000)
        #expect(first.contentDigest != second.contentDigest && first.id != second.id)
        #expect(try await fixture.engine.snapshots(repository).map(\.id) == [first.id, second.id])
        let folder = try fixture.emptyFolder("restored")
        try await fixture.engine.restore(first, from: repository, into: folder)
        #expect(!FileManager.default.fileExists(atPath: "\(folder)/small"))
    }

    @Test(
        "an empty volume is backed up as any other, and comes back empty",
        arguments: ["nothing", "a socket", "an empty lost+found"])
    func empty(_ content: String) async throws {
        let fixture = try BackupFixture()
        switch content {
        case "a socket": try #require(mknod("\(fixture.source)/socket", S_IFSOCK | 0o600, 0) == 0)
        case "an empty lost+found": try #require(mkdir("\(fixture.source)/lost+found", 0o700) == 0)
        default: break
        }
        try #require(chmod(fixture.source, 0o2750) == 0)
        let repository = try fixture.repository()
        let made = try await fixture.engine.backup(folder: fixture.source, to: repository)
        #expect(made.files == 0 && made.bytes == 0)
        #expect(made.contentDigest == (try digest(of: fixture.source)))
        let folder = try fixture.emptyFolder("restored")
        try await fixture.engine.restore(made, from: repository, into: folder)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
        #expect(try digest(of: folder) == made.contentDigest)
        // Filled, and emptied again.
        try fixture.randomFile("first", bytes: 1_000)
        let full = try await fixture.engine.backup(folder: fixture.source, to: repository)
        try FileManager.default.removeItem(atPath: "\(fixture.source)/first")
        let last = try await fixture.engine.backup(folder: fixture.source, to: repository)
        #expect(full.files == 1 && last.files == 0)
        #expect(try await fixture.engine.snapshots(repository).count == 3)
        let second = try fixture.emptyFolder("second")
        try await fixture.engine.restore(full, from: repository, into: second)
        let names = try FileManager.default.contentsOfDirectory(atPath: second)
        #expect(names.filter { $0 != "lost+found" } == ["first"])
        #expect(try await fixture.engine.check(repository, depth: .everything).isSound)
    }

    @Test("what is read while it may be written to is kept only when nobody did")
    func notStill() async throws {
        let fixture = try BackupFixture()
        try fixture.randomFile("large", bytes: 32 << 20)
        let repository = try fixture.repository()
        let quiet = try await fixture.engine.backup(
            folder: fixture.source, isStill: false, to: repository)
        #expect(try await fixture.engine.snapshots(repository).map(\.id) == [quiet.id])
        let path = "\(fixture.source)/log"
        let writer = Task {
            var count = 0
            while !Task.isCancelled {
                try Data("line \(count)".utf8).write(to: URL(fileURLWithPath: path))
                count += 1
                try await Task.sleep(for: .milliseconds(20))
            }
        }
        await #expect(throws: BackupError.self) {
            try await fixture.engine.backup(folder: fixture.source, isStill: false, to: repository)
        }
        writer.cancel()
        _ = try? await writer.value
        #expect(try await fixture.engine.snapshots(repository).map(\.id) == [quiet.id])
        #expect(try fixture.runs().isEmpty)
    }

    @Test("what another service of the name left in a repository is not thinned out")
    func tagged() async throws {
        let fixture = try BackupFixture()
        let repository = try fixture.repository()
        var made: [String] = []
        for (number, owner) in ["owner=1", "owner=1", "owner=12", "owner=12"].enumerated() {
            try fixture.randomFile("changing", bytes: 1_000 + number)
            made.append(
                try await fixture.engine.backup(
                    folder: fixture.source, tags: [owner, "taken=1"], to: repository
                ).id)
        }
        let outcome = try await fixture.engine.forget(
            keeping: BackupRetention(last: 1), tag: "owner=12", in: repository, prunes: true)
        #expect(outcome.kept == [made[0], made[1], made[3]] && outcome.removed == [made[2]])
        await #expect(throws: BackupError.self) {
            try await fixture.engine.forget(
                keeping: BackupRetention(last: 1), tag: "a,b", in: repository, prunes: false)
        }
    }

    @Test("only what is to be kept stays, and pruning frees the room")
    func forgets() async throws {
        let fixture = try BackupFixture()
        let repository = try fixture.repository()
        var made: [String] = []
        for _ in 1...3 {
            try fixture.randomFile("changing", bytes: 1 << 20)
            made.append(
                try await fixture.engine.backup(folder: fixture.source, to: repository).id)
        }
        let full = try await fixture.engine.size(repository).storedBytes
        let outcome = try await fixture.engine.forget(
            keeping: BackupRetention(last: 1), in: repository, prunes: true)
        #expect(outcome.kept == [made[2]] && Set(outcome.removed) == Set(made[..<2]))
        #expect(try await fixture.engine.size(repository).storedBytes < full / 2)
        #expect(try await fixture.engine.check(repository, depth: .everything).isSound)
        await #expect(throws: BackupError.self) {
            try await fixture.engine.forget(
                keeping: BackupRetention(), in: repository, prunes: true)
        }
        let last = try await fixture.engine.forget([made[2]], in: repository, prunes: false)
        #expect(last.kept.isEmpty)
    }

    @Test("restic killed in the middle: its lock goes, and the next backup works")
    func survivesKill() async throws {
        let fixture = try BackupFixture()
        try fixture.randomFile("first", bytes: 100_000)
        let repository = try fixture.repository()
        _ = try await fixture.engine.backup(folder: fixture.source, to: repository)
        try fixture.randomFile("large", bytes: 64 << 20)
        let work = Task {
            try await fixture.engine.backup(folder: fixture.source, to: repository)
        }
        let process = try await fixture.lockedProcess(repository)
        #expect(kill(process, SIGKILL) == 0)
        await #expect(throws: BackupError.self) { try await work.value }
        #expect(!fixture.locks(in: repository).isEmpty, "it left its lock")
        #expect(try await fixture.engine.snapshots(repository).count == 1)

        // What it had begun when it was killed.
        let begun = fixture.stored("data", in: repository)[0] + "-tmp-123"
        try Data("begun".utf8).write(to: URL(fileURLWithPath: begun))
        let next = try await fixture.engine.backup(folder: fixture.source, to: repository)
        #expect(!FileManager.default.fileExists(atPath: begun))
        #expect(fixture.locks(in: repository).isEmpty)
        #expect(
            try await fixture.engine.forget(
                keeping: BackupRetention(last: 1), in: repository, prunes: true
            ).kept == [next.id])
        #expect(try await fixture.engine.check(repository, depth: .everything).isSound)
        #expect(try fixture.runs().isEmpty)
    }

    @Test("a lock that is not known to be dead is left alone, and says whose it is")
    func leavesLocks() async throws {
        let fixture = try BackupFixture()
        try fixture.randomFile("large", bytes: 64 << 20)
        let repository = try fixture.repository()
        let work = Task {
            try await fixture.engine.backup(folder: fixture.source, to: repository)
        }
        let process = try await fixture.lockedProcess(repository)
        // Held, so that it cannot be done before the others have asked.
        try #require(kill(process, SIGSTOP) == 0)
        defer { kill(process, SIGCONT) }
        try #require(!fixture.locks(in: repository).isEmpty)
        await #expect { try await fixture.engine.check(repository, depth: .structure) } throws: {
            "\($0)".contains("backing up")
        }
        // Another engine, as another host would be: restic's own lock stands in its way.
        let other = try BackupEngine(
            settings: BackupEngineSettings(folder: "\(fixture.folder)/other"))
        await #expect { try await other.check(repository, depth: .structure) } throws: {
            guard case .locked(_, let by)? = $0 as? BackupError else { return false }
            return by.contains("PID")
        }
        #expect(kill(process, SIGCONT) == 0)
        _ = try await work.value
    }

    @Test("cancelled: nothing shows, no lock stays, and the next backup works")
    func isCancelled() async throws {
        let fixture = try BackupFixture()
        try fixture.randomFile("large", bytes: 64 << 20)
        let repository = try fixture.repository()
        let work = Task {
            try await fixture.engine.backup(folder: fixture.source, to: repository)
        }
        _ = try await fixture.lockedProcess(repository)
        work.cancel()
        await #expect { try await work.value } throws: {
            if case .cancelled? = $0 as? BackupError { true } else { false }
        }
        #expect(try await fixture.engine.snapshots(repository).isEmpty)
        _ = try await fixture.engine.backup(folder: fixture.source, to: repository)
        #expect(fixture.locks(in: repository).isEmpty)
        #expect(try fixture.runs().isEmpty)
    }
}

extension BackupFixture {
    /// Waits until restic has its lock in the repository, and returns its process number.
    func lockedProcess(_ repository: BackupRepository) async throws -> Int32 {
        for _ in 0..<2_000 {
            if !locks(in: repository).isEmpty, let name = try runs().first,
                let text = try? String(
                    contentsOfFile: "\(folder)/engine/runs/\(name)", encoding: .utf8),
                let process = Int32(text.prefix { $0 != "\n" })
            {
                return process
            }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw BackupError.failed(attempt: "wait for restic", cause: "it made no lock in 10 s")
    }

    /// The locks in a repository, whole ones.
    func locks(in repository: BackupRepository) -> [String] {
        stored("locks", in: repository).filter { !$0.contains("-tmp-") }
    }

    /// The files of runs.
    func runs() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(folder)/engine/runs")
    }
}
