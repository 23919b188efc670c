import Base

/// Where a peer plane listens, and every limit it keeps.
package struct PeerPlaneConfiguration: Sendable {
    /// Where UDP and TCP listen, on one port; port 0 lets the kernel choose (tests).
    package var bindAddress: SocketAddress
    /// Bytes of a datagram on the wire: 1,500 of Ethernet less headers and room for tunnels.
    package var datagramBytesMax = 1_400
    /// Bytes of one message; a longer one is neither sent nor taken.
    package var messageBytesMax = 16 << 20
    /// Bytes of a stream's header.
    package var streamHeaderBytesMax = 16 << 10
    /// Messages that wait for one peer; the newest is dropped beyond.
    package var queuedMessagesMax = 1_024
    /// Bytes of messages that wait for one peer; the newest is dropped beyond.
    package var queuedMessageBytesMax = 32 << 20
    /// Bytes that a stream's reader may lag behind before the sender is slowed.
    package var streamBufferBytesMax = 256 << 10
    /// How long a TCP connection may take to open.
    package var connectTimeout = Duration.seconds(2)
    /// How long a handshake may take after that.
    package var handshakeTimeout = Duration.seconds(3)
    /// How often a side that has nothing to say says so.
    package var pingInterval = Duration.seconds(2)
    /// How long a connection may be silent before it counts as dead: three missed pings.
    package var silenceMax = Duration.seconds(6)
    /// How long a message connection without messages is kept.
    package var idleConnectionMax = Duration.seconds(300)
    /// The wait after a failed connection attempt, doubled with each further one up to `backOffMax`.
    package var backOffMin = Duration.milliseconds(100)
    /// The longest wait between two attempts: a peer that came back is reached within it.
    package var backOffMax = Duration.seconds(1)
    /// Addresses for which the last datagram is kept until the host there has said who it is.
    package var awaitingIntroductionMax = 64
    /// Senders whose datagrams are watched for replays; see `SenderTable`.
    package var sendersMax = 20_000
    /// Connections from others, all together; further ones are refused.
    package var inboundConnectionsMax = 16_384
    /// Connections from one address; further ones are refused.
    package var inboundConnectionsPerAddressMax = 1_024
    /// Connections that have not proven who they are; the oldest is dropped for a new one.
    package var unprovenConnectionsMax = 64
    /// Streams that one host may hold open towards us; further ones are refused.
    package var inboundStreamsPerHostMax = 128

    package init(bindAddress: SocketAddress) {
        self.bindAddress = bindAddress
    }

    /// Bytes of a datagram's payload.
    package var datagramPayloadMax: Int { datagramBytesMax - DatagramCodec.overheadBytes }
}

/// What a peer plane calls, synchronously on the loop's thread.
///
/// An actor on the same loop may use `assumeIsolated` in them.
package struct PeerPlaneHandlers: Sendable {
    /// A datagram came: from whom, from where, and what.
    package var datagram: @Sendable (PeerIdentity, SocketAddress, [UInt8]) -> Void
    /// A message came; in order, and each once, while the sender's connection lasts.
    package var message: @Sendable (PeerIdentity, [UInt8]) -> Void
    /// A peer opened a stream with this header; dropping the stream cancels it.
    package var stream: @Sendable (PeerIdentity, _ header: [UInt8], PeerStream) -> Void

    package init(
        datagram: @escaping @Sendable (PeerIdentity, SocketAddress, [UInt8]) -> Void,
        message: @escaping @Sendable (PeerIdentity, [UInt8]) -> Void,
        stream: @escaping @Sendable (PeerIdentity, _ header: [UInt8], PeerStream) -> Void
    ) {
        self.datagram = datagram
        self.message = message
        self.stream = stream
    }
}

/// What a peer plane counted since its start.
package struct PeerPlaneCounters: Sendable, Equatable {
    /// Datagrams taken.
    package var datagramsReceived: UInt64 = 0
    /// Datagrams given to the kernel.
    package var datagramsSent: UInt64 = 0
    /// Datagrams that the kernel did not take, or longer than allowed.
    package var datagramsUnsent: UInt64 = 0
    /// Messages taken.
    package var messagesReceived: UInt64 = 0
    /// Messages handed to a connection, whole.
    package var messagesSent: UInt64 = 0
    /// Streams opened by others.
    package var streamsReceived: UInt64 = 0
    /// Datagrams dropped: not sealed under this cluster's key, or changed on the way.
    package var forged: UInt64 = 0
    /// Datagrams dropped: came before, or older than the replay window.
    package var replayed: UInt64 = 0
    /// Datagrams dropped: shorter than any of ours.
    package var truncated: UInt64 = 0
    /// Datagrams and messages dropped: longer than allowed.
    package var oversized: UInt64 = 0
    /// Datagrams dropped: none of ours, or of another version.
    package var foreign: UInt64 = 0
    /// Datagrams dropped: another cluster's.
    package var wrongCluster: UInt64 = 0
    /// Datagrams and connections dropped: from an older start of a host's agent.
    package var staleBoot: UInt64 = 0
    /// Datagrams dropped: for another host, or for an earlier start of this agent's.
    package var misdirected: UInt64 = 0
    /// Datagrams dropped and answered with an introduction: they do not name this start of ours.
    package var unintroduced: UInt64 = 0
    /// Introductions taken: the answers to our datagrams that named nobody, or an older start.
    package var introductions: UInt64 = 0
    /// Datagrams dropped: with our own identity.
    package var own: UInt64 = 0
    /// Messages dropped: too many wait for the peer.
    package var queueFull: UInt64 = 0
    /// Messages dropped: the connection broke or did not come about.
    package var messagesLost: UInt64 = 0
    /// Connections that others opened and could not prove to be members in time.
    package var handshakeFailed: UInt64 = 0
    /// Connections of ours that did not open: refused, timed out, wrong identity.
    package var connectFailed: UInt64 = 0
    /// Connections refused or dropped because there were too many.
    package var tooManyConnections: UInt64 = 0
    /// Connections ended for breaking the protocol after the handshake.
    package var protocolErrors: UInt64 = 0
    /// Connections ended because the other side fell silent.
    package var silentConnections: UInt64 = 0

    package init() {}
}
