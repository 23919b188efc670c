import Base
import Glibc

/// Between our addresses and the kernel's `sockaddr`.
extension SocketAddress {
    /// Reads "10.0.0.1" or "fd00::1" (inet_pton(3)); nil for anything else, names too.
    package init?(numericHost text: String, port: UInt16) {
        var address4 = in_addr()
        var address6 = in6_addr()
        if inet_pton(AF_INET, text, &address4) == 1 {
            self.init(address: withUnsafeBytes(of: address4) { [UInt8]($0) }, port: port)
        } else if inet_pton(AF_INET6, text, &address6) == 1 {
            self.init(address: withUnsafeBytes(of: address6) { [UInt8]($0) }, port: port)
        } else {
            return nil
        }
    }

    /// Reads what the kernel wrote; nil for families other than IPv4 and IPv6.
    ///
    /// An IPv4 peer of an IPv6 socket (::ffff:a.b.c.d) is given as IPv4.
    init?(kernel pointer: UnsafePointer<sockaddr>?) {
        guard let pointer else { return nil }
        let raw = UnsafeRawPointer(pointer)
        switch Int32(pointer.pointee.sa_family) {
        case AF_INET:
            let value = raw.loadUnaligned(as: sockaddr_in.self)
            let bytes = withUnsafeBytes(of: value.sin_addr) { [UInt8]($0) }
            self.init(address: bytes, port: UInt16(bigEndian: value.sin_port))
        case AF_INET6:
            let value = raw.loadUnaligned(as: sockaddr_in6.self)
            var bytes = withUnsafeBytes(of: value.sin6_addr) { [UInt8]($0) }
            if bytes.prefix(12).elementsEqual(SocketAddress.mappedPrefix) {
                bytes.removeFirst(12)
            }
            self.init(address: bytes, port: UInt16(bigEndian: value.sin6_port))
        default:
            return nil
        }
    }

    /// Calls `body` with the kernel's form; with `mapped`, IPv4 is written as ::ffff:a.b.c.d.
    func withKernelAddress<Result>(
        mapped: Bool = false, _ body: (UnsafePointer<sockaddr>) -> Result
    ) -> Result {
        var storage = sockaddr_storage()
        withUnsafeMutableBytes(of: &storage) { raw in
            if isIPv4, !mapped {
                var value = sockaddr_in()
                value.sin_family = sa_family_t(AF_INET)
                value.sin_port = port.bigEndian
                withUnsafeMutableBytes(of: &value.sin_addr) { $0.copyBytes(from: address) }
                withUnsafeBytes(of: value) { raw.copyMemory(from: $0) }
            } else {
                var value = sockaddr_in6()
                value.sin6_family = sa_family_t(AF_INET6)
                value.sin6_port = port.bigEndian
                let bytes = isIPv4 ? SocketAddress.mappedPrefix + address : address
                withUnsafeMutableBytes(of: &value.sin6_addr) { $0.copyBytes(from: bytes) }
                withUnsafeBytes(of: value) { raw.copyMemory(from: $0) }
            }
        }
        return withUnsafePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0) }
        }
    }

    /// The first 12 bytes of an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
    private static let mappedPrefix: [UInt8] = [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF]
}
