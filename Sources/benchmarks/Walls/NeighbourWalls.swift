import ClusterModel
import EventLoop
import Glibc
import HostControl
import HostPlan

/// What attackers do, within limits that any set may have.
enum Attackers {
    static let forkBomb = "f() { f | f & }; f; sleep 1000"

    /// Wants twice the memory that it may have, again and again.
    static let memoryHog =
        "while :; do '\(CommandLine.arguments[0])' --part 'hold 134217728' < /dev/null; done"

    /// Writes four MiB and waits for the disk, again and again.
    static func syncStorm(_ file: String) -> String {
        "while :; do dd if=/dev/zero of='\(file)' bs=64k count=64 conv=fsync 2> /dev/null; done"
    }
}

/// What visitors of a small web server notice while another set on the host does its worst.
///
/// The visitors stand for another machine: on this one they have the processor before everybody
/// else, so that what they wait for is the server and nothing else.
struct NeighbourWalls: WallMeasurement {
    private static let attacks = ["burners", "forkbomb", "memoryhog", "fsyncstorm"]
    let names =
        attacks.map { "neighbour.\($0)" } + attacks.map { "neighbour.dedicated.\($0)" }

    private static let rounds = 5
    private static let milliseconds = 1_500
    /// The share of all pages that may take longer.
    private static let percentile = 0.99
    private static let allowed = 1.5

    func measure(_ emit: (WallRow) -> Void) async throws {
        try await WallHost.with(hasNetwork: true) { host in try await measure(host, emit) }
    }

    private func measure(_ host: WallHost, _ emit: (WallRow) -> Void) async throws {
        let server = wallSlot("web")
        try await host.limit(server, wallLimits(request: 200, limit: 1_000))
        guard let address = IPv4Address("10.64.0.2") else { return }
        try await host.control.ensureSetNetwork(
            slot: server, address: address, network: NetworkSpec())
        let page = try await host.start(
            WallPart.script("serve 8080"), server, inNetwork: true)
        defer { withExtendedLifetime(page) {} }
        let file = "/var/tmp/shoalt-walls-storm-\(getpid())"
        defer { unlink(file) }
        let scripts = [
            WallPart.burners, Attackers.forkBomb, Attackers.memoryHog, Attackers.syncStorm(file),
        ]
        // Until the server is there.
        for attempt in 1... {
            do {
                _ = try await visit(host)
                break
            } catch  where attempt < 50 { try await Task.sleep(for: .milliseconds(100)) }
        }
        for (name, script) in zip(names, scripts) {
            emit(try await shared(name, script, server, host))
        }
        try await dedicated(scripts, server, host, emit)
        try await host.remove([server])
    }

    /// On cores that both use, told apart by their weights.
    ///
    /// Where pages take too long, the same is measured with the widest weights that the kernel has:
    /// what these do not hold either is beyond any weight.
    private func shared(
        _ name: String, _ script: String, _ server: SlotID, _ host: WallHost
    ) async throws -> WallRow {
        let times = try await attack(script, host)
        var row = row(
            name, times, host, configured: "requests 200m and 100m")
        guard row.verdict == .broken else { return row }
        let widest = try await attack(script, host) { attacker in
            try host.weigh(server, most: true)
            try host.weigh(attacker, most: false)
        }
        try await host.limit(server, wallLimits(request: 200, limit: 1_000))
        let ratio = "\(WallRow.text(widest.ratio)) x"
        guard widest.ratio > NeighbourWalls.allowed else {
            row.note = "at the kernel's widest weights \(ratio), so a better weight would hold it"
            return row
        }
        row.verdict = .lacking
        row.note =
            "no weight of this kernel holds it (\(ratio) at its widest): `cores: dedicated` is the "
            + "wall against that"
        return row
    }

    /// The same beside a server that has a core to itself.
    private func dedicated(
        _ scripts: [String], _ server: SlotID, _ host: WallHost, _ emit: (WallRow) -> Void
    ) async throws {
        let configured = "cores dedicated, limit 1"
        let names = names.suffix(scripts.count)
        do {
            try await host.limit(server, wallLimits(request: 1_000, cores: .dedicated))
        } catch let error as HostControlError {
            switch error {
            case .kernelLacks, .notEnoughCores:
                for name in names {
                    emit(.lacking(name, configured: configured, note: "\(error)"))
                }
                return
            default: throw error
            }
        }
        for (name, script) in zip(names, scripts) {
            emit(row(name, try await attack(script, host), host, configured: configured))
        }
    }

    private func row(
        _ name: String, _ times: Times, _ host: WallHost, configured: String
    ) -> WallRow {
        let weight = host.readBack(wallSlot("web"), one: "cpu.shares", two: "cpu.weight")
        let cores = host.text("cpuset.cpus", wallSlot("web")) ?? ""
        return WallRow(
            name: name, configured: configured,
            readBack: "weight \(weight)" + (cores.isEmpty ? "" : ", cores \(cores)"),
            measured:
                "p99 \(WallRow.text(times.attacked)) ms, quiet \(WallRow.text(times.quiet)): "
                + "\(WallRow.text(times.ratio)) x",
            allowed: "1.5 x", verdict: times.ratio <= NeighbourWalls.allowed ? .held : .broken,
            ratio: times.ratio)
    }

    /// What the slowest page of a hundred takes, in milliseconds.
    private struct Times {
        let quiet: Double
        let attacked: Double
        var ratio: Double { attacked / quiet }
    }

    private func attack(
        _ script: String, _ host: WallHost, prepare: (SlotID) throws -> Void = { _ in }
    ) async throws -> Times {
        let slot = wallSlot("attacker")
        var quiet: [Double] = []
        var attacked: [Double] = []
        // In turn, since the machine itself is never quite the same.
        for _ in 0..<NeighbourWalls.rounds {
            quiet.append(try await visit(host))
            try await host.limit(slot, wallLimits(request: 100, limit: 1_000))
            try prepare(slot)
            let attacker = try await host.start(script, slot)
            try await Task.sleep(for: .milliseconds(300))
            attacked.append(try await visit(host))
            withExtendedLifetime(attacker) {}
            try await host.remove([slot])
        }
        return Times(quiet: Samples(quiet).median, attacked: Samples(attacked).median)
    }

    /// The time in milliseconds that all but one of a hundred pages take at most.
    private func visit(_ host: WallHost) async throws -> Double {
        let milliseconds = NeighbourWalls.milliseconds
        let result = try await host.commands.check(
            [
                "nsenter", "--net=/run/netns/\(host.name)", "--", CommandLine.arguments[0],
                "--visit", "10.64.0.2:8080", "--visit-milliseconds", "\(milliseconds)",
            ], timeout: .seconds(60))
        let values = result.outputText.split(separator: "\n").compactMap { Double($0) }
        guard values.count > milliseconds / 50 else {
            throw BenchmarkError("only \(values.count) pages came in \(milliseconds) ms")
        }
        return Samples(values).percentile(NeighbourWalls.percentile)
    }
}
