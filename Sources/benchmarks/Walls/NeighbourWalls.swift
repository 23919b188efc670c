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
    let names = ["burners", "forkbomb", "memoryhog", "fsyncstorm", "dedicated"].map {
        "neighbour.\($0)"
    }

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
                _ = try await visit(host, 300)
                break
            } catch  where attempt < 50 { try await Task.sleep(for: .milliseconds(100)) }
        }
        for (name, script) in zip(names, scripts) {
            emit(try await attack(name, script, host, configured: "request 200m beside 100m"))
        }
        emit(try await dedicated(server, host))
        try await host.remove([server])
    }

    /// The burners again, beside a server that has a core to itself.
    private func dedicated(_ server: SlotID, _ host: WallHost) async throws -> WallRow {
        let configured = "cores dedicated, limit 1"
        do {
            try await host.limit(server, wallLimits(request: 1_000, cores: .dedicated))
        } catch let error as HostControlError {
            switch error {
            case .kernelLacks, .notEnoughCores:
                return .lacking(names[4], configured: configured, note: "\(error)")
            default: throw error
            }
        }
        return try await attack(names[4], WallPart.burners, host, configured: configured)
    }

    private func attack(
        _ name: String, _ script: String, _ host: WallHost, configured: String
    ) async throws -> WallRow {
        let slot = wallSlot("attacker")
        var quiet: [Double] = []
        var attacked: [Double] = []
        // In turn, since the machine itself is never quite the same.
        for _ in 0..<NeighbourWalls.rounds {
            quiet.append(try await visit(host, NeighbourWalls.milliseconds))
            try await host.limit(slot, wallLimits(request: 100, limit: 1_000))
            let attacker = try await host.start(script, slot)
            try await Task.sleep(for: .milliseconds(300))
            attacked.append(try await visit(host, NeighbourWalls.milliseconds))
            withExtendedLifetime(attacker) {}
            try await host.remove([slot])
        }
        let (base, worse) = (Samples(quiet).median, Samples(attacked).median)
        let readBack = host.readBack(wallSlot("web"), one: "cpu.shares", two: "cpu.weight")
        let ratio = worse / base
        return WallRow(
            name: name, configured: configured, readBack: "weight \(readBack)",
            measured:
                "p99 \(WallRow.text(worse)) ms, quiet \(WallRow.text(base)): \(WallRow.text(ratio)) x",
            allowed: "1.5 x", verdict: ratio <= NeighbourWalls.allowed ? .held : .broken,
            ratio: ratio)
    }

    /// The time in milliseconds that all but one of a hundred pages take at most.
    private func visit(_ host: WallHost, _ milliseconds: Int) async throws -> Double {
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
