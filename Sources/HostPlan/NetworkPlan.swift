import ClusterModel

/// The texts that make a host's bridge and its sets' networks, for `ip -batch` and `tc -batch`.
///
/// A set has a network namespace with one cable (veth pair) to the host's bridge: `eth0` inside with
/// the set's address and the default route to the bridge. Its limits are in `SetTraffic`, the host's
/// in `UplinkPlan`.
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
        _ slot: SlotID, address: IPv4Address, withNamespace: Bool, withEgressDevice: Bool = false
    ) -> String {
        let interface = names.interface(slot)
        let namespace = names.namespace(slot)
        let cable = lines([
            withNamespace ? "netns add \(namespace)" : nil,
            "link add \(interface) type veth peer name eth0 netns \(namespace)",
            "link set \(interface) alias \"\(names.alias(slot, address: address))\"",
            "link set \(interface) master \(names.bridge) up",
            "link set \(interface) type bridge_slave hairpin on",
        ])
        return withEgressDevice
            ? cable + lines(NetworkPlan.egressDeviceCommands(names: names, slot)) : cable
    }

    /// What is to be set inside a set's namespace, where `lo` and `eth0` are switched on as well.
    package struct Inside: Equatable, Sendable {
        /// The address of `eth0`.
        package let address: IPv4Address
        /// How much of it is the host's subnet, in bits.
        package let prefixLength: Int
        /// Where everything else goes: the bridge.
        package let gateway: IPv4Address

        package init(address: IPv4Address, prefixLength: Int, gateway: IPv4Address) {
            self.address = address
            self.prefixLength = prefixLength
            self.gateway = gateway
        }
    }

    /// What is to be set inside the namespace of the set at an address.
    package func inside(address: IPv4Address) -> Inside {
        Inside(address: address, prefixLength: subnet.prefixLength, gateway: gateway)
    }

    /// `ip` lines that remove the set's cable and namespace; those that are gone already may fail.
    package static func removalCommands(names: NetworkNames, _ slot: SlotID) -> String {
        lines([
            "link del \(names.interface(slot))", "link del \(names.egressInterface(slot))",
            "netns del \(names.namespace(slot))",
        ])
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

    private static func lines(_ lines: [String?]) -> String {
        lines.compactMap { $0 }.map { $0 + "\n" }.joined()
    }

    private func lines(_ lines: [String?]) -> String { NetworkPlan.lines(lines) }
}
