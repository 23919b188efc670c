import ClusterModel
import EventLoop
import Glibc

/// Caps and weight of input and output, on a disk of our own: a loop device.
struct DiskWalls: WallMeasurement {
    let names = [
        "io.write.bytes", "io.read.bytes", "io.write.operations", "io.read.operations",
        "io.write.buffered", "io.weight",
    ]

    func measure(_ emit: (WallRow) -> Void) async throws {
        try await WallDisk.with(mebibytes: 128, uncached: false) { disk in
            try await WallHost.with(diskPaths: [disk.folder]) { host in
                try await caps(host, disk, emit)
                emit(try await buffered(host, disk))
            }
        }
        try await WallDisk.with(mebibytes: 160, uncached: true) { disk in
            try await WallHost.with(diskPaths: [disk.folder]) { host in
                emit(try await weight(host, disk))
            }
        }
    }

    private func caps(
        _ host: WallHost, _ disk: WallDisk, _ emit: (WallRow) -> Void
    ) async throws {
        let slot = wallSlot("disk")
        let file = "\(disk.folder)/file"
        try await host.commands.check([
            "dd", "if=/dev/zero", "of=\(file)", "bs=1M", "count=64", "conv=fsync",
        ])
        let rate = 8 << 20
        let cases: [(IOSpec, part: String, bytes: Int, isBytes: Bool, wanted: Int, file: String)] =
            [
                (IOSpec(writeBytesPerSecond: rate), "write", 65_536, true, rate, "write_bps"),
                (IOSpec(readBytesPerSecond: rate), "read", 65_536, true, rate, "read_bps"),
                (IOSpec(writeOperationsPerSecond: 200), "write", 4_096, false, 200, "write_iops"),
                (IOSpec(readOperationsPerSecond: 200), "read", 4_096, false, 200, "read_iops"),
            ]
        for (name, one) in zip(names, cases) {
            try await host.limit(slot, wallLimits(io: one.0))
            let found = try await host.numbers("\(one.part) \(file) \(one.bytes) 4000", slot)
            guard found.count == 2 else { throw BenchmarkError("\(one.part) counted nothing") }
            let got = one.isBytes ? found[0] : found[1]
            let unit = one.isBytes ? "MiB/s" : "operations/s"
            let scale = one.isBytes ? 1_048_576.0 : 1
            emit(
                .near(
                    name, configured: "\(WallRow.text(Double(one.wanted) / scale)) \(unit)",
                    readBack: readBack(host, slot, one.file),
                    measured: "\(WallRow.text(got / scale)) \(unit) over 4 s",
                    ratio: got / Double(one.wanted), within: 10))
        }
        try await host.remove([slot])
    }

    /// What is no `max` of the lines of `io.max`, or the lines of the version 1 file: one for each
    /// device.
    private func readBack(_ host: WallHost, _ slot: SlotID, _ file: String) -> String {
        let name =
            host.layout.version == .two ? "io.max" : "blkio.throttle.\(file)_device"
        let lines = (host.text(name, slot) ?? "-").split(separator: "\n").map { line in
            line.split(separator: " ").filter { !$0.hasSuffix("=max") }.joined(separator: " ")
        }
        return lines.joined(separator: ", ")
    }

    /// What the kernel writes back later from its cache: of a new file, since the pages of one that
    /// another group wrote stay that group's for a while.
    private func buffered(_ host: WallHost, _ disk: WallDisk) async throws -> WallRow {
        let slot = wallSlot("buffered")
        try await host.limit(
            slot, wallLimits(memory: 128 << 20, io: IOSpec(writeBytesPerSecond: 8 << 20)))
        let start = ContinuousClock.now
        let result = try await host.run(
            "dd if=/dev/zero of=\(disk.folder)/buffered bs=1M count=32 conv=fsync", slot)
        let rate = 32 / (ContinuousClock.now - start).inSeconds
        let readBack = readBack(host, slot, "write_bps")
        try await host.remove([slot])
        guard result.exitCode == 0 else {
            throw BenchmarkError("dd ended with \(result.exitCode): \(result.errorText)")
        }
        let measured = "\(WallRow.text(rate)) MiB/s for 32 MiB"
        guard host.layout.version == .two else {
            var row = WallRow.lacking(
                names[4], configured: "8 MiB/s, through the cache", readBack: readBack,
                note: "version 1 charges nobody for what the kernel writes back from its cache")
            row.measured = measured
            return row
        }
        return WallRow(
            name: names[4], configured: "8 MiB/s, through the cache", readBack: readBack,
            measured: measured, allowed: "at most 10 % above",
            verdict: rate <= 8.8 && rate > 2 ? .held : .broken, ratio: rate / 8)
    }

    private func weight(_ host: WallHost, _ disk: WallDisk) async throws -> WallRow {
        let scheduler = "/sys/block/\(disk.device.dropFirst(5))/queue/scheduler"
        let configured = "weights 100 and 800"
        // Where there is no such scheduler, the notice below says what that means.
        _ = try await host.commands.run(["sh", "-c", "echo bfq > \(scheduler)"])
        let slots = [wallSlot("light"), wallSlot("heavy")]
        for (slot, weight) in zip(slots, [100, 800]) {
            let said = try await host.limit(slot, wallLimits(io: IOSpec(weight: weight)))
            if let reason = said.first {
                return .lacking(names[5], configured: configured, note: reason)
            }
        }
        let file = "\(disk.folder)/file"
        try await host.commands.check([
            "dd", "if=/dev/zero", "of=\(file)", "bs=1M", "count=128", "oflag=direct",
        ])
        // Two at a time in each set, at random, so that the disk always has something to do for it.
        let part = "'\(CommandLine.arguments[0])' --part 'random \(file) 1048576 3000'"
        let script = "\(part) & \(part) & wait"
        async let light = host.run(script, slots[0])
        async let heavy = host.run(script, slots[1])
        let rates = try await [light, heavy].map { result in
            result.outputText.split(separator: "\n")
                .compactMap { Double($0.split(separator: " ").first ?? "") }.reduce(0, +)
                / 1_048_576
        }
        let readBack = slots.map {
            host.readBack($0, one: "blkio.bfq.weight", two: "io.bfq.weight")
        }
        try await host.remove(slots)
        return WallRow(
            name: names[5], configured: configured, readBack: readBack.joined(separator: " and "),
            measured: "\(WallRow.text(rates[0])) and \(WallRow.text(rates[1])) MiB/s",
            allowed: "1.5 times at least", verdict: rates[1] > rates[0] * 1.5 ? .held : .broken,
            note: "BFQ shares time on the disk, so a share in bytes is not exact",
            ratio: rates[1] / rates[0])
    }
}

/// A file system on a loop device of our own.
struct WallDisk: Sendable {
    /// Where it is mounted.
    let folder: String
    /// The device, such as `/dev/loop0`.
    let device: String

    /// Makes one of so many MiB and removes all of it afterwards, also after a failure.
    ///
    /// `uncached` is as slow as the machine's own disk: the file behind it is not in memory.
    static func with(
        mebibytes: Int, uncached: Bool, make: [String] = ["mkfs.ext4", "-q"],
        options: [String] = [], _ body: (WallDisk) async throws -> Void
    ) async throws {
        let loop = try EventLoop(name: "disk")
        defer { loop.stop() }
        let commands = CommandRunner(loop: loop)
        var template = Array("/var/tmp/shoalt-walls-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else {
            throw BenchmarkError("cannot make a folder in /var/tmp")
        }
        let base = String(cString: made)
        defer {
            unlink("\(base)/file")
            rmdir("\(base)/mount")
            rmdir(base)
        }
        try await commands.check(["truncate", "-s", "\(mebibytes)M", "\(base)/file"])
        let shown = try await commands.check([
            "losetup", "--find", "--show", "--direct-io=\(uncached ? "on" : "off")", "\(base)/file",
        ])
        let device = shown.outputText.filter { !$0.isWhitespace }
        var result = Result<Void, any Error>.success(())
        do {
            try await commands.check(make + [device])
            try await commands.check(["mkdir", "\(base)/mount"])
            try await commands.check(["mount"] + options + [device, "\(base)/mount"])
            do {
                try await body(WallDisk(folder: "\(base)/mount", device: device))
            } catch { result = .failure(error) }
            try await commands.check(["umount", "\(base)/mount"])
        } catch { if case .success = result { result = .failure(error) } }
        try await commands.check(["losetup", "--detach", device])
        try result.get()
    }
}
