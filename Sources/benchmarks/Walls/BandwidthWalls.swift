import ClusterModel
import EventLoop
import HostControl
import HostPlan

/// Bandwidth of sets and of the host, against TCP that wants all and UDP that asks nobody.
///
/// All of a set's flows are measured at their receivers, all walls at once, so that each holds beside
/// the others.
struct BandwidthWalls: WallMeasurement {
    let names = [
        "bandwidth.egress.tcp", "bandwidth.ingress.tcp", "bandwidth.egress.udp",
        "bandwidth.ingress.udp", "bandwidth.outside", "bandwidth.rate", "bandwidth.total",
    ]

    private static let seconds = 10
    /// A full TCP packet is 1,514 bytes on the wire, of which 1,448 are payload.
    private static let wireOfPayload = 1_514.0 / 1_448
    private static let outside = "192.0.2.2"
    private static let total = 40_000_000

    func measure(_ emit: (WallRow) -> Void) async throws {
        do {
            try await WallHost.with(uplink: .fixed(BandwidthWalls.total), hasNetwork: true) {
                host in
                guard await host.control.capabilities.hasTrafficControl else {
                    return lack(
                        "the kernel lacks sch_htb, sch_ingress, cls_u32, act_mirred or ifb", emit)
                }
                try await sets(host, emit)
                try await addOutside(host)
                try await uplink(host, emit)
            }
        } catch HostControlError.kernelLacks(let feature, let cause) {
            lack("\(feature): \(cause)", emit)
        }
    }

    private func lack(_ reason: String, _ emit: (WallRow) -> Void) {
        for name in names { emit(.lacking(name, configured: "-", note: reason)) }
    }

    // MARK: - Walls of sets

    private func sets(_ host: WallHost, _ emit: (WallRow) -> Void) async throws {
        let (fast, slow) = (50_000_000, 10_000_000)
        let free = NetworkSpec()
        let networks = [
            NetworkSpec(egressBitsPerSecond: fast), free, free,
            NetworkSpec(ingressBitsPerSecond: fast), NetworkSpec(egressBitsPerSecond: slow), free,
            free, NetworkSpec(ingressBitsPerSecond: slow),
        ]
        for (number, network) in networks.enumerated() { try await add(host, number, network) }
        var attackers: [RunningCommand] = []
        for (number, part) in [
            (0, "source 5001"), (2, "source 5001"), (4, "flood \(address(5)) 5002"),
            (6, "flood \(address(7)) 5002"),
        ] {
            attackers.append(
                try await host.start(WallPart.script(part), slot(number), inNetwork: true))
        }
        let milliseconds = BandwidthWalls.seconds * 1_000
        async let egress = rate(host, "sink \(address(0)) 5001 \(milliseconds)", 1)
        async let ingress = rate(host, "sink \(address(2)) 5001 \(milliseconds)", 3)
        async let sent = rate(host, "count 5002 \(milliseconds)", 5)
        async let received = rate(host, "count 5002 \(milliseconds)", 7)
        let found = try await (egress, ingress, sent, received)
        withExtendedLifetime(attackers) {}
        emit(
            tcp(
                names[0], found.0, fast, "egress 50Mbit", try await classes(host, 0, isEgress: true)
            ))
        emit(
            tcp(
                names[1], found.1, fast, "ingress 50Mbit",
                try await classes(host, 3, isEgress: false)))
        emit(
            udp(
                names[2], found.2, slow, "egress 10Mbit", try await classes(host, 4, isEgress: true)
            ))
        emit(
            udp(
                names[3], found.3, slow, "ingress 10Mbit",
                try await classes(host, 7, isEgress: false)))
        try await remove(host, networks.indices.map { slot($0) })
    }

    private func tcp(
        _ name: String, _ payload: Double, _ rate: Int, _ configured: String, _ readBack: String
    ) -> WallRow {
        let wire = payload * BandwidthWalls.wireOfPayload
        return .near(
            name, configured: configured, readBack: readBack,
            measured: "\(megabits(wire)) on the wire, \(megabits(payload)) payload",
            ratio: wire / Double(rate), within: 5, note: "one connection, 10 s")
    }

    private func udp(
        _ name: String, _ wire: Double, _ rate: Int, _ configured: String, _ readBack: String
    ) -> WallRow {
        let ratio = wire / Double(rate)
        return WallRow(
            name: name, configured: configured, readBack: readBack,
            measured: "\(megabits(wire)) on the wire",
            // The clock of who counts, not the wall, is the half percent.
            allowed: "never above (0.5 %)",
            verdict: ratio <= 1.005 && ratio > 0.5 ? .held : .broken,
            note: "a flood of full packets, 10 s", ratio: ratio)
    }

    // MARK: - The host's total

    private func uplink(_ host: WallHost, _ emit: (WallRow) -> Void) async throws {
        let split = BandwidthSpec(
            ceilingBitsPerSecond: 40_000_000, outsideBitsPerSecond: 10_000_000)
        try await add(host, 10, NetworkSpec(egress: split))
        let source = try await host.start(
            WallPart.script("source 5001"), slot(10), inNetwork: true)
        let beyond = try await outside(host, "sink \(address(10)) 5001 5000")
        withExtendedLifetime(source) {}
        emit(
            tcp(
                names[4], beyond, 10_000_000, "40Mbit, outside 10Mbit",
                try await classes(host, 10, isEgress: true)))
        try await remove(host, [slot(10)])
        let sure = BandwidthSpec(
            rateBitsPerSecond: 30_000_000, ceilingBitsPerSecond: 200_000_000)
        try await add(host, 11, NetworkSpec(egress: sure))
        try await add(host, 12, NetworkSpec())
        let attackers = [
            try await host.start(WallPart.script("source 5001"), slot(11), inNetwork: true),
            try await host.start(
                WallPart.script("flood \(BandwidthWalls.outside) 5002"), slot(12), inNetwork: true),
        ]
        let milliseconds = BandwidthWalls.seconds * 1_000
        async let guaranteed = outside(host, "sink \(address(11)) 5001 \(milliseconds)")
        async let rest = outside(host, "count 5002 \(milliseconds)")
        let (payload, noise) = try await (guaranteed, rest)
        withExtendedLifetime(attackers) {}
        let signal = payload * BandwidthWalls.wireOfPayload
        let device = NetworkNames(
            instance: host.settings.instance, bridge: host.settings.bridge)?.uplinkInterface
        let shares = try await host.commands.check(
            ["tc", "-n", host.name, "class", "show", "dev", device ?? ""]
        ).outputText
        let whole =
            shares.split(separator: "\n").filter { $0.contains(" 2:1 root") }
            .compactMap { rate(ofClass: $0) }.first ?? "-"
        emit(
            WallRow(
                name: names[5], configured: "rate 30Mbit of 40Mbit",
                readBack: shares.split(separator: "\n").filter { $0.contains("rate 30Mbit") }
                    .compactMap { rate(ofClass: $0) }.first ?? "-",
                measured: "\(megabits(signal)) beside a flood", allowed: "at least 95 %",
                verdict: signal >= 30_000_000 * 0.95 ? .held : .broken,
                ratio: signal / 30_000_000))
        let sum = signal + noise
        emit(
            WallRow(
                name: names[6], configured: "host's total 40Mbit", readBack: whole,
                measured: "\(megabits(sum)) of two sets together", allowed: "never above (0.5 %)",
                verdict: sum <= Double(BandwidthWalls.total) * 1.005
                    && sum > Double(BandwidthWalls.total) * 0.8 ? .held : .broken,
                ratio: sum / Double(BandwidthWalls.total)))
        try await remove(host, [slot(11), slot(12)])
    }

    // MARK: - Helpers

    private func slot(_ number: Int) -> SlotID { wallSlot("net", number) }

    private func address(_ number: Int) -> String { "10.64.0.\(number + 2)" }

    /// Floods get little of the processor, which would be what is short otherwise.
    private func add(_ host: WallHost, _ number: Int, _ network: NetworkSpec) async throws {
        guard let address = IPv4Address(address(number)[...]) else { return }
        try await host.limit(slot(number), wallLimits(request: 500, limit: 500))
        try await host.control.ensureSetNetwork(
            slot: slot(number), address: address, network: network)
    }

    /// Ends sets, and gives back what they had of the host's total.
    private func remove(_ host: WallHost, _ slots: [SlotID]) async throws {
        try await host.remove(slots)
        for slot in slots { try await host.control.removeSetNetwork(slot: slot) }
    }

    /// Bits a second that a receiver in a set counts.
    private func rate(_ host: WallHost, _ part: String, _ number: Int) async throws -> Double {
        let found = try await host.numbers(part, slot(number), inNetwork: true)
        guard let bytes = found.first else { throw BenchmarkError("\(part) counted nothing") }
        return bytes * 8
    }

    /// Bits a second that a receiver beyond the host counts.
    private func outside(_ host: WallHost, _ part: String) async throws -> Double {
        let result = try await host.commands.check(
            [
                "nsenter", "--net=/run/netns/\(host.name)o", "--", CommandLine.arguments[0],
                "--part", part,
            ], timeout: .seconds(60))
        guard let bytes = Double(result.outputText.filter { !$0.isWhitespace }) else {
            throw BenchmarkError("\(part) counted nothing")
        }
        return bytes * 8
    }

    /// What HTB has for a set's traffic: rate and ceiling of its leaf.
    private func classes(_ host: WallHost, _ number: Int, isEgress: Bool) async throws -> String {
        guard
            let names = NetworkNames(
                instance: host.settings.instance, bridge: host.settings.bridge)
        else { return "-" }
        let device =
            isEgress ? names.egressInterface(slot(number)) : names.interface(slot(number))
        let shown = try await host.commands.check(
            ["tc", "-n", host.name, "class", "show", "dev", device]
        ).outputText
        return shown.split(separator: "\n").filter { $0.contains(" 1:10 ") }
            .compactMap { rate(ofClass: $0) }.first ?? "-"
    }

    /// `rate 50Mbit ceil 50Mbit` out of what tc says of a class.
    private func rate(ofClass line: Substring) -> String? {
        let words = line.split(separator: " ")
        guard let index = words.firstIndex(of: "rate"), index + 3 < words.count else { return nil }
        return words[index...(index + 3)].joined(separator: " ")
    }

    private func megabits(_ bits: Double) -> String { "\(WallRow.text(bits / 1e6)) Mbit/s" }

    /// A neighbour of the host at the other end of a cable, who knows the way to the host's sets.
    private func addOutside(_ host: WallHost) async throws {
        try await host.commands.check(["ip", "netns", "add", "\(host.name)o"])
        let here = """
            link add out0 type veth peer name in0 netns \(host.name)o
            addr add 192.0.2.1/24 dev out0
            link set out0 up

            """
        let there =
            "addr add \(BandwidthWalls.outside)/24 dev in0\nlink set in0 up\nlink set lo up\n"
            + "route add 10.64.0.0/24 via 192.0.2.1\n"
        try await host.commands.check(
            ["ip", "-n", host.name, "-batch", "-"], input: Array(here.utf8))
        try await host.commands.check(
            ["ip", "-n", "\(host.name)o", "-batch", "-"], input: Array(there.utf8))
    }
}
