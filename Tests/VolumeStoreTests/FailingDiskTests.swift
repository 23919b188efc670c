import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// Disks that fail and pools that run full: the state is told, nothing is hidden, and the steps of the
/// chapter "When a disk fails" of Operating bring the volumes back.
@Suite("failing disks", .serialized, .enabled(if: poolObstacle == nil && VictimOrder.own == nil))
struct FailingDiskTests {
    private let name = VolumeName("web.0/data")

    private func sync(_ path: String) throws { try VolumeFixture.run("sync", "-f", path) }

    /// Writes so many MiB and waits for the disk; true when that went well.
    private func fill(_ path: String, _ file: String, mebibytes count: Int) throws -> Bool {
        try VolumeFixture.run(
            "dd", "if=/dev/urandom", "of=\(path)/\(file)", "bs=1M", "count=\(count)",
            "conv=fsync"
        ).code == 0
    }

    private func unmountAll(_ fixture: VolumeFixture, _ disk: FailingDisk) {
        for point in VolumeFixture.mountPoints(below: fixture.folder).reversed() {
            umount2(point, 2)
        }
        withExtendedLifetime(disk) {}
    }

    private func mountHost(_ disk: FailingDisk, _ folder: String, making: Bool) throws {
        if making {
            try #require(VolumeFixture.run("mkfs.ext4", "-q", "-F", disk.path).code == 0)
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: false)
        }
        let mounted = try VolumeFixture.run(
            "mount", "-o", "errors=remount-ro", disk.path, folder)
        try #require(mounted.code == 0, "\(mounted.output)")
    }

    private func settings(_ root: String) -> VolumeStoreSettings {
        VolumeStoreSettings(
            root: root, trashSeconds: 0, reserveBytes: 0, allowsOvercommit: true,
            now: { 1_000_000 })
    }

    @Test(
        "a failed disk under files and records is told; repaired and mounted again, it has all that was synchronized"
    )
    func filesOnFailedDisk() async throws {
        let fixture = try VolumeFixture()
        let disk = try FailingDisk(fixture, mebibytes: 128)
        let folder = "\(fixture.folder)/disk"
        // The disk cannot go while it is mounted.
        defer { unmountAll(fixture, disk) }
        try mountHost(disk, folder, making: true)
        let name = try #require(name)
        var point = ""
        do {
            let store = try VolumeStore(settings: settings("\(folder)/store"))
            #expect(try await store.recover().isEmpty)
            let request = VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(32))
            try await store.create(request)
            point = try await store.attach(name).path
            try VolumeFixture.write("precious", to: "\(point)/file")
            try sync(point)
            #expect(try await store.watch().isEmpty)
            try disk.fail()
            #expect(try !fill(point, "lost", mebibytes: 4))
            var events: [VolumeEvent] = []
            for _ in 0..<50 where events.isEmpty {
                _ = try fill(point, "lost", mebibytes: 1)
                events = try await store.watch()
                usleep(100_000)
            }
            #expect(events.contains { "\($0)".contains("the disk under the volume web.0/data") })
            // Told once.
            #expect(try await store.watch().isEmpty)
            let other = try #require(VolumeName("web.1/data"))
            let refusal = try await failure {
                try await store.create(
                    VolumeRequest(name: other, volumeClass: .loop, size: mebibytes(16)))
            }
            #expect("\(refusal)".contains("kernel's log"), "\(refusal)")
            #expect(try await store.list().map(\.record.name).contains(name))
        }
        // The steps: stop, let the disk work, unmount, check, mount, start.
        try VolumeFixture.run("umount", point)
        try disk.work()
        try VolumeFixture.run("umount", folder)
        let checked = try VolumeFixture.run("e2fsck", "-f", "-p", disk.path)
        #expect([0, 1].contains(checked.code), "\(checked.output)")
        try mountHost(disk, folder, making: false)
        let store = try VolumeStore(settings: settings("\(folder)/store"))
        _ = try await store.recover()
        #expect(try await store.list().map(\.record.name) == [name])
        point = try await store.attach(name).path
        #expect(VolumeFixture.read("\(point)/file") == "precious")
        #expect(try fill(point, "more", mebibytes: 2))
        #expect(try await store.watch().isEmpty)
        try await store.detach(name)
    }

    @Test("a disk that forgot its last writes has every earlier volume whole, and no half ones")
    func forgottenWrites() async throws {
        let fixture = try VolumeFixture()
        let disk = try FailingDisk(fixture, mebibytes: 128)
        let folder = "\(fixture.folder)/disk"
        // The disk cannot go while it is mounted.
        defer { unmountAll(fixture, disk) }
        try mountHost(disk, folder, making: true)
        let name = try #require(name)
        do {
            let store = try VolumeStore(settings: settings("\(folder)/store"))
            _ = try await store.recover()
            try await store.create(
                VolumeRequest(name: name, volumeClass: .loop, size: mebibytes(16)))
            let point = try await store.attach(name).path
            try VolumeFixture.write("precious", to: "\(point)/file")
            try sync(point)
            try await store.detach(name)
            try sync(folder)
            try disk.forgetWrites()
            try await store.create(
                VolumeRequest(
                    name: volume("web.1/data"), volumeClass: .loop, size: mebibytes(16)))
            try await store.grow(name, to: mebibytes(24))
        }
        // The power goes: what the disk acknowledged last was never on it.
        try VolumeFixture.run("umount", folder)
        try disk.work()
        try mountHost(disk, folder, making: false)
        let store = try VolumeStore(settings: settings("\(folder)/store"))
        let said = try await store.recover()
        #expect(!said.contains { $0.contains("could not") }, "\(said)")
        #expect(try await store.list().map(\.record.name) == [name])
        let point = try await store.attach(name).path
        #expect(VolumeFixture.read("\(point)/file") == "precious")
        try await store.detach(name)
    }

    @Test(
        "a full pool that lets writers fail is extended, and its volumes are whole and writable again"
    )
    func fullPoolExtended() async throws {
        let fixture = try VolumeFixture()
        let pool = try PoolFixture(size: mebibytes(64))
        let store = try await fixture.store(fixture.settings(thinPool: pool.pool))
        let name = try #require(name)
        try await store.create(VolumeRequest(name: name, volumeClass: .lvm, size: mebibytes(256)))
        let point = try await store.attach(name).path
        try VolumeFixture.write("precious", to: "\(point)/file")
        try sync(point)
        #expect(try !fill(point, "fill", mebibytes: 100))
        try PoolFixture.lvm("lvextend", "--yes", "--size", "+256m", "\(pool.pool)")
        try await store.detach(name)
        _ = try await store.attach(name)
        #expect(VolumeFixture.read("\(point)/file") == "precious")
        try FileManager.default.removeItem(atPath: "\(point)/fill")
        #expect(try fill(point, "more", mebibytes: 100))
        try await store.detach(name)
    }

    @Test(
        "a full pool that lets writers wait is told at the start; extended, they go on and lose nothing"
    )
    func waitingWriters() async throws {
        let fixture = try VolumeFixture()
        let pool = try PoolFixture(size: mebibytes(64))
        try PoolFixture.lvm("lvchange", "--yes", "--errorwhenfull", "n", "\(pool.pool)")
        let store = try VolumeStore(settings: fixture.settings(thinPool: pool.pool))
        let said = try await store.recover()
        #expect(said.contains { $0.contains("lvchange --errorwhenfull y shoalt/pool") })
        let name = try #require(name)
        try await store.create(VolumeRequest(name: name, volumeClass: .lvm, size: mebibytes(256)))
        let point = try await store.attach(name).path
        let writer = Process()
        writer.executableURL = URL(fileURLWithPath: "/bin/dd")
        writer.arguments = [
            "if=/dev/zero", "of=\(point)/fill", "bs=1M", "count=100", "conv=fsync", "status=none",
        ]
        try writer.run()
        sleep(10)
        #expect(writer.isRunning)
        // The others are looked after meanwhile.
        _ = try await store.watch()
        try PoolFixture.lvm("lvextend", "--yes", "--size", "+256m", "\(pool.pool)")
        writer.waitUntilExit()
        #expect(writer.terminationStatus == 0)
        try await store.detach(name)
        _ = try await store.attach(name)
        let size = try VolumeFixture.run("stat", "-c", "%s", "\(point)/fill").output
        #expect(Int(size.trimmingCharacters(in: .whitespacesAndNewlines)) == mebibytes(100))
        try await store.detach(name)
    }

    @Test(
        "a pool on a disk that fails while it is written to is told; with the disk back it is activated again, whole"
    )
    func poolOnFailingDisk() async throws {
        let fixture = try VolumeFixture()
        let disk = try FailingDisk(mebibytes: 1_024)
        defer { withExtendedLifetime(disk) {} }
        let pool = try PoolFixture(size: mebibytes(256), disk: disk.path)
        let name = try #require(name)
        let store = try await fixture.store(fixture.settings(thinPool: pool.pool))
        try await store.create(VolumeRequest(name: name, volumeClass: .lvm, size: mebibytes(64)))
        let point = try await store.attach(name).path
        try VolumeFixture.write("precious", to: "\(point)/file")
        try sync(point)
        _ = try await store.watch()
        try disk.failLater(seconds: 1)
        sleep(2)
        #expect(try !fill(point, "lost", mebibytes: 8))
        var events: [VolumeEvent] = []
        for _ in 0..<50 where events.isEmpty {
            _ = try fill(point, "lost", mebibytes: 1)
            events = try await store.watch()
            usleep(100_000)
        }
        #expect(events.contains { "\($0)".contains("the disk under the volume web.0/data") })
        await #expect(throws: VolumeError.self) {
            try await store.create(
                VolumeRequest(
                    name: volume("web.1/data"), volumeClass: .lvm, size: mebibytes(16)))
        }
        // The steps: detach, let the disk work, activate anew.
        try await store.detach(name)
        try disk.work()
        try PoolFixture.lvm("vgchange", "--activate", "n", pool.pool.group)
        try PoolFixture.lvm("vgchange", "--activate", "y", pool.pool.group)
        _ = try await store.recover()
        _ = try await store.attach(name)
        #expect(VolumeFixture.read("\(point)/file") == "precious")
        #expect(try fill(point, "more", mebibytes: 8))
        try await store.detach(name)
    }

    /// Gives the pool devices that LVM does not know, since each takes a block of metadata, until so much
    /// of it is in use; false when the kernel takes no more.
    private func fillMetadata(_ pool: PoolFixture, percent: Int, from number: Int) throws -> Bool {
        let script = """
            device=$1-$2-tpool
            used() { dmsetup status $device | awk '{ split($5, m, "/"); print int(m[1] * 100 / m[2]) }'; }
            number=$4
            while [ "$(used)" -lt $3 ]; do
                for _ in 1 2 3 4 5 6 7 8; do
                    number=$((number + 1))
                    dmsetup message $device 0 "create_thin $number" || exit 1
                done
            done
            """
        let result = try VolumeFixture.run(
            "sh", "-c", script, "sh", pool.pool.group, pool.pool.pool, "\(percent)", "\(number)")
        return result.code == 0
    }

    @Test(
        "a pool whose metadata is full refuses new volumes and says what to extend; extended it goes on, repaired it is whole",
        .enabled(
            if: ProcessInfo.processInfo.environment["SHOALT_LONG"] != nil,
            "takes minutes: Tools/lab test --long"))
    func fullMetadata() async throws {
        let fixture = try VolumeFixture()
        let pool = try PoolFixture(size: mebibytes(256), metadata: "2m")
        let store = try await fixture.store(fixture.settings(thinPool: pool.pool))
        let name = try #require(name)
        try await store.create(VolumeRequest(name: name, volumeClass: .lvm, size: mebibytes(64)))
        let point = try await store.attach(name).path
        try VolumeFixture.write("precious", to: "\(point)/file")
        try sync(point)

        // Nearly: refused before it is too late, and extended while a volume is in use.
        #expect(try fillMetadata(pool, percent: 80, from: 1_000_000))
        let other = VolumeRequest(
            name: try volume("web.1/data"), volumeClass: .lvm, size: mebibytes(16))
        func refused() async throws -> Int {
            let refusal = try await failure { try await store.create(other) }
            guard case .poolMetadataFull(_, _, let percent) = refusal else { throw refusal }
            #expect("\(refusal)".contains("lvextend --poolmetadatasize +64M shoalt/pool"))
            return percent
        }
        #expect(try await refused() >= 80)
        try PoolFixture.lvm("lvextend", "--yes", "--poolmetadatasize", "+4m", "\(pool.pool)")
        try await store.create(other)
        try await store.delete(other.name)

        // To the end: the kernel makes the pool read-only, and who needs a new block gets an error.
        #expect(try !fillMetadata(pool, percent: 101, from: 8_000_000))
        #expect(try !fill(point, "lost", mebibytes: 32))
        let status = try VolumeFixture.run("dmsetup", "status", "shoalt-pool-tpool").output
        #expect(status.contains(" ro "))
        #expect(try await refused() >= 80)
        #expect(VolumeFixture.read("\(point)/file") == "precious")

        // The steps: extend, stop the service and start it.
        try PoolFixture.lvm("lvextend", "--yes", "--poolmetadatasize", "+16m", "\(pool.pool)")
        try await store.detach(name)
        _ = try await store.attach(name)
        #expect(VolumeFixture.read("\(point)/file") == "precious")
        #expect(try fill(point, "more", mebibytes: 8))
        try await store.create(
            VolumeRequest(name: volume("web.2/data"), volumeClass: .lvm, size: mebibytes(16)))

        // What a pool that does not come back needs does no harm either.
        try await store.detach(name)
        try PoolFixture.lvm("vgchange", "--activate", "n", pool.pool.group)
        try PoolFixture.lvm("lvconvert", "--yes", "--repair", "\(pool.pool)")
        try PoolFixture.lvm("vgchange", "--activate", "y", pool.pool.group)
        _ = try await store.recover()
        _ = try await store.attach(name)
        #expect(VolumeFixture.read("\(point)/file") == "precious")
        #expect(try fill(point, "again", mebibytes: 8))
        try await store.detach(name)
    }
}
