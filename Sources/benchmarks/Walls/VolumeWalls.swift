import ClusterModel
import EventLoop
import FoundationEssentials
import Glibc
import VolumePlan
import VolumeStore

/// Volumes at capacity: who writes on gets an error, and whoever writes beside it does not notice.
struct VolumeWalls: WallMeasurement {
    let names = ["volume.loop", "volume.lvm", "volume.quota", "volume.soft"]

    private static let size = 64 << 20

    func measure(_ emit: (WallRow) -> Void) async throws {
        let loop = try EventLoop(name: "volumes")
        defer { loop.stop() }
        let commands = CommandRunner(loop: loop)
        let folder = "/var/tmp/shoalt-walls-volumes-\(getpid())"
        try await commands.check(["mkdir", folder])
        var result = Result<Void, any Error>.success(())
        do {
            emit(try await hard(names[0], .loop, "\(folder)/loop", commands))
            emit(try await logical("\(folder)/lvm", commands))
            emit(try await quota(commands))
            emit(try await soft("\(folder)/soft", commands))
        } catch { result = .failure(error) }
        try await commands.check(["rm", "-rf", "--one-file-system", folder])
        try result.get()
    }

    // MARK: - Hard

    /// Writes until it fails.
    private func hard(
        _ name: String, _ volumeClass: VolumeClass, _ root: String, _ commands: CommandRunner,
        pool: ThinPool? = nil
    ) async throws -> WallRow {
        let store = try VolumeStore(
            settings: VolumeStoreSettings(
                root: root, thinPool: pool, trashSeconds: 0, reserveBytes: 0,
                allowsOvercommit: true))
        _ = try await store.recover()
        let pair = try volumes()
        var paths: [String] = []
        for name in pair {
            _ = try await store.create(
                VolumeRequest(name: name, volumeClass: volumeClass, size: VolumeWalls.size))
            paths.append(try await store.attach(name).path)
        }
        let shown = try await commands.check(["stat", "-f", "-c", "%b %S", paths[0]]).outputText
        let numbers = shown.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
        let fill = try await commands.run(
            [
                "dd", "if=/dev/zero", "of=\(paths[0])/fill", "bs=1M", "count=128",
                "conv=fsync",
            ], timeout: .seconds(60))
        let neighbour = try await commands.run([
            "dd", "if=/dev/zero", "of=\(paths[1])/file", "bs=1M", "count=16", "conv=fsync",
        ])
        let written = try await bytes(of: "\(paths[0])/fill", commands)
        for name in pair {
            try await store.detach(name)
            _ = try await store.delete(name)
        }
        _ = try await store.purgeExpired()
        let isFull = fill.exitCode != 0 && fill.errorText.contains("No space left on device")
        let holds = isFull && written <= VolumeWalls.size && written > VolumeWalls.size / 2
        return WallRow(
            name: name, configured: "\(volumeClass.rawValue) 64Mi, wants 128",
            readBack: numbers.count == 2
                ? "\(WallRow.text(Double(numbers[0] * numbers[1]) / 1_048_576)) MiB to files" : "-",
            measured: "\(isFull ? "ENOSPC" : "no error") after \(written >> 20) MiB; beside it "
                + (neighbour.exitCode == 0 ? "all well" : "an error"),
            allowed: "ENOSPC, 64 MiB",
            verdict: holds && neighbour.exitCode == 0 ? .held : .broken)
    }

    private func volumes() throws -> [VolumeName] {
        let names = ["full", "beside"].compactMap { VolumeName(slot: wallSlot($0), volume: "data") }
        guard names.count == 2 else { throw BenchmarkError("bad volume names") }
        return names
    }

    private func bytes(of path: String, _ commands: CommandRunner) async throws -> Int {
        let text = try await commands.check(["stat", "-c", "%s", path]).outputText
        return Int(text.filter { !$0.isWhitespace }) ?? 0
    }

    private func logical(_ root: String, _ commands: CommandRunner) async throws -> WallRow {
        let configured = "lvm 64Mi, wants 128"
        let devices = WallHost.read("/proc/devices") ?? ""
        guard devices.contains("device-mapper") else {
            return .lacking(
                names[1], configured: configured, note: "this kernel has no device-mapper")
        }
        guard let disk = getenv("SHOALT_DISK").map({ String(cString: $0) }) else {
            return .lacking(
                names[1], configured: configured,
                note:
                    "no disk to overwrite here: SHOALT_DISK names one, and Tools/walls has one in "
                    + "its virtual machine")
        }
        let pool = ThinPool(group: "shoaltw", pool: "pool")
        func lvm(_ words: String...) async throws {
            let configuration =
                "activation{udev_sync=0 udev_rules=0} backup{backup=0 archive=0}"
            try await commands.check(
                ["env", "LVM_SUPPRESS_FD_WARNINGS=1", "lvm", words[0], "--config", configuration]
                    + words.dropFirst())
        }
        try await lvm("pvcreate", "--yes", "-ff", disk)
        try await lvm("vgcreate", pool.group, disk)
        try await lvm(
            "lvcreate", "--yes", "--type", "thin-pool", "--size", "1g", "--poolmetadatasize", "16m",
            "--name", pool.pool, pool.group)
        let result: Result<WallRow, any Error>
        do {
            result = .success(try await hard(names[1], .lvm, root, commands, pool: pool))
        } catch { result = .failure(error) }
        try await lvm("vgremove", "--yes", "--force", pool.group)
        try await lvm("pvremove", "--yes", "--force", disk)
        return try result.get()
    }

    /// A folder on a file system that counts by project.
    private func quota(_ commands: CommandRunner) async throws -> WallRow {
        var row: WallRow?
        do {
            try await WallDisk.with(
                mebibytes: 320, uncached: false, make: ["mkfs.xfs", "-q"],
                options: ["-o", "prjquota"]
            ) { disk in
                row = try await hard(
                    names[2], .directory, "\(disk.folder)/store", commands)
            }
        } catch let error as CommandError where row == nil {
            let tool = error.description.split(separator: "`").dropFirst().first ?? ""
            return .lacking(
                names[2], configured: "directory 64Mi, project quota",
                note: "this kernel, or its tools, have no xfs with project quota: `\(tool)` fails")
        }
        guard let row else { throw BenchmarkError("no row of project quota") }
        return row
    }

    // MARK: - Soft

    /// Writes on and on, while the volumes are looked at as the agent does, once a second.
    private func soft(_ root: String, _ commands: CommandRunner) async throws -> WallRow {
        let size = 8 << 20
        let store = try VolumeStore(
            settings: VolumeStoreSettings(
                root: root, trashSeconds: 0, reserveBytes: 0, allowsOvercommit: true))
        _ = try await store.recover()
        let pair = try volumes()
        var paths: [String] = []
        for name in pair {
            _ = try await store.create(
                VolumeRequest(name: name, volumeClass: .directory, size: size))
            paths.append(try await store.attach(name).path)
        }
        let file = "\(paths[0])/fill"
        // Opened anew for each piece: a file that is open for writing keeps a volume writable.
        let writer = try await commands.start([
            "sh", "-c", "while head -c 262144 /dev/zero >> '\(file)'; do sleep 0.1; done",
        ])
        let begun = ContinuousClock.now
        var watched = begun
        var full: ContinuousClock.Instant?
        var isReadOnly = false
        while ContinuousClock.now < begun + .seconds(20), !isReadOnly {
            try await Task.sleep(for: .milliseconds(10))
            if full == nil, try fileSize(file) >= size { full = .now }
            guard ContinuousClock.now >= watched + .seconds(1) else { continue }
            watched = .now
            isReadOnly = try await store.watch().contains {
                if case .readOnly = $0 { true } else { false }
            }
        }
        let took = full.map { (ContinuousClock.now - $0).inSeconds }
        let refused = try await commands.run(["sh", "-c", "echo more >> '\(file)'"])
        let neighbour = try await commands.run([
            "dd", "if=/dev/zero", "of=\(paths[1])/file", "bs=1M", "count=2", "conv=fsync",
        ])
        writer.kill(signal: SIGKILL)
        _ = await writer.wait()
        let over = try fileSize(file)
        for name in pair {
            try await store.detach(name)
            _ = try await store.delete(name)
        }
        _ = try await store.purgeExpired()
        let holds = isReadOnly && (took ?? .infinity) <= 2 && refused.exitCode != 0
        return WallRow(
            name: names[3], configured: "directory 8Mi, no quota",
            readBack: "looked at every second",
            measured: isReadOnly
                ? "read-only after \(WallRow.text(took ?? 0)) s, \(over >> 10) KiB; beside it "
                    + (neighbour.exitCode == 0 ? "all well" : "an error") : "not read-only in 20 s",
            allowed: "2 s", verdict: holds && neighbour.exitCode == 0 ? .held : .broken,
            ratio: took.map { $0 / 2 })
    }

    private func fileSize(_ path: String) throws -> Int {
        var facts = stat()
        return stat(path, &facts) == 0 ? Int(facts.st_size) : 0
    }
}
