/// An IPv4 address.
package struct IPv4Address: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The address as a number, first byte highest.
    package let value: UInt32

    package init(value: UInt32) { self.value = value }

    /// Makes an address from four bytes in network order; nil for any other length.
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 4 else { return nil }
        value = bytes.reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// Reads `10.64.1.2`; nil when the text is not four numbers from 0 to 255.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard part.utf8.count <= 3, part.utf8.allSatisfy({ 48...57 ~= $0 }),
                let byte = UInt8(part)
            else { return nil }
            value = value << 8 | UInt32(byte)
        }
        self.value = value
    }

    /// The four bytes in network order.
    package var bytes: [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> UInt32($0)) }
    }

    package static func < (left: IPv4Address, right: IPv4Address) -> Bool {
        left.value < right.value
    }

    package var description: String { bytes.map { String($0) }.joined(separator: ".") }
}

/// An IPv4 network in CIDR form, such as `10.64.0.0/10`.
package struct IPv4Network: Hashable, Sendable, CustomStringConvertible {
    /// The network's lowest address; the bits behind the prefix are zero.
    package let address: IPv4Address
    /// How many leading bits are common: 0 to 32.
    package let prefixLength: Int

    /// Makes a network, with the bits behind the prefix cleared; nil when that is not 0 to 32.
    package init?(address: IPv4Address, prefixLength: Int) {
        guard 0...32 ~= prefixLength else { return nil }
        self.prefixLength = prefixLength
        self.address = IPv4Address(value: address.value & IPv4Network.mask(prefixLength))
    }

    /// Reads `10.64.0.0/10`; nil when the text is not that or has bits behind the prefix.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPv4Address(parts[0]), parts[1].utf8.count <= 2,
            parts[1].utf8.allSatisfy({ 48...57 ~= $0 }), let length = Int(parts[1])
        else { return nil }
        self.init(address: address, prefixLength: length)
        guard self.address == address else { return nil }
    }

    private init(masked address: IPv4Address, prefixLength: Int) {
        self.address = address
        self.prefixLength = prefixLength
    }

    /// The cluster network when none is configured.
    package static let clusterDefault = IPv4Network(
        masked: IPv4Address(value: 10 << 24 | 64 << 16), prefixLength: 10)

    /// The prefix length of one host's share of the cluster network.
    package static let hostPrefixLength = 24

    /// True when the address lies inside.
    package func contains(_ other: IPv4Address) -> Bool {
        other.value & IPv4Network.mask(prefixLength) == address.value
    }

    /// The address at an offset from the lowest; nil when that lies outside.
    package func address(at offset: Int) -> IPv4Address? {
        guard offset >= 0, UInt64(offset) < UInt64(1) << UInt64(32 - prefixLength) else {
            return nil
        }
        return IPv4Address(value: address.value + UInt32(offset))
    }

    /// How many hosts get a /24 of their own out of this network; 0 when it is smaller than that.
    package var hostSubnetCount: Int {
        prefixLength > IPv4Network.hostPrefixLength
            ? 0 : 1 << (IPv4Network.hostPrefixLength - prefixLength)
    }

    /// The /24 of the host with this index, counted from 0; nil when the network has no such part.
    package func hostSubnet(index: Int) -> IPv4Network? {
        guard index >= 0, index < hostSubnetCount else { return nil }
        return IPv4Network(
            masked: IPv4Address(value: address.value + UInt32(index) << 8),
            prefixLength: IPv4Network.hostPrefixLength)
    }

    /// The index of the host's /24 that holds an address; nil when it is none of this network's.
    package func hostSubnetIndex(of address: IPv4Address) -> Int? {
        guard address.value >= self.address.value else { return nil }
        let index = Int((address.value - self.address.value) >> 8)
        return index < hostSubnetCount ? index : nil
    }

    package var description: String { "\(address)/\(prefixLength)" }

    private static func mask(_ length: Int) -> UInt32 {
        length == 0 ? 0 : UInt32.max << UInt32(32 - length)
    }
}
