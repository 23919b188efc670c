import Base
import EventLoop
import Glibc
import Testing
import Transport

/// One agent's transport on the loopback interface, with everything it receives in streams.
final class TestPeer: Sendable {
    struct Datagram: Sendable {
        let sender: PeerIdentity
        let bytes: [UInt8]
    }
    struct Message: Sendable {
        let sender: PeerIdentity
        let bytes: [UInt8]
    }
    struct Opened: Sendable {
        let sender: PeerIdentity
        let header: [UInt8]
        let stream: PeerStream
    }

    let loop: EventLoop
    let plane: PeerPlane
    let identity: PeerIdentity
    let address: SocketAddress
    let datagrams: AsyncStream<Datagram>
    let messages: AsyncStream<Message>
    let streams: AsyncStream<Opened>

    var host: HostID { identity.hostID }

    /// Starts a peer on a port of its own, or on the one given.
    init(
        _ secret: ClusterSecret, keys: HostKeyPair = .generate(), boot: UInt64 = 10,
        at address: SocketAddress = SocketAddress(127, 0, 0, 1, port: 0),
        change: (inout PeerPlaneConfiguration) -> Void = { _ in }
    ) async throws {
        loop = try EventLoop(name: "shoalt-peer")
        identity = PeerIdentity(hostID: keys.hostID, bootEpoch: BootEpoch(boot))
        var configuration = PeerPlaneConfiguration(bindAddress: address)
        change(&configuration)
        plane = PeerPlane(
            loop: loop, configuration: configuration, secret: secret, identity: keys,
            bootEpoch: identity.bootEpoch)
        let (datagrams, datagramSink) = AsyncStream<Datagram>.makeStream()
        let (messages, messageSink) = AsyncStream<Message>.makeStream()
        let (streams, streamSink) = AsyncStream<Opened>.makeStream()
        self.datagrams = datagrams
        self.messages = messages
        self.streams = streams
        try await plane.start(
            PeerPlaneHandlers(
                datagram: { datagramSink.yield(Datagram(sender: $0, bytes: $2)) },
                message: { messageSink.yield(Message(sender: $0, bytes: $1)) },
                stream: { streamSink.yield(Opened(sender: $0, header: $1, stream: $2)) }))
        self.address = await plane.boundAddress
    }

    /// Ends it; to be called before the last reference goes.
    func stop() async {
        await plane.stop()
        loop.stop()
    }

    /// The next message, of those not taken yet.
    func nextMessage() async -> Message? { await messages.first { _ in true } }

    /// The next datagram, of those not taken yet.
    func nextDatagram() async -> Datagram? { await datagrams.first { _ in true } }

    /// The next stream that a peer opened.
    func nextStream() async -> Opened? { await streams.first { _ in true } }

    /// Waits until the counters satisfy a condition; false after ten seconds.
    func counted(_ condition: (PeerPlaneCounters) -> Bool) async -> Bool {
        await eventually { condition(await self.plane.counters) }
    }
}

/// Waits until a condition holds; false after ten seconds.
func eventually(_ condition: () async -> Bool) async -> Bool {
    for _ in 0..<2_000 {
        if await condition() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return false
}

/// Runs a body with peers of one cluster and stops them afterwards, also when it throws.
func withPeers(
    _ count: Int, change: (inout PeerPlaneConfiguration) -> Void = { _ in },
    _ body: ([TestPeer], ClusterSecret) async throws -> Void
) async throws {
    let secret = ClusterSecret.generate()
    var peers: [TestPeer] = []
    for _ in 0..<count { peers.append(try await TestPeer(secret, change: change)) }
    do { try await body(peers, secret) } catch {
        for peer in peers { await peer.stop() }
        throw error
    }
    for peer in peers { await peer.stop() }
}

/// A plain blocking socket, as an attacker would use it; IPv4 only.
final class RawSocket {
    private let descriptor: Int32

    /// Connects TCP or UDP to an address; waits two seconds for an answer at most.
    init(tcp: Bool, to address: SocketAddress) {
        let type = tcp ? SOCK_STREAM : SOCK_DGRAM
        descriptor = socket(AF_INET, Int32(type.rawValue) | O_CLOEXEC, 0)
        var limit = timeval(tv_sec: 2, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = address.port.bigEndian
        withUnsafeMutableBytes(of: &name.sin_addr) { $0.copyBytes(from: address.address) }
        withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8]) {
        _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    /// The next packet, or what a connection has at once; empty when nothing comes in two seconds.
    func receive() -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        return Array(buffer.prefix(max(0, count)))
    }

    /// True when the other end has ended the connection within two seconds.
    func isEnded() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count == 0 { return true }
            if count < 0 { return errno == ECONNRESET || errno == EPIPE }
        }
    }
}

/// Bytes that differ from place to place.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var random = RandomSource(seed: seed)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count {
        withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) }
    }
    return Array(bytes.prefix(count))
}
