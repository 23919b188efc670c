import Base
import EventLoop
import Foundation
import Glibc
import HostPlan

/// Finds the address that peers are told to connect to.
enum HostAddress {
    /// The peer plane's port when none is given.
    static let defaultPort: UInt16 = 7_400

    /// Resolves `HOST:PORT`, or takes this host's first address that is not loopback.
    static func resolve(_ text: String?, on loop: EventLoop) async throws -> SocketAddress {
        guard let text else {
            guard let found = firstAddress() else {
                throw AgentError(
                    "this host has no network address: give one with --address HOST:PORT")
            }
            return found
        }
        guard let address = try await loop.resolve(withPort(text)).first else {
            throw AgentError("--address \(text): no such host")
        }
        guard address.address.contains(where: { $0 != 0 }) else {
            throw AgentError("--address \(text): peers cannot connect to the wildcard address")
        }
        return address
    }

    /// Adds the default port where none is given.
    static func withPort(_ text: String) -> String {
        let colon = text.lastIndex(of: ":")
        let bracket = text.lastIndex(of: "]")
        if let colon, bracket.map({ $0 < colon }) ?? true { return text }
        return "\(text):\(defaultPort)"
    }

    /// Interfaces of container platforms, ours too: no peer is reached through them.
    private static let bridges = [
        "shoal", "docker", "veth", "br-", "virbr", "cni", "podman", "lxc",
    ]

    private static func firstAddress() -> SocketAddress? {
        interfaces().first { interface in
            !bridges.contains { interface.name.hasPrefix($0) }
        }.flatMap { SocketAddress(address: $0.address, port: defaultPort) }
    }

    /// This host's own IPv4 addresses beside loopback and that of its sets' bridge.
    static func addresses(exceptOf bridge: String) -> [IPv4Address] {
        interfaces().filter { $0.name != bridge }.compactMap { IPv4Address(bytes: $0.address) }
    }

    /// Interfaces that are up, with their IPv4 addresses; without loopback.
    private static func interfaces() -> [(name: String, address: [UInt8])] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { return [] }
        defer { freeifaddrs(list) }
        var found: [(name: String, address: [UInt8])] = []
        var next = list
        while let entry = next {
            next = entry.pointee.ifa_next
            let flags = Int32(bitPattern: entry.pointee.ifa_flags)
            guard flags & Int32(IFF_UP) != 0, flags & Int32(IFF_LOOPBACK) == 0,
                let raw = entry.pointee.ifa_addr, raw.pointee.sa_family == UInt16(AF_INET)
            else { continue }
            let bytes = raw.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                withUnsafeBytes(of: $0.pointee.sin_addr) { Array($0) }
            }
            found.append((String(cString: entry.pointee.ifa_name), bytes))
        }
        return found
    }
}
