import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// What a store says that it can promise, and that it keeps to it.
@Suite("room of a store", .serialized, .enabled(if: mountObstacle == nil))
struct StoreRoomTests {
    private let counted: @Sendable (VolumeRecord) -> Bool = { $0.name.snapshot == nil }

    @Test("no more is promised than the settings allow, and copies that nobody counts take room")
    func capacity() async throws {
        let fixture = try VolumeFixture()
        var settings = fixture.settings(allowsOvercommit: false)
        settings.capacityBytes = mebibytes(200)
        let store = try await fixture.store(settings)
        let name = try volume("web.0/data")
        let first = try await store.room(isCounted: counted)
        #expect(first.diskBytes == mebibytes(200) && first.poolBytes == nil)
        #expect(first.hasLoop && first.diskTotalBytes > mebibytes(200))
        try await store.create(VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(64)))
        #expect(try await store.room(isCounted: counted).diskBytes == mebibytes(200))
        #expect(try await store.room { _ in false }.diskBytes == mebibytes(136))
        let refused = try await failure {
            _ = try await store.create(
                VolumeRequest(
                    name: try volume("web.1/data"), volumeClass: .directory, size: mebibytes(137)))
        }
        guard case .capacityReached(_, mebibytes(137), mebibytes(64), mebibytes(200)) = refused
        else { throw refused }
        #expect("\(refused)".contains("volume-space"))
        let growth = try await failure { try await store.grow(name, to: mebibytes(201)) }
        guard case .capacityReached = growth else { throw growth }
        let copy = try await store.snapshot(name, label: "one")
        #expect(copy.size == mebibytes(64))
        #expect(try await store.room(isCounted: counted).diskBytes == mebibytes(136))
        // In the trash it takes its room until it is gone.
        try await store.delete(name)
        #expect(try await store.room { _ in false }.diskBytes == mebibytes(72))
    }

    @Test("without a setting it is what is free and what the volumes have already")
    func free() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store(fixture.settings(allowsOvercommit: false))
        let before = try await store.room(isCounted: counted).diskBytes
        let name = try volume("web.0/data")
        try await store.create(VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(64)))
        let after = try await store.room(isCounted: counted).diskBytes
        // Others write to this machine's disk meanwhile.
        #expect(abs(before - after) < mebibytes(32), "\(before) \(after)")
    }
}

/// The same of a thin pool, on a disk for tests.
@Suite("room of a thin pool", .serialized, .enabled(if: poolObstacle == nil))
struct PoolRoomTests {
    @Test("a pool that grows, fills up or goes away is noticed by the next look")
    func pool() async throws {
        let fixture = try VolumeFixture()
        let pool = try PoolFixture(size: 1 << 30)
        let store = try await fixture.store(fixture.settings(thinPool: pool.pool))
        #expect(try await store.room { _ in true }.poolBytes == 1 << 30)
        try PoolFixture.lvm("lvextend", "--yes", "--size", "+256m", "\(pool.pool)")
        #expect(try await store.room { _ in true }.poolBytes == (1 << 30) + mebibytes(256))
        let name = try volume("web.0/data")
        try await store.create(VolumeRequest(name: name, volumeClass: .lvm, size: mebibytes(64)))
        let others = try #require(try await store.room { _ in false }.poolBytes)
        #expect(others < (1 << 30) + mebibytes(256), "what nobody counts takes what it has")
        try PoolFixture.lvm("vgremove", "--yes", "--force", pool.pool.group)
        let gone = try await store.room { _ in true }
        #expect(gone.poolBytes == nil)
        #expect(!gone.poolProblem.isEmpty)
    }
}
