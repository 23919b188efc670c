import ClusterModel
import EventLoop
import Glibc
import HostControl

/// The hard limit, the soft limit and the limit of swap, against who wants twice as much.
struct MemoryWalls: WallMeasurement {
    let names = ["memory.limit", "memory.soft", "memory.swap"]

    func measure(_ emit: (WallRow) -> Void) async throws {
        try await WallHost.with { host in
            emit(try await hard(host))
            emit(try await soft(host))
            emit(try await swap(host))
        }
    }

    private func mebibytes(_ bytes: Int) -> String {
        "\(WallRow.text(Double(bytes) / 1_048_576)) MiB"
    }

    private func hard(_ host: WallHost) async throws -> WallRow {
        let slot = wallSlot("hog")
        try await host.limit(slot, wallLimits(memory: 64 << 20))
        let hog = try await host.run(WallPart.script("hold \(128 << 20)"), slot)
        let usage = try await host.usage(slot)
        let readBack = host.readBack(slot, one: "memory.limit_in_bytes", two: "memory.max")
        try await host.remove([slot])
        let died = hog.exitCode == 128 + SIGKILL && usage.outOfMemoryKills > 0
        return WallRow(
            name: names[0], configured: "limit 64Mi, wants 128", readBack: "\(readBack) bytes",
            measured: died
                ? "killed; at most \(mebibytes(usage.memoryPeakBytes)), kills: \(usage.outOfMemoryKills)"
                : "ended with \(hog.exitCode), \(usage.outOfMemoryKills) kills",
            allowed: "killed, 64 MiB at most",
            verdict: died && usage.memoryPeakBytes <= 64 << 20 ? .held : .broken)
    }

    private func soft(_ host: WallHost) async throws -> WallRow {
        let slot = wallSlot("soft")
        let configured = "soft 24Mi, limit 128Mi"
        let said = try await host.limit(slot, wallLimits(memory: 128 << 20, soft: 24 << 20))
        let readBack = host.readBack(slot, one: "memory.soft_limit_in_bytes", two: "memory.high")
        if let reason = said.first {
            return .lacking(names[1], configured: configured, note: reason)
        }
        let file = "/var/tmp/shoalt-walls-\(getpid())"
        let writer = try await host.run(
            "dd if=/dev/zero of=\(file) bs=1M count=48 conv=fsync", slot)
        let usage = try await host.usage(slot)
        unlink(file)
        try await host.remove([slot])
        guard host.layout.version == .two else {
            return .lacking(
                names[1], configured: configured, readBack: "\(readBack) bytes",
                note: "version 1 heeds a soft limit only when the whole host is short of memory: "
                    + "\(mebibytes(usage.memoryBytes)) in use")
        }
        return WallRow(
            name: names[1], configured: configured, readBack: "\(readBack) bytes",
            measured: "\(mebibytes(usage.memoryBytes)) left of 48 of cache",
            allowed: "36 MiB, no kill",
            verdict: usage.memoryBytes < 36 << 20 && usage.outOfMemoryKills == 0
                && writer.exitCode == 0 ? .held : .broken)
    }

    private func swap(_ host: WallHost) async throws -> WallRow {
        let configured = "limit 32Mi, swap 64Mi"
        let file = "/var/tmp/shoalt-walls-swap-\(getpid())"
        defer { unlink(file) }
        do {
            try await host.commands.check(["truncate", "-s", "128M", file])
            // Else the file's pages would count as memory of whoever is swapped out.
            let shown = try await host.commands.check([
                "losetup", "--find", "--show", "--direct-io=on", file,
            ])
            let device = shown.outputText.filter { !$0.isWhitespace }
            let result: Result<WallRow, any Error>
            do {
                try await host.commands.check(["mkswap", "-q", device])
                try await host.commands.check(["swapon", device])
                do {
                    result = .success(try await swap(host, configured))
                } catch { result = .failure(error) }
                try await host.commands.check(["swapoff", device])
            } catch {
                try await host.commands.check(["losetup", "--detach", device])
                throw error
            }
            try await host.commands.check(["losetup", "--detach", device])
            return try result.get()
        } catch let error as CommandError {
            return .lacking(
                names[2], configured: configured, note: "no swap can be added here: \(error)")
        }
    }

    private func swap(_ host: WallHost, _ configured: String) async throws -> WallRow {
        let slot = wallSlot("swap")
        let said = try await host.limit(slot, wallLimits(memory: 32 << 20, swap: 64 << 20))
        if let reason = said.first {
            return .lacking(names[2], configured: configured, note: reason)
        }
        let readBack = host.readBack(
            slot, one: "memory.memsw.limit_in_bytes", two: "memory.swap.max")
        let holder = try await host.start(WallPart.script("hold \(48 << 20)"), slot)
        var lives = false
        for try await chunk in holder.output {
            lives = String(decoding: chunk.bytes, as: UTF8.self).contains("held")
            break
        }
        let used = try await host.usage(slot)
        await holder.closeInput()
        _ = await holder.wait()
        let hog = try await host.run(WallPart.script("hold \(160 << 20)"), slot)
        try await host.remove([slot])
        let holds =
            lives && used.swapBytes > 8 << 20 && used.memoryBytes <= 32 << 20
            && hog.exitCode == 128 + SIGKILL
        return WallRow(
            name: names[2], configured: configured, readBack: "\(readBack) bytes",
            measured: "48 live, \(mebibytes(used.swapBytes)) in swap; 160 "
                + (hog.exitCode == 128 + SIGKILL ? "killed" : "not killed"),
            allowed: "48 lives, 160 dies", verdict: holds ? .held : .broken)
    }
}

/// The number of processes, against a fork bomb.
struct ProcessWall: WallMeasurement {
    let names = ["pids.limit"]

    func measure(_ emit: (WallRow) -> Void) async throws {
        try await WallHost.with { host in
            let slot = wallSlot("bomb")
            try await host.limit(slot, wallLimits(pids: 64))
            let bomb = try await host.start(Attackers.forkBomb, slot)
            var most = 0
            let end = ContinuousClock.now + .seconds(2)
            while ContinuousClock.now < end {
                most = max(most, try await host.usage(slot).pids)
                try await Task.sleep(for: .milliseconds(2))
            }
            withExtendedLifetime(bomb) {}
            let readBack = host.text("pids.max", slot) ?? "-"
            let refused = host.text("pids.events", slot) ?? "not counted here"
            try await host.remove([slot])
            emit(
                WallRow(
                    name: names[0], configured: "pids 64, a fork bomb", readBack: readBack,
                    measured: "at most \(most); refused: \(refused)", allowed: "64 at most",
                    verdict: most <= 64 && most >= 32 ? .held : .broken))
        }
    }
}
