import ClusterModel
import EventLoop
import Foundation
import Glibc
import HostControl
import HostPlan
import Testing

/// Weight and caps of input and output on a disk of the test's own.
@Suite("Input and output on this machine", .enabled(if: diskObstacle == nil), .serialized)
struct DiskLimitTests {
    private func with(
        uncached: Bool = false, _ body: (HostFixture, DiskFixture) async throws -> Void
    ) async throws {
        try await DiskFixture.with(mebibytes: 256, uncached: uncached) { disk in
            try await HostFixture.with(network: false, diskPaths: [disk.folder]) { host in
                try await body(host, disk)
            }
        }
    }

    /// How many seconds a shell script takes in a container's groups.
    private func seconds(_ script: String, _ host: HostFixture, _ slot: SlotID) async throws
        -> Double
    {
        let started = ContinuousClock.now
        let result = try await host.run(script, slot: slot, container: "app")
        #expect(result.exitCode == 0, "\(result.errorText)")
        return (ContinuousClock.now - started) / .seconds(1)
    }

    private func write(_ disk: DiskFixture, _ size: String, _ count: Int) -> String {
        "dd if=/dev/zero of=\(disk.folder)/file bs=\(size) count=\(count) oflag=direct conv=notrunc"
    }

    @Test("writing and reading are held to their caps, which change and go while it runs")
    func caps() async throws {
        try await with { host, disk in
            let control = host.control
            func set(_ io: IOSpec) async throws {
                let said = try await control.ensureSetCgroup(
                    slot: web(0), containers: [("app", limits(io: io))])
                #expect(said.isEmpty)
            }
            func read(_ size: String, _ count: Int) -> String {
                "dd if=\(disk.folder)/file of=/dev/null bs=\(size) count=\(count) iflag=direct"
            }
            try await set(IOSpec())
            let free = try await seconds(write(disk, "1M", 16), host, web(0))
            // Bounds far wider than the error: other work on the machine may slow it at any time.
            let cases: [(IOSpec, String, Double)] = [
                (IOSpec(writeBytesPerSecond: 8 << 20), write(disk, "1M", 16), 2),
                (IOSpec(readBytesPerSecond: 4 << 20), read("1M", 8), 2),
                (IOSpec(writeOperationsPerSecond: 100), write(disk, "4k", 200), 2),
                (IOSpec(readOperationsPerSecond: 200), read("4k", 400), 2),
            ]
            for (io, script, wanted) in cases {
                try await set(io)
                let taken = try await seconds(script, host, web(0))
                print("disk caps: \(io.text) took \(taken) s of \(wanted)")
                #expect(taken > wanted * 0.85, "\(taken) s for \(wanted)")
                #expect(taken < wanted * 3 + free, "\(taken) s for \(wanted)")
            }
            try await set(IOSpec())
            #expect(try await seconds(write(disk, "1M", 16), host, web(0)) < max(free * 10, 1.5))
            let layout = await control.capabilities.cgroups
            let name = layout.version == .one ? "blkio.throttle.write_bps_device" : "io.max"
            #expect(await host.text(name, web(0), "app")?.contains(try disk.numbers) == false)
        }
    }

    @Test("two that want the whole disk share it by weight")
    func weight() async throws {
        // From memory the processors would be what is short, not the disk.
        try await with(uncached: true) { host, disk in
            let scheduler = "/sys/block/\(disk.device.dropFirst(5))/queue/scheduler"
            let chosen = try await host.commands.run(["sh", "-c", "echo bfq > \(scheduler)"])
            let slots = [web(0), web(1)]
            var said: [String] = []
            for (slot, weight) in zip(slots, [100, 800]) {
                said += try await host.control.ensureSetCgroup(
                    slot: slot, containers: [("app", limits(io: IOSpec(weight: weight)))])
            }
            guard chosen.exitCode == 0, said.isEmpty else {
                #expect(!said.isEmpty)
                return print("disk weights skipped: \(chosen.errorText)\(said)")
            }
            try await host.commands.check(
                [
                    "dd", "if=/dev/zero", "of=\(disk.folder)/file", "bs=1M", "count=128",
                    "oflag=direct",
                ])
            var readers: [RunningCommand] = []
            for slot in slots {
                // Two at a time read at random, so that the disk always has something to do for it.
                let script = """
                    exec /usr/bin/python3 -u -c '
                    import mmap, os, random, time
                    f = os.open("\(disk.folder)/file", os.O_RDONLY | os.O_DIRECT); size = 1 << 20
                    os.fork()
                    b = mmap.mmap(-1, size); n = 0; stop = time.monotonic() + 3
                    while time.monotonic() < stop:
                        os.preadv(f, [b], random.randrange(128) * size); n += 1
                    os.write(1, b"%d;" % n)'
                    """
                readers.append(
                    try await host.commands.start(
                        try await host.command(script, slot: slot, container: "app")))
            }
            var counts: [Double] = []
            for reader in readers {
                var text = ""
                for try await chunk in reader.output {
                    text += String(decoding: chunk.bytes, as: UTF8.self)
                }
                let parts = text.split(separator: ";").compactMap { Double($0) }
                try #require(parts.count == 2, "\(text)")
                counts.append(parts[0] + parts[1])
            }
            print("disk weights: 100 read \(counts[0]) and 800 read \(counts[1])")
            #expect(counts[1] > counts[0] * 1.5, "\(counts)")
        }
    }

    @Test("what is on no disk is said, not refused, and a scheduler without weights as well")
    func noDisk() async throws {
        try await HostFixture.with(network: false, diskPaths: ["/proc", "/not/there"]) { host in
            let io = IOSpec(weight: 200, readBytesPerSecond: 1 << 20)
            let said = try await host.control.ensureSetCgroup(
                slot: web(0), containers: [("app", limits(io: io))])
            #expect(said.count { $0.contains("/proc") } == 1)
            #expect(said.count { $0.contains("/not/there") } == 1)
            #expect(
                try await host.control.ensureSetCgroup(
                    slot: web(0), containers: [("app", limits())]
                ).isEmpty)
        }
        try await with { host, disk in
            let scheduler = "/sys/block/\(disk.device.dropFirst(5))/queue/scheduler"
            try await host.commands.check(["sh", "-c", "echo none > \(scheduler)"])
            let said = try await host.control.ensureSetCgroup(
                slot: web(0), containers: [("app", limits(io: IOSpec(weight: 200)))])
            #expect(said.count == 1)
        }
    }
}

extension IOSpec {
    fileprivate var text: String {
        "read \(readBytesPerSecond ?? 0)/\(readOperationsPerSecond ?? 0), "
            + "write \(writeBytesPerSecond ?? 0)/\(writeOperationsPerSecond ?? 0)"
    }
}
