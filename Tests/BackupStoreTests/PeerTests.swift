import Foundation
import Testing

@testable import BackupStore

/// Real restic, over a bridge, to the server that peers have.
@Suite("backups to peers", .serialized, .enabled(if: resticObstacle == nil))
struct PeerTests {
    @Test("backed up to a peer and restored from it, over a bridge")
    func comesBack() async throws {
        let fixture = try await ServerFixture()
        try makeOddTree(fixture.backups.source)
        try fixture.backups.randomFile("large", bytes: 8 << 20)
        let engine = fixture.backups.engine
        let source = fixture.backups.source
        let made = try await fixture.withBridge { repository in
            #expect(try await engine.snapshots(repository).isEmpty)
            return try await engine.backup(folder: source, to: repository)
        }
        #expect(fixture.files().allSatisfy { $0.hasPrefix("0138ad58/web.0.data/") })
        #expect(fixture.server.usedBytes > 8 << 20)
        // Another host, another port, nothing cached.
        let other = try BackupEngine(
            settings: BackupEngineSettings(folder: "\(fixture.backups.folder)/other"))
        let folder = try fixture.backups.emptyFolder("restored")
        try await fixture.withBridge { repository in
            let listed = try #require(try await other.snapshots(repository).first)
            #expect(listed.id == made.id)
            try await other.restore(listed, from: repository, into: folder)
            #expect(try await other.check(repository, depth: .everything).isSound)
        }
        #expect(try digest(of: folder) == made.contentDigest)
        await fixture.server.stop()
    }

    @Test("a peer that may only add cannot forget; allowed for a while, it can")
    func prunes() async throws {
        let fixture = try await ServerFixture()
        let engine = fixture.backups.engine
        let source = fixture.backups.source
        try await fixture.withBridge { repository in
            for _ in 1...2 {
                try fixture.backups.randomFile("changing", bytes: 4 << 20)
                _ = try await engine.backup(folder: source, to: repository)
            }
            await #expect(throws: BackupError.self) {
                try await engine.forget(
                    keeping: BackupRetention(last: 1), in: repository, prunes: true)
            }
            #expect(try await engine.snapshots(repository).count == 2)
            let used = fixture.server.usedBytes
            fixture.server.allowPruning(of: repository.path, for: .seconds(600))
            let outcome = try await engine.forget(
                keeping: BackupRetention(last: 1), in: repository, prunes: true)
            #expect(outcome.kept.count == 1 && outcome.removed.count == 1)
            #expect(fixture.server.usedBytes < used - 3 << 20)
            #expect(try await engine.check(repository, depth: .everything).isSound)
        }
        await fixture.server.stop()
    }

    @Test("the peer's quota is full: told at once, and what it has is whole")
    func fullQuota() async throws {
        let fixture = try await ServerFixture(quota: 6 << 20)
        let engine = fixture.backups.engine
        let source = fixture.backups.source
        try await fixture.withBridge { repository in
            try fixture.backups.randomFile("fits", bytes: 2 << 20)
            let made = try await engine.backup(folder: source, to: repository)
            try fixture.backups.randomFile("does not", bytes: 40 << 20)
            let start = ContinuousClock.now
            await #expect {
                try await engine.backup(folder: source, to: repository)
            } throws: {
                if case .targetFull? = $0 as? BackupError { true } else { false }
            }
            #expect(ContinuousClock.now - start < .seconds(60))
            #expect(try await engine.snapshots(repository).map(\.id) == [made.id])
            #expect(fixture.server.usedBytes <= 6 << 20)
        }
        #expect(!fixture.files().contains { $0.contains("unfinished") })
        await fixture.server.stop()
    }

    @Test("nobody gets through a bridge without its password")
    func guardsBridge() async throws {
        let fixture = try await ServerFixture()
        try await fixture.withBridge { repository in
            guard case .rest(var place) = repository.target else {
                Issue.record("no REST target")
                return
            }
            place.password = "guessed"
            let guess = try fixture.backups.repository(in: .rest(place))
            await #expect {
                try await fixture.backups.engine.backup(
                    folder: fixture.backups.source, to: guess)
            } throws: {
                if case .accessDenied? = $0 as? BackupError { true } else { false }
            }
        }
        #expect(fixture.files().isEmpty)
        await fixture.server.stop()
    }

    @Test("the peer goes away in the middle: an error, not a hang")
    func peerGoes() async throws {
        let target = try await BackupBridge.open { throw CancellationError() }
        let fixture = try BackupFixture()
        let repository = try fixture.repository(in: target.target)
        await #expect(throws: BackupError.self) {
            try await fixture.engine.backup(folder: fixture.source, to: repository)
        }
        await target.close()
    }
}
