import Base
import CLibuv
import Glibc

/// A text that was to name a host and a port does not.
package struct AddressError: Error, Sendable, CustomStringConvertible {
    /// The text.
    package let text: String
    /// What is wrong with it, and what it should look like.
    package let problem: String

    package var description: String { "\"\(text.prefix(300))\" \(problem)" }
}

extension EventLoop {
    /// Looks up "HOST:PORT" (name, IPv4, or IPv6 in brackets), without blocking the loop.
    ///
    /// Takes as long as the system's resolver does: with unreachable name servers, half a minute.
    /// Returns one address at least, in the resolver's order. Throws `AddressError` for a malformed
    /// text and `LoopError` for an unknown name.
    package func resolve(_ text: String) async throws -> [SocketAddress] {
        let (host, port) = try splitHostPort(text)
        if let address = SocketAddress(numericHost: host, port: port) { return [address] }
        return try await withCheckedThrowingContinuation { continuation in
            perform {
                LookupRequest(host: host, port: port, continuation: continuation).start(on: self)
            }
        }
    }
}

/// Splits "HOST:PORT" or "[IPv6]:PORT".
func splitHostPort(_ text: String) throws(AddressError) -> (host: String, port: UInt16) {
    guard let colon = text.lastIndex(of: ":"),
        let port = UInt16(text[text.index(after: colon)...]), port > 0
    else {
        throw AddressError(text: text, problem: "has no port: write HOST:PORT, as in web1:7400")
    }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
        host = host.dropFirst().dropLast()
    } else if host.contains(":") {
        throw AddressError(text: text, problem: "is IPv6 without brackets: write [ADDRESS]:PORT")
    }
    guard !host.isEmpty, host.utf8.count <= 253, !host.utf8.contains(0) else {
        throw AddressError(text: text, problem: "names no host: write HOST:PORT, as in web1:7400")
    }
    return (String(host), port)
}

/// One lookup on its way through libuv's thread pool.
private final class LookupRequest {
    private let request = UnsafeMutablePointer<uv_getaddrinfo_t>.allocate(capacity: 1)
    private let host: String
    private let port: UInt16
    private let continuation: CheckedContinuation<[SocketAddress], any Error>

    init(
        host: String, port: UInt16,
        continuation: CheckedContinuation<[SocketAddress], any Error>
    ) {
        self.host = host
        self.port = port
        self.continuation = continuation
    }

    deinit { request.deallocate() }

    func start(on loop: EventLoop) {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        let retained = Unmanaged.passRetained(self)
        request.pointee.data = retained.toOpaque()
        let code = uv_getaddrinfo(
            loop.uvLoop, request,
            { request, status, list in
                guard let data = request?.pointee.data else { return }
                Unmanaged<LookupRequest>.fromOpaque(data).takeRetainedValue()
                    .finish(status, list)
            }, host, nil, &hints)
        if code < 0 { retained.takeRetainedValue().finish(code, nil) }
    }

    private func finish(_ status: Int32, _ list: UnsafeMutablePointer<addrinfo>?) {
        defer { uv_freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var next = list
        while let entry = next {
            if var address = SocketAddress(kernel: entry.pointee.ai_addr) {
                address.port = port
                if !addresses.contains(address) { addresses.append(address) }
            }
            next = entry.pointee.ai_next
        }
        guard status == 0, !addresses.isEmpty else {
            let code = status < 0 ? status : UV_EAI_NONAME.rawValue
            return continuation.resume(
                throwing: LoopError(operation: "look up", target: host, code: code))
        }
        continuation.resume(returning: addresses)
    }
}
