import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// Volumes of class lvm, in a thin pool on a disk for tests.
@Suite("logical volumes", .serialized, .enabled(if: poolObstacle == nil))
struct LogicalTests {
    @Test("a logical volume is made, mounted, grown while in use, copied, trashed and purged")
    func lifecycle() async throws {
        let fixture = try VolumeFixture()
        let pool = try PoolFixture()
        let store = try await fixture.store(
            fixture.settings(trashSeconds: 0, thinPool: pool.pool))
        let name = try volume("web.0/data")
        let request = VolumeRequest(name: name, volumeClass: .lvm, size: mebibytes(64))
        let record = try await store.create(request)
        #expect(try await store.create(request) == record)
        let path = try await store.attach(name).path
        #expect(try await store.attach(name).path == path)
        try VolumeFixture.write("before", to: "\(path)/file")
        var held = open("\(path)/held", O_WRONLY | O_CREAT, 0o600)
        // Once: a second close would hit what another test has opened meanwhile.
        defer { if held >= 0 { close(held) } }
        let copy = try await store.snapshot(name, label: "one")
        if VolumeStore.hasResourceCapability {
            try await store.grow(name, to: mebibytes(128))
            let room = try OpenFile(path, flags: O_RDONLY, attempt: "test").space(attempt: "test")
            #expect(room.total > mebibytes(100))
        }
        try VolumeFixture.write("after", to: "\(path)/file")
        let snapshotPath = try await store.attach(copy.name).path
        #expect(VolumeFixture.read("\(snapshotPath)/file") == "before")
        let inUse = try await failure { try await store.delete(name) }
        guard case .inUse = inUse else { throw inUse }
        close(held)
        held = -1
        try await store.delete(name)
        #expect(try pool.volumes() == ["shoal-\(copy.id)", "shoal-trash-\(record.id)"].sorted())
        let device = "/dev/shoalt/shoal-trash-\(record.id)"
        #expect(access(device, F_OK) != 0)
        // As Debian does it when the machine starts.
        try PoolFixture.lvm("vgchange", "--yes", "--activate", "y", "shoalt")
        #expect(access(device, F_OK) != 0)
        // By hand, or by what this store put there before it knew of that.
        try PoolFixture.lvm(
            "lvchange", "--activate", "y", "--ignoreactivationskip",
            "shoalt/shoal-trash-\(record.id)")
        #expect(access(device, F_OK) == 0)
        #expect(try await store.recover() == ["moved \(name) (\(record.id)) into the trash"])
        #expect(access(device, F_OK) != 0)
        try await store.restore(record.id)
        _ = try await store.attach(name)
        #expect(VolumeFixture.read("\(path)/file") == "after")
        #expect(try await store.list().allSatisfy { ($0.allocated ?? 0) > 0 })
        try await store.delete(name)
        try await store.purgeExpired()
        try await store.detach(copy.name)
        #expect(try pool.volumes() == ["shoal-\(copy.id)"])
    }

    @Test("a logical volume shrinks by a verified copy")
    func shrink() async throws {
        let fixture = try VolumeFixture()
        let pool = try PoolFixture()
        let store = try await fixture.store(fixture.settings(thinPool: pool.pool))
        let name = try volume("web.0/data")
        let old = try await store.create(
            VolumeRequest(name: name, volumeClass: .lvm, size: mebibytes(64)))
        let path = try await store.attach(name).path
        try VolumeFixture.write("kept", to: "\(path)/file")
        try await store.detach(name)
        let new = try await store.shrink(name, to: mebibytes(32))
        _ = try await store.attach(name)
        #expect(VolumeFixture.read("\(path)/file") == "kept")
        #expect(try pool.volumes() == ["shoal-\(new.id)", "shoal-trash-\(old.id)"].sorted())
        try await store.detach(name)
    }

    @Test("a full pool refuses new volumes, and what is in it stays whole")
    func poolFull() async throws {
        let fixture = try VolumeFixture()
        let pool = try PoolFixture(size: mebibytes(64))
        let store = try await fixture.store(fixture.settings(thinPool: pool.pool))
        let name = try volume("web.0/data")
        try await store.create(
            VolumeRequest(name: name, volumeClass: .lvm, size: mebibytes(256)))
        let path = try await store.attach(name).path
        try VolumeFixture.write("precious", to: "\(path)/file")
        try VolumeFixture.run("sync", "-f", path)
        // More than the pool has; the file system is promised 256 MiB.
        let result = try VolumeFixture.run(
            "dd", "if=/dev/urandom", "of=\(path)/fill", "bs=1M", "count=100", "conv=fsync")
        #expect(result.code != 0)
        let refusal = try await failure {
            try await store.create(
                VolumeRequest(
                    name: volume("web.1/data"), volumeClass: .lvm, size: mebibytes(16)))
        }
        guard case .poolFull(_, let said, let percent) = refusal else { throw refusal }
        #expect(said == "shoalt/pool" && percent >= 95)
        #expect(VolumeFixture.read("\(path)/file") == "precious")
        try await store.detach(name)
        #expect(try await store.list().map(\.record.name) == [name])
    }

    @Test("what is in the pool without a record is told and left alone")
    func unknown() async throws {
        let fixture = try VolumeFixture()
        let pool = try PoolFixture()
        try PoolFixture.lvm(
            "lvcreate", "--yes", "--type", "thin", "--virtualsize", "16m", "--thinpool",
            "\(pool.pool)", "--name", "shoal-0123456789abcdef")
        let store = try VolumeStore(settings: fixture.settings(thinPool: pool.pool))
        let said = try await store.recover()
        #expect(said.count == 1 && said[0].contains("shoalt/shoal-0123456789abcdef"))
        #expect(try pool.volumes() == ["shoal-0123456789abcdef"])
    }
}
