import Base
import EventLoop

/// What a frame is; the first byte of its text.
enum FrameKind: UInt8 {
    /// The caller's signature; always its first frame.
    case proof = 1
    /// The called side takes the connection for what it was opened.
    case ready = 2
    /// Opens a message connection.
    case openMessages = 3
    /// Opens a stream; carries its header.
    case openStream = 4
    /// A part of a message that goes on in the next frame.
    case messagePart = 5
    /// The last part of a message.
    case messageEnd = 6
    /// Bytes of a stream.
    case data = 7
    /// The sender's side of a stream is finished.
    case end = 8
    /// Nothing to say, but alive.
    case ping = 9
}

/// Why a connection ended.
enum ConnectionEnd: Error, CustomStringConvertible {
    case failed(LoopError)
    case timedOut(String)
    case refused(HandshakeRefusal)
    case staleBoot
    case peerClosed
    case turnedAway
    case protocolError(String)
    case silent
    case tooMany
    case closedHere

    var description: String {
        switch self {
        case .failed(let error): error.description
        case .timedOut(let what): "\(what) took too long"
        case .refused(.notAMember): "the other end is no member of this cluster"
        case .refused(.wrongIdentity(let host)): "the other end is host \(host.short)"
        case .refused(.badSignature): "the other end could not prove its identity"
        case .refused(.ourself): "the other end is this host, or uses a copy of its key"
        case .staleBoot: "the other end is an older start of its agent"
        case .peerClosed: "the other end closed the connection"
        case .turnedAway:
            "the other end hung up on this host: another cluster (is the join token the right one?), "
                + "or too many connections there"
        case .protocolError(let what): "the other end broke the protocol: \(what)"
        case .silent: "the other end fell silent"
        case .tooMany: "there are too many connections"
        case .closedHere: "closed on this side"
        }
    }
}

/// One TCP connection: handshake, sealed frames, pings, deadlines.
///
/// On the loop's thread only.
///
/// A frame on the wire is a length (4 bytes, authenticated, bounded before anything is allocated)
/// and the sealed text: a kind byte and at most 64 KiB.
final class Connection {
    /// What the owner is told.
    enum Event {
        /// The other side has proven who it is: `peer` is set.
        case established
        /// A frame came, in order.
        case frame(FrameKind, [UInt8])
        /// The kernel took something: there may be room to write.
        case wrote
        /// Over; nothing follows.
        case closed(ConnectionEnd)
    }

    private enum Phase {
        case connecting
        case awaitingHello
        case awaitingReply(Handshake.Initiator)
        case awaitingProof(Handshake.Responder)
        case open
        /// Our side is finished; the rest of the other side is read and thrown away.
        case lingering
        case closed
    }

    /// Bytes of a frame's payload at most.
    static let framePayloadMax = 65_536
    private static let frameOverhead = 1 + Sodium.tagBytes

    let number: UInt64
    let remote: SocketAddress
    let isInbound: Bool
    /// Who is on the other side; proven from `established` on.
    private(set) var peer: PeerIdentity?
    /// The owner's handler.
    var handler: ((Event) -> Void)?
    /// The plane's: for its books.
    var onClosed: ((Connection, ConnectionEnd) -> Void)?
    /// Says whether this start of that host may connect.
    var admits: ((PeerIdentity) -> Bool)?

    private let stream: TCPStream
    private let side: Handshake.Side
    private let configuration: PeerPlaneConfiguration
    private var phase: Phase
    private var deadline: Instant
    private var sealing: FrameCipher?
    private var opening: FrameCipher?
    private var inbox: [UInt8] = []
    private var position = 0
    private var isPaused = false
    private var silentTicks = 0
    private var quietTicks = 0

    /// Takes an accepted connection.
    init(
        accepted stream: TCPStream, from remote: SocketAddress, number: UInt64,
        side: Handshake.Side, configuration: PeerPlaneConfiguration
    ) {
        self.stream = stream
        self.remote = remote
        self.number = number
        self.side = side
        self.configuration = configuration
        isInbound = true
        phase = .awaitingHello
        deadline = stream.loop.now() + configuration.handshakeTimeout
    }

    /// Prepares a call; `start` makes it.
    init(
        to remote: SocketAddress, loop: EventLoop, number: UInt64, side: Handshake.Side,
        configuration: PeerPlaneConfiguration
    ) {
        stream = TCPStream(loop: loop)
        self.remote = remote
        self.number = number
        self.side = side
        self.configuration = configuration
        isInbound = false
        phase = .connecting
        deadline = loop.now() + configuration.connectTimeout
    }

    /// Calls `expected`; whatever goes wrong comes as `closed`, also at once.
    func start(expecting expected: HostID) {
        do throws(LoopError) {
            try stream.connect(to: remote) { [weak self] error in
                self?.didConnect(error, expected)
            }
        } catch { close(.failed(error)) }
    }

    /// Reads from an accepted connection.
    func start() {
        stream.startReading { [weak self] in self?.didRead($0) }
    }

    /// Bytes that the kernel has not taken.
    var queuedBytes: Int { stream.queuedBytes }

    /// True when both sides have finished and only the end of the bytes is awaited.
    var isLingering: Bool {
        if case .lingering = phase { return true }
        return false
    }

    /// True from the end on.
    var isClosed: Bool {
        if case .closed = phase { return true }
        return false
    }

    /// Seals and queues one frame; ignored unless the connection is open.
    func send(_ kind: FrameKind, _ payload: some Collection<UInt8> = [UInt8]()) {
        guard case .open = phase else { return }
        write(kind, payload)
    }

    /// Lets the sender wait, or go on.
    func setPaused(_ paused: Bool) {
        guard paused != isPaused, !isClosed else { return }
        isPaused = paused
        silentTicks = 0
        if paused { stream.stopReading() } else { stream.resumeReading() }
    }

    /// Ends the connection once all is written and the other side is finished too.
    ///
    /// Closing at once could lose what was written: with unread pings in the kernel's buffer it
    /// sends a reset.
    func finish() {
        guard case .open = phase else { return }
        phase = .lingering
        handler = nil
        setPaused(false)
        silentTicks = 0
        stream.finishWriting()
    }

    /// Ends the connection at once.
    func close(_ end: ConnectionEnd) {
        guard !isClosed else { return }
        phase = .closed
        switch end {
        // What the kernel has taken is still delivered.
        case .peerClosed, .closedHere: stream.close()
        default: stream.reset()
        }
        let owner = handler
        handler = nil
        owner?(.closed(end))
        onClosed?(self, end)
        onClosed = nil
    }

    /// Keeps the deadlines; called every `tick` of the plane.
    ///
    /// Silence is counted in ticks, not by the clock: a loop that stood still hears first what
    /// came meanwhile.
    func tick(now: Instant, pingTicks: Int, silenceTicks: Int) {
        switch phase {
        case .connecting:
            if now > deadline { close(.timedOut("connecting to \(remote)")) }
        case .awaitingHello, .awaitingReply, .awaitingProof:
            if now > deadline { close(.timedOut("the handshake with \(remote)")) }
        case .open:
            quietTicks += 1
            if quietTicks >= pingTicks, queuedBytes == 0 { send(.ping) }
            if !isPaused { silentTicks += 1 }
            if silentTicks > silenceTicks { close(.silent) }
        case .lingering:
            silentTicks += 1
            if silentTicks > silenceTicks { close(.silent) }
        case .closed: break
        }
    }

    // MARK: - Reading

    private func didConnect(_ error: LoopError?, _ expected: HostID) {
        guard case .connecting = phase else { return }
        if let error { return close(.failed(error)) }
        let initiator = Handshake.Initiator(side: side, expected: expected)
        phase = .awaitingReply(initiator)
        deadline = stream.loop.now() + configuration.handshakeTimeout
        start()
        writeRaw(initiator.hello)
    }

    private func didRead(_ event: ByteStream.Event) {
        silentTicks = 0
        switch event {
        case .end: close(isAwaitingReply ? .turnedAway : .peerClosed)
        case .failed(let error): close(isAwaitingReply ? .turnedAway : .failed(error))
        case .bytes(let bytes):
            if case .lingering = phase { return }
            inbox += bytes
            do throws(ConnectionEnd) {
                while try step() {}
            } catch { return close(error) }
            if position > 0 {
                inbox.removeFirst(position)
                position = 0
            }
        }
    }

    /// True between our hello and the answer: an end then means that the hello was not liked.
    private var isAwaitingReply: Bool {
        if case .awaitingReply = phase { return true }
        return false
    }

    /// Takes `count` bytes of the inbox, if they are there.
    private func take(_ count: Int) -> [UInt8]? {
        guard inbox.count - position >= count else { return nil }
        defer { position += count }
        return Array(inbox[position..<position + count])
    }

    /// Handles one handshake message or frame; false when there is none.
    private func step() throws(ConnectionEnd) -> Bool {
        do throws(HandshakeRefusal) {
            switch phase {
            case .connecting, .closed, .lingering: return false
            case .awaitingHello:
                guard Handshake.mayBeHello(inbox) else { throw .notAMember }
                guard let hello = take(Handshake.helloBytes) else { return false }
                let responder = try Handshake.Responder(side: side, hello: hello)
                phase = .awaitingProof(responder)
                sealing = responder.result.sealing
                opening = responder.result.opening
                writeRaw(responder.reply)
                return true
            case .awaitingReply(let initiator):
                guard let reply = take(Handshake.replyBytes) else { return false }
                let (result, proof) = try initiator.finish(reply: reply)
                sealing = result.sealing
                opening = result.opening
                establish(result.peer, proof: proof)
                return true
            case .awaitingProof, .open: break
            }
        } catch { throw .refused(error) }
        return try stepFrame()
    }

    private func establish(_ peer: PeerIdentity, proof: [UInt8]?) {
        guard admits?(peer) ?? true else { return close(.staleBoot) }
        self.peer = peer
        phase = .open
        if let proof { write(.proof, proof) }
        handler?(.established)
    }

    private func stepFrame() throws(ConnectionEnd) -> Bool {
        guard inbox.count - position >= 4 else { return false }
        let header = Array(inbox[position..<position + 4])
        let length = Int(Transport.number(bigEndian: header))
        guard lengthsAllowed.contains(length) else {
            throw .protocolError("a frame of \(length) bytes")
        }
        guard let whole = take(4 + length) else { return false }
        guard let text = opening?.open(Array(whole[4...]), header: header),
            let kind = text.first.flatMap({ FrameKind(rawValue: $0) })
        else {
            if case .awaitingProof = phase { throw .refused(.notAMember) }
            throw .protocolError("a frame that does not open")
        }
        let payload = Array(text[1...])
        guard case .awaitingProof(let responder) = phase else {
            if kind != .ping { handler?(.frame(kind, payload)) }
            return true
        }
        guard kind == .proof, responder.accepts(proof: payload) else {
            throw .refused(.badSignature)
        }
        establish(responder.result.peer, proof: nil)
        return true
    }

    /// Sealed bytes that the next frame may have; one size alone before the other side's proof.
    private var lengthsAllowed: ClosedRange<Int> {
        let overhead = Connection.frameOverhead
        guard case .awaitingProof = phase else {
            return overhead...(Connection.framePayloadMax + overhead)
        }
        return (Sodium.signatureBytes + overhead)...(Sodium.signatureBytes + overhead)
    }

    // MARK: - Writing

    private func write(_ kind: FrameKind, _ payload: some Collection<UInt8>) {
        precondition(payload.count <= Connection.framePayloadMax, "a frame is at most 64 KiB")
        quietTicks = 0
        let length = UInt64(payload.count + Connection.frameOverhead)
        let header = Array(bigEndian(length).suffix(4))
        guard let sealed = sealing?.seal([kind.rawValue] + payload, header: header) else { return }
        writeRaw(header + sealed)
    }

    private func writeRaw(_ bytes: [UInt8]) {
        do throws(LoopError) {
            try stream.write(bytes) { [weak self] error in
                guard let self else { return }
                if let error { return close(.failed(error)) }
                handler?(.wrote)
            }
        } catch { close(.failed(error)) }
    }
}
