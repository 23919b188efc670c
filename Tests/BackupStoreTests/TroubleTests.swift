import Foundation
import Testing
import VolumePlan
import VolumeStore

@testable import BackupStore

/// What goes wrong says so, in the operator's words, and does no harm.
@Suite("backups in trouble", .serialized, .enabled(if: resticObstacle == nil))
struct TroubleTests {
    @Test("a full target: a clear error, and what was stored before is whole")
    func fullTarget() async throws {
        let fixture = try BackupFixture()
        let repository = try fixture.repository(
            in: .directory(path: try fixture.smallDisk(mebibytes: 24)))
        try fixture.randomFile("fits", bytes: 2 << 20)
        let first = try await fixture.engine.backup(folder: fixture.source, to: repository)
        try fixture.randomFile("does not", bytes: 40 << 20)
        await #expect {
            try await fixture.engine.backup(folder: fixture.source, to: repository)
        } throws: {
            if case .targetFull? = $0 as? BackupError { true } else { false }
        }
        #expect(try await fixture.engine.snapshots(repository).map(\.id) == [first.id])
        let folder = try fixture.emptyFolder("restored")
        try await fixture.engine.restore(first, from: repository, into: folder)
        try FileManager.default.removeItem(atPath: "\(fixture.source)/does not")
        // What the failed one left makes no room by itself, but it is no damage either.
        #expect(try await fixture.engine.check(repository, depth: .everything).isSound)
    }

    @Test("a full folder to restore into says that it is the folder")
    func fullFolder() async throws {
        let fixture = try BackupFixture()
        try fixture.randomFile("large", bytes: 20 << 20)
        let repository = try fixture.repository()
        let made = try await fixture.engine.backup(folder: fixture.source, to: repository)
        let small = try fixture.smallDisk(mebibytes: 8)
        await #expect {
            try await fixture.engine.restore(made, from: repository, into: small)
        } throws: {
            if case .folderFull? = $0 as? BackupError { true } else { false }
        }
    }

    @Test("another password, a missing target, a snapshot that is not there, a folder in use")
    func refusals() async throws {
        let fixture = try BackupFixture()
        try fixture.randomFile("file", bytes: 1_000)
        let repository = try fixture.repository()
        let made = try await fixture.engine.backup(folder: fixture.source, to: repository)
        let other = try fixture.repository(password: "another password of length")
        await #expect {
            try await fixture.engine.backup(folder: fixture.source, to: other)
        } throws: {
            if case .wrongPassword? = $0 as? BackupError { true } else { false }
        }
        let missing = try fixture.repository(in: .directory(path: "\(fixture.folder)/missing"))
        await #expect {
            try await fixture.engine.backup(folder: fixture.source, to: missing)
        } throws: {
            if case .targetMissing? = $0 as? BackupError { true } else { false }
        }
        await #expect {
            try await fixture.engine.restore(made, from: repository, into: fixture.source)
        } throws: {
            if case .folderNotEmpty? = $0 as? BackupError { true } else { false }
        }
        var unknown = made
        unknown.id = String(repeating: "ab", count: 32)
        let folder = try fixture.emptyFolder("restored")
        await #expect {
            try await fixture.engine.restore(unknown, from: repository, into: folder)
        } throws: {
            if case .noSnapshot? = $0 as? BackupError { true } else { false }
        }
        let nobody = try fixture.repository(
            in: .rest(RestPlace(url: "http://127.0.0.1:1/", user: "u", password: "hidden word")))
        await #expect {
            try await fixture.engine.backup(folder: fixture.source, to: nobody)
        } throws: {
            guard case .unreachable? = $0 as? BackupError else { return false }
            return !"\($0)".contains("hidden")
        }
    }

    @Test("restic is missing: says what to install")
    func missingRestic() async throws {
        let fixture = try BackupFixture()
        let engine = try BackupEngine(
            settings: BackupEngineSettings(
                folder: "\(fixture.folder)/other", program: "\(fixture.folder)/no-restic"))
        let repository = try fixture.repository()
        await #expect {
            try await engine.backup(folder: fixture.source, to: repository)
        } throws: { "\($0)".contains("apt-get install restic") }
    }

    @Test("a damaged blob is found by a check that reads, and a restore from it is refused")
    func damagedBlob() async throws {
        let fixture = try BackupFixture()
        try fixture.randomFile("file", bytes: 3 << 20)
        let repository = try fixture.repository()
        let made = try await fixture.engine.backup(folder: fixture.source, to: repository)
        let largest = try #require(
            fixture.stored("data", in: repository).max { size($0) < size($1) })
        try damage(largest, at: size(largest) / 2)
        let check = try await fixture.engine.check(repository, depth: .everything)
        #expect(!check.isSound)
        let folder = try fixture.emptyFolder("restored")
        await #expect(throws: BackupError.self) {
            try await fixture.engine.restore(made, from: repository, into: folder)
        }
    }

    @Test("garbage instead of any of its files is told as damage, never as an empty repository")
    func garbage() async throws {
        for part in ["config", "index", "snapshots"] {
            let fixture = try BackupFixture()
            try fixture.randomFile("file", bytes: 100_000)
            let repository = try fixture.repository()
            let made = try await fixture.engine.backup(folder: fixture.source, to: repository)
            let files =
                part == "config"
                ? ["\(repository.location)/config"] : fixture.stored(part, in: repository)
            for file in files {
                chmod(file, 0o600)
                try Data("garbage".utf8).write(to: URL(fileURLWithPath: file))
            }
            let folder = try fixture.emptyFolder("restored")
            // Another host has nothing of it in its cache.
            let other = try BackupEngine(
                settings: BackupEngineSettings(folder: "\(fixture.folder)/other"))
            await #expect(throws: BackupError.self, "\(part)") {
                try await other.restore(made, from: repository, into: folder)
            }
            await #expect(throws: BackupError.self, "\(part)") {
                let check = try await fixture.engine.check(repository, depth: .structure)
                if !check.isSound {
                    throw BackupError.damaged(target: "", cause: "\(check.problems)")
                }
            }
        }
    }

    @Test("what was restored is compared: a changed file does not pass")
    func verifies() async throws {
        let fixture = try BackupFixture()
        try makeOddTree(fixture.source)
        let repository = try fixture.repository()
        let made = try await fixture.engine.backup(folder: fixture.source, to: repository)
        try await fixture.engine.verify(made, isIn: fixture.source)
        try damage("\(fixture.source)/sparse", at: 40_000_000)
        await #expect {
            try await fixture.engine.verify(made, isIn: fixture.source)
        } throws: {
            if case .restoredDiffers? = $0 as? BackupError { true } else { false }
        }
    }

    private func size(_ path: String) -> Int {
        var facts = stat()
        return stat(path, &facts) == 0 ? Int(facts.st_size) : 0
    }

    /// Changes a byte in the middle of a file.
    private func damage(_ path: String, at offset: Int) throws {
        chmod(path, 0o600)
        let file = open(path, O_RDWR)
        defer { close(file) }
        var byte: UInt8 = 0
        try #require(pread(file, &byte, 1, off_t(offset)) == 1)
        byte ^= 0x55
        try #require(pwrite(file, &byte, 1, off_t(offset)) == 1)
    }
}
