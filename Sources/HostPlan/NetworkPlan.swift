import ClusterModel

/// The texts that make a host's bridge and its sets' networks, for `ip -batch` and `tc -batch`.
///
/// A set has a network namespace with one cable (veth pair) to the host's bridge: `eth0` inside with
/// the set's address, the default route to the bridge, and limits at both ends.
package struct NetworkPlan: Equatable, Sendable {
    /// The names.
    package let names: NetworkNames
    /// The host's part of the cluster network.
    package let subnet: IPv4Network

    package init(names: NetworkNames, subnet: IPv4Network) {
        self.names = names
        self.subnet = subnet
    }

    /// The bridge's address: the first of the subnet.
    package var gateway: IPv4Address { IPv4Address(value: subnet.address.value + 1) }

    // MARK: - Interfaces

    /// `ip` lines that make the bridge; `exists` leaves out what cannot be done twice.
    package func bridgeCommands(exists: Bool) -> String {
        lines([
            exists ? nil : "link add \(names.bridge) type bridge",
            "addr replace \(gateway)/\(subnet.prefixLength) dev \(names.bridge)",
            "link set \(names.bridge) up",
        ])
    }

    /// `ip` lines, in the agent's namespace, that make the set's namespace and its cable.
    ///
    /// Hairpin mode lets a set reach itself through a published port where the kernel shows bridged
    /// packets to nftables (br_netfilter) and so sends them back out of the port they came from.
    package func cableCommands(
        _ slot: SlotID, address: IPv4Address, withNamespace: Bool, replacing: Bool = false
    ) -> String {
        let interface = names.interface(slot)
        let namespace = names.namespace(slot)
        return lines([
            replacing ? "link del \(interface)" : nil,
            withNamespace ? "netns add \(namespace)" : nil,
            "link add \(interface) type veth peer name eth0 netns \(namespace)",
            "link set \(interface) alias \"\(names.alias(slot, address: address))\"",
            "link set \(interface) master \(names.bridge) up",
            "link set \(interface) type bridge_slave hairpin on",
        ])
    }

    /// `ip` lines inside the set's namespace; doing them again changes nothing.
    package func insideCommands(address: IPv4Address) -> String {
        lines([
            "link set lo up",
            "addr replace \(address)/\(subnet.prefixLength) dev eth0",
            "link set eth0 up",
            "route replace default via \(gateway) dev eth0",
        ])
    }

    /// `ip` lines that remove the set's cable and namespace; those that are gone already may fail.
    package static func removalCommands(names: NetworkNames, _ slot: SlotID) -> String {
        lines(["link del \(names.interface(slot))", "netns del \(names.namespace(slot))"])
    }

    /// `ip` lines that take every IPv4 address but the gateway's off the bridge.
    ///
    /// `listing` is what `ip -o -4 addr show dev BRIDGE` prints.
    package func staleAddressCommands(listing: String) -> String {
        var stale: [String] = []
        for line in listing.utf8.split(separator: UInt8(ascii: "\n")) {
            let words = Substring(line).split(separator: " ")
            guard let index = words.firstIndex(of: "inet"), index + 1 < words.count,
                let address = words[index + 1].split(separator: "/").first,
                let parsed = IPv4Address(address), parsed != gateway
            else { continue }
            stale.append("addr del \(words[index + 1]) dev \(names.bridge)")
        }
        return lines(stale)
    }

    // MARK: - Limits

    /// The end of a set's cable at which a limit is kept.
    package enum Direction: CaseIterable, Sendable {
        /// What the set sends, limited on `eth0` inside its namespace.
        case egress
        /// What the set receives, limited where the host sends into the cable.
        case ingress
    }

    /// The limit of one direction in bits per second; nil is none.
    package static func limit(_ direction: Direction, of network: NetworkSpec) -> Int? {
        switch direction {
        case .egress: network.egressBitsPerSecond
        case .ingress: network.ingressBitsPerSecond
        }
    }

    /// `tc` lines that put a first limit on an interface that has none.
    ///
    /// HTB (tc-htb(8)) with a single class whose rate is its ceiling: unlike a plain token bucket
    /// its rate can be changed while packets flow, and classes can be added later.
    package static func limitCommands(device: String, bitsPerSecond: Int) -> String {
        lines(["qdisc add dev \(device) root handle 1: htb default 1"])
            + limitChangeCommands(device: device, bitsPerSecond: bitsPerSecond)
    }

    /// `tc` lines that change the limit while packets flow; they fail where there is none.
    package static func limitChangeCommands(device: String, bitsPerSecond: Int) -> String {
        let rate = min(max(bitsPerSecond, bitsPerSecondMin), bitsPerSecondMax)
        // 10 ms at the full rate, so that the timer's resolution costs nothing, and two full
        // packets at the least; 16 MiB at the most.
        let burst = min(max(rate / 8 / 100, 3_028), 16 << 20)
        // The queue is counted in bytes and holds 100 ms (one segmentation-offload packet of
        // 64 KiB and then some at the least): the default of 1,000 packets, of up to 64 KiB each,
        // would add seconds of delay.
        let queue = min(max(rate / 8 / 10, 131_072), 64 << 20)
        return lines([
            "class replace dev \(device) parent 1: classid 1:1 htb rate \(rate)bit "
                + "ceil \(rate)bit burst \(burst)b cburst \(burst)b quantum 60000",
            "qdisc replace dev \(device) parent 1:1 handle 10: bfifo limit \(queue)",
        ])
    }

    /// `tc` lines that take the limit away; they fail where there is none.
    package static func limitRemovalCommands(device: String) -> String {
        lines(["qdisc del dev \(device) root"])
    }

    /// The least rate that is set: one full packet takes 1.5 s.
    package static let bitsPerSecondMin = 8_000

    /// The highest rate that is set: 1 Tbit/s.
    package static let bitsPerSecondMax = 1_000_000_000_000

    private static func lines(_ lines: [String?]) -> String {
        lines.compactMap { $0 }.map { $0 + "\n" }.joined()
    }

    private func lines(_ lines: [String?]) -> String { NetworkPlan.lines(lines) }
}
