/// An IPv4 or IPv6 address with a port, as peers use it.
package struct SocketAddress: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Four bytes for IPv4, sixteen for IPv6, in network order.
    package let address: [UInt8]
    /// The port.
    package var port: UInt16

    /// Makes an address from 4 or 16 bytes in network order; nil for any other length.
    package init?(address: [UInt8], port: UInt16) {
        guard address.count == 4 || address.count == 16 else { return nil }
        self.address = address
        self.port = port
    }

    /// An IPv4 address from its four numbers.
    package init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8, port: UInt16) {
        address = [a, b, c, d]
        self.port = port
    }

    /// True for an IPv4 address.
    package var isIPv4: Bool { address.count == 4 }

    /// The address without its port.
    package var host: String {
        if isIPv4 { return address.map { String($0) }.joined(separator: ".") }
        return stride(from: 0, to: 16, by: 2).map {
            String(UInt16(address[$0]) << 8 | UInt16(address[$0 + 1]), radix: 16)
        }.joined(separator: ":")
    }

    package var description: String { isIPv4 ? "\(host):\(port)" : "[\(host)]:\(port)" }

    package static func < (left: SocketAddress, right: SocketAddress) -> Bool {
        if left.address != right.address {
            return left.address.lexicographicallyPrecedes(right.address)
        }
        return left.port < right.port
    }
}
