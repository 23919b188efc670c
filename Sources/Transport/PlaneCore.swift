import Base
import EventLoop

/// The inside of a peer plane: sockets, tables, counters.
///
/// On the loop's thread only.
final class PlaneCore {
    let loop: EventLoop
    let configuration: PeerPlaneConfiguration
    let side: Handshake.Side
    var counters = PeerPlaneCounters()
    var handlers: PeerPlaneHandlers?
    private(set) var boundAddress: SocketAddress
    /// Every connection that is not closed, by number.
    var connections: [UInt64: Connection] = [:]
    /// The connection on which each peer sends us messages.
    var inboundMessages: [HostID: Connection] = [:]
    var inboundCount = 0
    var inboundPerAddress: [[UInt8]: Int] = [:]
    var inboundStreams: [HostID: Int] = [:]
    /// Numbers of the inbound connections that carry streams.
    var streamNumbers: Set<UInt64> = []
    /// Numbers of the inbound connections without a proof of identity; the lowest is the oldest.
    var unproven: Set<UInt64> = []
    var senders: SenderTable
    /// The last datagram to each address whose host did not say yet who it is; oldest first.
    private var awaitingIntroduction: [(address: SocketAddress, datagram: [UInt8])] = []

    private let codec: DatagramCodec
    private var sequence: UInt64 = 0
    private var lastConnection: UInt64 = 0
    private var links: [HostID: MessageLink] = [:]
    private var datagrams: DatagramSocket?
    private var listener: TCPListener?
    private var ticker: LoopTimer?
    private var isStopped = false

    init(loop: EventLoop, configuration: PeerPlaneConfiguration, side: Handshake.Side) {
        self.loop = loop
        self.configuration = configuration
        self.side = side
        boundAddress = configuration.bindAddress
        senders = SenderTable(sendersMax: configuration.sendersMax)
        codec = DatagramCodec(secret: side.secret, bytesMax: configuration.datagramBytesMax)
    }

    func start(_ handlers: PeerPlaneHandlers) throws(LoopError) {
        guard listener == nil, !isStopped else { return }
        self.handlers = handlers
        // With port 0, the port that TCP got may be taken for UDP: try again with another.
        var attempts = configuration.bindAddress.port == 0 ? 20 : 1
        while datagrams == nil {
            let listener = try TCPListener(loop: loop, address: configuration.bindAddress) {
                [weak self] stream, address in
                guard let self else { return stream.close() }
                accept(stream, from: address)
            }
            do throws(LoopError) {
                datagrams = try DatagramSocket(loop: loop, address: listener.address) {
                    [weak self] in self?.receive($1, from: $0)
                }
                self.listener = listener
                boundAddress = listener.address
            } catch {
                listener.close()
                attempts -= 1
                if attempts == 0 { throw error }
            }
        }
        let reference = LoopBound(value: self)
        ticker = LoopTimer(loop: loop) { reference.value?.tick() }
        ticker?.start(after: tickInterval)
    }

    /// True between `start` and `stop`.
    var isRunning: Bool { handlers != nil }

    func stop() {
        isStopped = true
        listener?.close()
        datagrams?.close()
        ticker?.close()
        for link in links.values { link.close() }
        links = [:]
        for connection in Array(connections.values) { connection.close(.closedHere) }
        handlers = nil
    }

    // MARK: - Datagrams

    /// Sends to one start of a host's agent, or to whoever is at the address.
    func send(datagram: [UInt8], to address: SocketAddress, receiver: PeerIdentity?) {
        guard let receiver else {
            awaitingIntroduction.removeAll { $0.address == address }
            if awaitingIntroduction.count >= configuration.awaitingIntroductionMax {
                awaitingIntroduction.removeFirst()
            }
            awaitingIntroduction.append((address, datagram))
            return send(datagram, as: .payload, to: address, receiver: nil)
        }
        // Its agent may have been started again since the caller heard of it.
        var newest = receiver
        if let known = senders.bootEpoch(of: receiver.hostID), known > newest.bootEpoch {
            newest.bootEpoch = known
        }
        send(datagram, as: .payload, to: address, receiver: newest)
    }

    private func send(
        _ payload: [UInt8], as kind: DatagramCodec.Kind, to address: SocketAddress,
        receiver: PeerIdentity?
    ) {
        guard let datagrams, payload.count <= configuration.datagramPayloadMax else {
            counters.datagramsUnsent += 1
            return
        }
        sequence += 1
        let header = DatagramCodec.Header(
            kind: kind, sender: ownIdentity, sequence: sequence, receiver: receiver)
        if datagrams.send(codec.seal(payload, header: header), to: address) {
            counters.datagramsSent += 1
        } else {
            counters.datagramsUnsent += 1
        }
    }

    private var ownIdentity: PeerIdentity {
        PeerIdentity(hostID: side.keys.hostID, bootEpoch: side.bootEpoch)
    }

    /// Takes a packet: what costs nothing is checked first, the seal last.
    private func receive(_ packet: [UInt8], from address: SocketAddress) {
        let header: DatagramCodec.Header
        do throws(DatagramCodec.Refusal) {
            header = try codec.header(of: packet)
        } catch {
            return count(error)
        }
        guard header.sender.hostID != side.keys.hostID else {
            counters.own += 1
            return
        }
        // An introduction answers one start of ours; a payload may be for an older one.
        let isOurs = header.receiver == ownIdentity
        let mayBeOurs = header.receiver.map { $0.hostID == side.keys.hostID } ?? true
        guard isOurs || mayBeOurs && header.kind == .payload else {
            counters.misdirected += 1
            return
        }
        switch senders.refusal(of: header.sender, sequence: header.sequence) {
        case .staleBoot: counters.staleBoot += 1
        case .replayed: counters.replayed += 1
        case nil:
            guard let payload = codec.open(packet) else {
                counters.forged += 1
                return
            }
            if senders.record(header.sender, sequence: header.sequence) {
                closeOlder(than: header.sender)
            }
            take(payload, header, from: address)
        }
    }

    private func count(_ refusal: DatagramCodec.Refusal) {
        switch refusal {
        case .truncated: counters.truncated += 1
        case .oversized: counters.oversized += 1
        case .foreign: counters.foreign += 1
        case .wrongCluster: counters.wrongCluster += 1
        }
    }

    /// Takes an authentic datagram that did not come before.
    private func take(
        _ payload: [UInt8], _ header: DatagramCodec.Header, from address: SocketAddress
    ) {
        guard header.receiver == ownIdentity else {
            // It may be a recording; only what names this start of ours is fresh. Say who we are.
            counters.unintroduced += 1
            return send([], as: .introduction, to: address, receiver: header.sender)
        }
        switch header.kind {
        case .payload:
            counters.datagramsReceived += 1
            handlers?.datagram(header.sender, address, payload)
        case .introduction:
            counters.introductions += 1
            guard let place = awaitingIntroduction.firstIndex(where: { $0.address == address })
            else { return }
            let waiting = awaitingIntroduction.remove(at: place)
            send(waiting.datagram, as: .payload, to: address, receiver: header.sender)
        }
    }

    /// Closes what is left of a host's earlier starts: its agent is a new one.
    private func closeOlder(than sender: PeerIdentity) {
        for connection in Array(connections.values) {
            guard let peer = connection.peer, peer.hostID == sender.hostID,
                peer.bootEpoch < sender.bootEpoch
            else { continue }
            connection.close(.staleBoot)
        }
    }

    // MARK: - Messages

    func send(message: [UInt8], to host: HostID, at address: SocketAddress) {
        guard message.count <= configuration.messageBytesMax else {
            counters.oversized += 1
            return
        }
        guard !isStopped, host != side.keys.hostID else {
            counters.messagesLost += 1
            return
        }
        let link = links[host] ?? MessageLink(host: host, address: address, plane: self)
        links[host] = link
        link.send(message, at: address)
    }

    // MARK: - Connections of ours

    /// Prepares a call to an address; the caller sets the handler and starts it.
    func makeConnection(to address: SocketAddress) -> Connection {
        let connection = Connection(
            to: address, loop: loop, number: nextNumber(), side: side,
            configuration: configuration)
        register(connection)
        return connection
    }

    func nextNumber() -> UInt64 {
        lastConnection += 1
        return lastConnection
    }

    /// Enters a connection in the books until it is closed.
    func register(_ connection: Connection) {
        connections[connection.number] = connection
        connection.admits = { [weak self] in self?.admit($0) ?? false }
        connection.onClosed = { [weak self] in self?.didClose($0, $1) }
    }

    private func admit(_ peer: PeerIdentity) -> Bool {
        if let known = senders.bootEpoch(of: peer.hostID), known > peer.bootEpoch {
            counters.staleBoot += 1
            return false
        }
        if senders.note(peer) { closeOlder(than: peer) }
        return true
    }

    // MARK: - Time

    /// How often deadlines are looked at.
    private var tickInterval: Duration {
        min(.milliseconds(500), configuration.pingInterval / 4)
    }

    private func ticks(_ duration: Duration) -> Int {
        max(1, Int(clamping: duration.inNanoseconds / max(1, tickInterval.inNanoseconds)))
    }

    private func tick() {
        let now = loop.now()
        let pingTicks = ticks(configuration.pingInterval)
        let silenceTicks = ticks(configuration.silenceMax)
        for connection in Array(connections.values) {
            connection.tick(now: now, pingTicks: pingTicks, silenceTicks: silenceTicks)
        }
        let idleTicksMax = ticks(configuration.idleConnectionMax)
        for link in Array(links.values) where link.tick(idleTicksMax: idleTicksMax) {
            links[link.host] = nil
            link.close()
        }
        ticker?.start(after: tickInterval)
    }
}
