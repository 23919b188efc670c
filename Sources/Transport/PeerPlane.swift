import Base
import EventLoop

/// One host's way to its peers: sealed datagrams, messages and streams on one UDP and TCP port.
///
/// An actor on the loop's thread: another actor on the same loop may call it through
/// `assumeIsolated`. Nothing leaves unsealed, and nothing that is not sealed under the cluster's key
/// gets further than a counter. It must be stopped: sockets of a plane that was merely forgotten
/// stay open.
package actor PeerPlane {
    /// The loop that everything here runs on.
    package nonisolated let loop: EventLoop
    private let core: PlaneCore

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        loop.asUnownedSerialExecutor()
    }

    package init(
        loop: EventLoop, configuration: PeerPlaneConfiguration, secret: ClusterSecret,
        identity: HostKeyPair, bootEpoch: BootEpoch
    ) {
        self.loop = loop
        core = PlaneCore(
            loop: loop, configuration: configuration,
            side: Handshake.Side(secret: secret, keys: identity, bootEpoch: bootEpoch))
    }

    /// Binds UDP and TCP and starts to receive.
    ///
    /// Throws `LoopError` when an address is taken.
    package func start(_ handlers: PeerPlaneHandlers) throws { try core.start(handlers) }

    /// Closes everything; streams break.
    ///
    /// The plane cannot be started again.
    package func stop() { core.stop() }

    /// Sends a datagram; it may be lost, be overtaken, or never have existed.
    ///
    /// Only the named start of the receiver's agent takes it, or a newer one that we have heard of;
    /// nil is for whoever is at the address, who is asked for its name first. One longer than
    /// `datagramPayloadMax` is dropped and counted.
    package func send(datagram: [UInt8], to address: SocketAddress, receiver: PeerIdentity?) {
        core.send(datagram: datagram, to: address, receiver: receiver)
    }

    /// Sends a message over the connection that is kept to this peer; never waits.
    ///
    /// Messages arrive in order while a connection lasts. They are dropped and counted when the
    /// connection breaks, when too many wait, and when one is longer than `messageBytesMax`.
    package func send(message: [UInt8], to host: HostID, at address: SocketAddress) {
        core.send(message: message, to: host, at: address)
    }

    /// Opens a stream; returns when the peer has taken it.
    ///
    /// Throws `PeerStreamError`.
    package func open(
        streamTo host: HostID, at address: SocketAddress, header: [UInt8],
        timeout: Duration = .seconds(5)
    ) async throws -> PeerStream {
        guard !Task.isCancelled else { throw PeerStreamError.cancelled }
        let opening = StreamOpening(host: host, address: address, header: header)
        let reference = LoopBound(value: opening)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                opening.start(in: core, timeout: timeout) {
                    continuation.resume(with: $0.mapError { $0 as any Error })
                }
            }
        } onCancel: {
            loop.perform { reference.value?.give(up: "no longer wanted") }
        }
    }

    /// What was counted since the start.
    package var counters: PeerPlaneCounters { core.counters }

    /// Connections that are open or opening, both ways.
    package var connectionCount: Int { core.connections.count }

    /// Where the plane listens, with the port the kernel chose if 0 was asked for.
    package var boundAddress: SocketAddress { core.boundAddress }

    /// Looks up "HOST:PORT" as `--join` takes it; see `EventLoop.resolve`.
    package nonisolated func resolve(_ hostPort: String) async throws -> [SocketAddress] {
        try await loop.resolve(hostPort)
    }
}
