import Base
import EventLoop

/// Connections that others open: limits, first frames, books.
extension PlaneCore {
    /// Takes a connection, or refuses it when there are too many.
    func accept(_ stream: TCPStream, from address: SocketAddress) {
        let fromThere = inboundPerAddress[address.address, default: 0]
        guard inboundCount < configuration.inboundConnectionsMax,
            fromThere < configuration.inboundConnectionsPerAddressMax
        else {
            counters.tooManyConnections += 1
            return stream.reset()
        }
        dropOldestUnproven()
        inboundCount += 1
        inboundPerAddress[address.address] = fromThere + 1
        let connection = Connection(
            accepted: stream, from: address, number: nextNumber(), side: side,
            configuration: configuration)
        register(connection)
        unproven.insert(connection.number)
        connection.handler = { [weak self, weak connection] event in
            guard let self, let connection else { return }
            handleNew(event, connection)
        }
        connection.start()
    }

    /// Makes room for one more connection without a proof.
    private func dropOldestUnproven() {
        guard unproven.count >= configuration.unprovenConnectionsMax,
            let oldest = unproven.min()
        else { return }
        unproven.remove(oldest)
        counters.tooManyConnections += 1
        connections[oldest]?.close(.tooMany)
    }

    /// The first frame says what the connection is.
    private func handleNew(_ event: Connection.Event, _ connection: Connection) {
        switch event {
        case .established: unproven.remove(connection.number)
        case .wrote, .closed: break
        case .frame(.openMessages, _): takeMessages(connection)
        case .frame(.openStream, let header): takeStream(connection, header)
        case .frame: connection.close(.protocolError("a first frame that opens nothing"))
        }
    }

    // MARK: - Messages

    private func takeMessages(_ connection: Connection) {
        guard let peer = connection.peer else { return }
        // A peer sends on one connection: an earlier one is dead, even if we have not noticed.
        inboundMessages[peer.hostID]?.close(.closedHere)
        inboundMessages[peer.hostID] = connection
        var parts: [UInt8] = []
        connection.handler = { [weak self, weak connection] event in
            guard let self, let connection, case .frame(let kind, let payload) = event else {
                return
            }
            guard kind == .messagePart || kind == .messageEnd else {
                return connection.close(.protocolError("a frame that is no message"))
            }
            guard parts.count + payload.count <= configuration.messageBytesMax else {
                counters.oversized += 1
                return connection.close(.protocolError("a message longer than allowed"))
            }
            parts += payload
            guard kind == .messageEnd else { return }
            let message = parts
            parts = []
            counters.messagesReceived += 1
            handlers?.message(peer, message)
        }
        connection.send(.ready)
    }

    // MARK: - Streams

    private func takeStream(_ connection: Connection, _ header: [UInt8]) {
        guard let peer = connection.peer, let handlers else { return }
        guard header.count <= configuration.streamHeaderBytesMax else {
            return connection.close(.protocolError("a stream header longer than allowed"))
        }
        let open = inboundStreams[peer.hostID, default: 0]
        guard open < configuration.inboundStreamsPerHostMax else {
            counters.tooManyConnections += 1
            return connection.close(.tooMany)
        }
        inboundStreams[peer.hostID] = open + 1
        streamNumbers.insert(connection.number)
        counters.streamsReceived += 1
        let session = StreamSession(
            connection: connection, peer: peer, configuration: configuration)
        connection.send(.ready)
        handlers.stream(peer, header, PeerStream(loop: loop, session: session))
    }

    // MARK: - The end

    /// Takes a connection out of the books and counts why it ended.
    func didClose(_ connection: Connection, _ end: ConnectionEnd) {
        guard connections.removeValue(forKey: connection.number) != nil else { return }
        if connection.isInbound { forgetInbound(connection, end) }
        switch end {
        case .protocolError: counters.protocolErrors += 1
        case .silent: counters.silentConnections += 1
        case .failed, .timedOut, .refused, .staleBoot, .peerClosed, .turnedAway, .tooMany,
            .closedHere:
            break
        }
    }

    private func forgetInbound(_ connection: Connection, _ end: ConnectionEnd) {
        inboundCount -= 1
        let address = connection.remote.address
        let left = inboundPerAddress[address, default: 1] - 1
        inboundPerAddress[address] = left > 0 ? left : nil
        if unproven.remove(connection.number) != nil { counters.handshakeFailed += 1 }
        guard let host = connection.peer?.hostID else { return }
        if inboundMessages[host] === connection { inboundMessages[host] = nil }
        guard streamNumbers.remove(connection.number) != nil else { return }
        let streams = inboundStreams[host, default: 1] - 1
        inboundStreams[host] = streams > 0 ? streams : nil
    }
}
