import ClusterModel
import EventLoop
import HostControl

/// Quota, weights, burst and cores to itself, against loops that want all there is.
struct ProcessorWalls: WallMeasurement {
    let names = ["cpu.quota", "cpu.weights", "cpu.burst", "cpu.cores"]

    func measure(_ emit: (WallRow) -> Void) async throws {
        try await WallHost.with { host in
            emit(try await quota(host))
            emit(try await weights(host))
            emit(try await burst(host))
            emit(try await cores(host))
        }
    }

    private func quota(_ host: WallHost) async throws -> WallRow {
        let slot = wallSlot("quota")
        try await host.limit(slot, wallLimits(limit: 300))
        let attack = try await host.start(WallPart.burners, slot)
        let used = try await coresUsed(host, [slot])[0]
        withExtendedLifetime(attack) {}
        let readBack =
            host.layout.version == .two
            ? host.text("cpu.max", slot) ?? "no cpu.max"
            : "\(host.text("cpu.cfs_quota_us", slot) ?? "-") \(host.text("cpu.cfs_period_us", slot) ?? "-")"
        try await host.remove([slot])
        return .near(
            names[0], configured: "limit 300m, four loops", readBack: "\(readBack) us",
            measured: "\(WallRow.text(used * 1_000))m over 5 s", ratio: used / 0.3, within: 5)
    }

    private func weights(_ host: WallHost) async throws -> WallRow {
        let slots = [wallSlot("light"), wallSlot("heavy")]
        var attacks: [RunningCommand] = []
        for (slot, request) in zip(slots, [250, 750]) {
            try await host.limit(slot, wallLimits(request: request, limit: 4_000))
            attacks.append(try await host.start(WallPart.burners, slot))
        }
        let used = try await coresUsed(host, slots)
        withExtendedLifetime(attacks) {}
        let readBack = slots.map { host.readBack($0, one: "cpu.shares", two: "cpu.weight") }
        try await host.remove(slots)
        return .near(
            names[1], configured: "requests 250m and 750m",
            readBack: readBack.joined(separator: " and "),
            measured: "\(WallRow.text(used[0] * 1_000))m and \(WallRow.text(used[1] * 1_000))m",
            ratio: used[1] / used[0] / 3, within: 5)
    }

    /// Wants 30 ms at once with a quota of 20 ms a period: held back unless it saved up.
    private func burst(_ host: WallHost) async throws -> WallRow {
        let slots = [wallSlot("without"), wallSlot("saving")]
        let configured = "limit 200m, burst 200m"
        var held: [Int] = []
        for (slot, burst) in zip(slots, [0, 200]) {
            let said = try await host.limit(slot, wallLimits(limit: 200, burst: burst))
            if let reason = said.first {
                return .lacking(names[2], configured: configured, note: reason)
            }
            let spurts = try await host.start(WallPart.script("spurts 30"), slot)
            for try await chunk in spurts.output where !chunk.bytes.isEmpty { break }
            let before = try await host.usage(slot).throttledMicroseconds
            try await spurts.write([0x0a])
            await spurts.closeInput()
            _ = await spurts.wait()
            held.append(try await host.usage(slot).throttledMicroseconds - before)
        }
        let readBack = host.readBack(slots[1], one: "cpu.cfs_burst_us", two: "cpu.max.burst")
        try await host.remove(slots)
        return WallRow(
            name: names[2], configured: configured, readBack: "\(readBack) us",
            measured: "held back \(held[1] / 1_000) ms, without it \(held[0] / 1_000)",
            allowed: "less than half", verdict: held[1] * 2 < held[0] ? .held : .broken,
            note: "8 times 30 ms at once")
    }

    private func cores(_ host: WallHost) async throws -> WallRow {
        let (own, other) = (wallSlot("own"), wallSlot("other"))
        let configured = "cores dedicated, limit 1"
        do {
            try await host.limit(own, wallLimits(request: 1_000, cores: .dedicated))
        } catch let error as HostControlError {
            switch error {
            case .kernelLacks, .notEnoughCores:
                return .lacking(names[3], configured: configured, note: "\(error)")
            default: throw error
            }
        }
        try await host.limit(other, wallLimits(request: 4_000, limit: 4_000))
        let attacks = [
            try await host.start("while :; do :; done", own),
            try await host.start(WallPart.burners, other),
        ]
        let used = try await coresUsed(host, [own, other], seconds: 3)
        withExtendedLifetime(attacks) {}
        let readBack = [own, other].map { host.text("cpuset.cpus", $0) ?? "-" }
        try await host.remove([own, other])
        return WallRow(
            name: names[3], configured: configured,
            readBack: "\(readBack[0]), the others \(readBack[1])",
            measured: "\(WallRow.text(used[0] * 1_000))m beside four loops",
            allowed: "at least 950m",
            verdict: used[0] >= 0.95 && readBack[0] != readBack[1] ? .held : .broken,
            ratio: used[0])
    }
}
