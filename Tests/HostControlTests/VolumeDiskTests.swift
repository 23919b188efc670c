import ClusterModel
import EventLoop
import Foundation
import Glibc
import HostControl
import HostPlan
import Testing

/// Why tests with logical volumes cannot run here; nil when they can.
let poolObstacle: String? = {
    let devices = (try? String(contentsOfFile: "/proc/devices", encoding: .utf8)) ?? ""
    let reason: String? =
        if let diskObstacle {
            diskObstacle
        } else if access("/usr/sbin/lvm", X_OK) != 0 {
            "needs lvm2 and thin-provisioning-tools"
        } else if ProcessInfo.processInfo.environment["SHOALT_DISK"] == nil {
            "needs a disk to overwrite (SHOALT_DISK), as Tools/lab test gives"
        } else if !devices.contains("device-mapper") {
            "needs device-mapper"
        } else {
            nil
        }
    if let reason { print("HostControlTests with logical volumes skipped: \(reason)") }
    return reason
}()

/// Thin volumes with file systems on the disk that tests may overwrite.
private struct PoolFixture {
    static let group = "shoalt"
    let base: String
    let commands: CommandRunner

    static func lvm(_ commands: CommandRunner, _ command: String...) async throws {
        let configuration = "activation{udev_sync=0 udev_rules=0} backup{backup=0 archive=0}"
        try await commands.check(
            ["lvm", command[0], "--config", configuration] + command.dropFirst())
    }

    /// Where a volume is mounted.
    func folder(_ name: String) -> String { "\(base)/\(name)" }

    /// Makes thin volumes of 256 MiB in a pool of 768 MiB, and removes all of it afterwards.
    static func with(
        _ names: [String], _ commands: CommandRunner, _ body: (PoolFixture) async throws -> Void
    ) async throws {
        let disk = try #require(ProcessInfo.processInfo.environment["SHOALT_DISK"])
        let base = "/var/tmp/shoalt-pool-\(getpid())"
        let fixture = PoolFixture(base: base, commands: commands)
        var result = Result<Void, any Error>.success(())
        do {
            try await lvm(commands, "pvcreate", "--yes", "-ff", disk)
            try await lvm(commands, "vgcreate", group, disk)
            try await lvm(
                commands, "lvcreate", "--yes", "--type", "thin-pool", "--size", "768m",
                "--poolmetadatasize", "16m", "--name", "pool", group)
            for name in names {
                try await lvm(
                    commands, "lvcreate", "--yes", "--virtualsize", "256m", "--thinpool", "pool",
                    "--name", name, group)
                try await commands.check(["mkfs.ext4", "-q", "/dev/\(group)/\(name)"])
                try await commands.check(["mkdir", "-p", fixture.folder(name)])
                try await commands.check([
                    "mount", "/dev/\(group)/\(name)", fixture.folder(name),
                ])
            }
            try await body(fixture)
        } catch { result = .failure(error) }
        for name in names { _ = try await commands.run(["umount", fixture.folder(name)]) }
        do {
            try await lvm(commands, "vgremove", "--yes", "--force", group)
            try await lvm(commands, "pvremove", "--yes", "--force", disk)
        } catch { if case .success = result { result = .failure(error) } }
        try? FileManager.default.removeItem(atPath: base)
        try result.get()
    }
}

/// Caps where a set's volumes lie, on what is below them.
@Suite("Input and output of volumes", .serialized)
struct VolumeDiskTests {
    private let rate = 8 << 20

    /// Bytes in a second that a container comes to past the cache, in four seconds of writing or
    /// reading 64 KiB at a time in files of these folders, all at once.
    private func rate(
        writing: Bool, in folders: [String], _ host: HostFixture, _ slot: SlotID
    ) async throws -> Double {
        let script = """
            exec /usr/bin/python3 -u -c '
            import mmap, os, time
            size, count, folders = 65536, 256, \(folders)
            first, ours = os.getpid(), folders[0]
            for folder in folders[1:]:
                if os.fork() == 0: ours = folder; break
            f = os.open(ours + "/file", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
            b, n = mmap.mmap(-1, size), 0
            start = time.monotonic()
            while time.monotonic() < start + 4:
                at = n % count * size
                os.pwritev(f, [b], at) if \(writing ? 1 : 0) else os.preadv(f, [b], at)
                n += 1
            os.write(1, b"%d;" % (n * size / (time.monotonic() - start)))
            while os.getpid() == first and len(folders) > 1:
                os.wait(); folders.pop()'
            """
        let result = try await host.run(script, slot: slot, container: "app")
        let parts = result.outputText.split(separator: ";").compactMap { Double($0) }
        try #require(parts.count == folders.count, "\(result.outputText) \(result.errorText)")
        return parts.reduce(0, +)
    }

    private func expectHeld(_ found: Double, _ what: String) {
        print("disk caps: \(what) came to \(found / Double(rate)) of the cap")
        #expect(found < Double(rate) * 1.1, "\(what): \(found)")
        #expect(found > Double(rate) * 0.9, "\(what): \(found)")
    }

    @Test(
        "a logical volume is held to its caps, through the cache as well, and two share a disk's",
        .enabled(if: poolObstacle == nil), .timeLimit(.minutes(5)))
    func logical() async throws {
        try await HostFixture.with(network: false, diskPaths: ["/var/tmp"]) { host in
            try await PoolFixture.with(["one", "two"], host.commands) { pool in
                let folders = ["one", "two"].map(pool.folder)
                func set(_ io: IOSpec, _ folders: [String]) async throws {
                    let said = try await host.control.ensureSetCgroup(
                        slot: web(0), containers: [("app", limits(io: io))], folders: folders)
                    #expect(said.isEmpty)
                }
                try await set(IOSpec(), folders)
                for folder in folders {
                    try await host.commands.check([
                        "dd", "if=/dev/zero", "of=\(folder)/file", "bs=1M", "count=16",
                        "conv=fsync",
                    ])
                }
                let free = try await rate(writing: true, in: folders, host, web(0))
                print("disk caps: free, the volumes come to \(free / Double(rate)) of the cap")
                try await set(
                    IOSpec(readBytesPerSecond: rate, writeBytesPerSecond: rate), [folders[0]])
                for writing in [true, false] {
                    let what = writing ? "writing to" : "reading from"
                    let alone = try await rate(writing: writing, in: [folders[0]], host, web(0))
                    expectHeld(alone, "\(what) a logical volume")
                    // The second is known by its disk alone: that is where both are held.
                    let both = try await rate(writing: writing, in: folders, host, web(0))
                    expectHeld(both, "\(what) two on one disk")
                }
                for folder in folders { try await buffered(in: folder, host) }
                // Charged on the volume and on its disk, and told once.
                let before = try await host.control.usage(slot: web(0), container: "app")
                _ = try await host.run(
                    "dd if=/dev/zero of=\(folders[0])/file bs=1M count=16 oflag=direct conv=notrunc",
                    slot: web(0), container: "app")
                let after = try await host.control.usage(slot: web(0), container: "app")
                let written = (after.writtenBytes ?? 0) - (before.writtenBytes ?? 0)
                #expect(16 << 20...20 << 20 ~= written, "\(written)")
            }
        }
    }

    /// What the kernel writes back from its cache: held on version 2.
    private func buffered(in folder: String, _ host: HostFixture) async throws {
        let started = ContinuousClock.now
        let result = try await host.run(
            "dd if=/dev/zero of=\(folder)/buffered bs=1M count=32 conv=fsync", slot: web(0),
            container: "app")
        #expect(result.exitCode == 0, "\(result.errorText)")
        let found = Double(32 << 20) / ((ContinuousClock.now - started) / .seconds(1))
        print("disk caps: through the cache \(found / Double(rate)) of the cap")
        guard await host.control.capabilities.cgroups.version == .two else { return }
        #expect(found < Double(rate) * 1.1)
        #expect(found > Double(rate) * 0.5)
    }

    @Test(
        "a disk that a volume group gets later is capped from then on",
        .enabled(if: poolObstacle == nil), .timeLimit(.minutes(3)))
    func growth() async throws {
        try await HostFixture.with(network: false) { host in
            try await DiskFixture.with(mebibytes: 300) { disk in
                try await host.commands.check(["umount", disk.folder])
                try await PoolFixture.with(["one"], host.commands) { pool in
                    try await grow(pool, by: disk.device, host)
                }
                try await PoolFixture.lvm(
                    host.commands, "pvremove", "--yes", "--force", disk.device)
                try await host.commands.check(["mkfs.ext4", "-q", disk.device])
                try await host.commands.check(["mount", disk.device, disk.folder])
            }
        }
    }

    private func grow(_ pool: PoolFixture, by device: String, _ host: HostFixture) async throws {
        let group = PoolFixture.group
        let folders = [pool.folder("one")]
        let before = await host.control.cappedDevices(folders: folders)
        try await PoolFixture.lvm(host.commands, "pvcreate", "--yes", "-ff", device)
        try await PoolFixture.lvm(host.commands, "vgextend", group, device)
        try await PoolFixture.lvm(
            host.commands, "lvextend", "-L", "+200m", "\(group)/pool", device)
        let after = await host.control.cappedDevices(folders: folders)
        #expect(before.count == 2, "\(before)")
        #expect(Set(after).isStrictSuperset(of: before), "\(after) after \(before)")
        _ = try await host.control.ensureSetCgroup(
            slot: web(0), containers: [("app", limits(io: IOSpec(writeBytesPerSecond: rate)))],
            folders: folders)
        let text = await host.text("io.max", web(0), "app") ?? ""
        for device in after { #expect(text.contains("\(device) "), "\(text)") }
    }

    @Test(
        "volumes in files share the cap of the disk that the files are on",
        .enabled(if: diskObstacle == nil), .timeLimit(.minutes(2)))
    func files() async throws {
        try await DiskFixture.with(mebibytes: 64, uncached: true) { one in
            try await DiskFixture.with(mebibytes: 64, uncached: true) { two in
                try await HostFixture.with(network: false) { host in
                    let folders = [one.folder, two.folder]
                    let devices = await host.control.cappedDevices(folders: folders)
                    guard devices.count == 3 else {
                        return print("skipped: /var/tmp is on no disk whose use is limited")
                    }
                    for folder in folders {
                        try await host.commands.check([
                            "dd", "if=/dev/zero", "of=\(folder)/file", "bs=1M", "count=16",
                            "oflag=direct",
                        ])
                    }
                    let said = try await host.control.ensureSetCgroup(
                        slot: web(0),
                        containers: [("app", limits(io: IOSpec(writeBytesPerSecond: rate)))],
                        folders: folders)
                    #expect(said.isEmpty)
                    let found = try await rate(writing: true, in: folders, host, web(0))
                    print("disk caps: two volumes in files \(found / Double(rate)) of the cap")
                    #expect(found < Double(rate) * 1.1)
                    // What else the disk has to do may slow it at any time.
                    #expect(found > Double(rate) * 0.25)
                }
            }
        }
    }
}
