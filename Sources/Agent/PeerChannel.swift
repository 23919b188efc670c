import Base
import Transport
import Wire

/// Whole messages over a stream between two agents.
///
/// A stream is bytes, in pieces of its own choosing: a message may arrive in several of them, and
/// one piece may hold several. Here each message is preceded by its length. One reader and one
/// writer at a time.
actor PeerChannel {
    /// The largest message, in bytes.
    static let messageBytesMax = 4 << 20

    nonisolated let stream: PeerStream
    private var buffer: [UInt8] = []

    init(_ stream: PeerStream) { self.stream = stream }

    /// Sends one message.
    nonisolated func send(_ message: some WireCodable) async throws {
        let bytes = message.encoded
        guard bytes.count <= PeerChannel.messageBytesMax else {
            throw AgentError("a message of \(bytes.count) bytes is too long for another host")
        }
        let length = UInt32(bytes.count)
        let head = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: length >> $0) }
        try await stream.send(head + bytes)
    }

    /// Receives one message; nil when the other side has finished between two of them.
    ///
    /// `patience` bounds the wait for each piece; nil waits as long as the connection lives.
    func receive<Message: WireCodable & Sendable>(
        _ type: Message.Type = Message.self, patience: Duration? = nil
    ) async throws -> Message? {
        guard try await fill(4, patience: patience) else {
            guard buffer.isEmpty else { throw AgentError("the answer broke off") }
            return nil
        }
        let length = buffer.prefix(4).reduce(0) { $0 << 8 | Int($1) }
        guard length <= PeerChannel.messageBytesMax else {
            throw AgentError("the other host sent a message of \(length) bytes: too long")
        }
        guard try await fill(4 + length, patience: patience) else {
            throw AgentError("the answer broke off")
        }
        let message = try Message(decoding: Array(buffer[4..<4 + length]))
        buffer.removeFirst(4 + length)
        return message
    }

    /// Receives raw bytes, as many as there are; nil when the other side has finished.
    func receiveBytes(patience: Duration? = nil) async throws -> [UInt8]? {
        guard buffer.isEmpty else {
            defer { buffer = [] }
            return buffer
        }
        return try await piece(patience: patience)
    }

    /// Says no and closes.
    func refuse(_ reason: String) async throws {
        try await send(PeerReply.refused(reason))
        await finish()
    }

    /// Waits for the other side's word; throws its refusal.
    func expectReady(patience: Duration = .seconds(10)) async throws {
        guard let reply = try await receive(PeerReply.self, patience: patience) else {
            throw AgentError("the host closed the connection without an answer")
        }
        if case .refused(let reason) = reply {
            stream.cancel()
            throw AgentError(reason)
        }
    }

    /// Ends our side, and waits until the other has everything and closes its own.
    func finish() async {
        await stream.finish()
        await drain()
    }

    /// Receives until the other side closes: only then has everything that was sent arrived.
    func drain() async {
        while let _ = try? await stream.receive() {}
    }

    nonisolated func cancel() { stream.cancel() }

    private func fill(_ count: Int, patience: Duration?) async throws -> Bool {
        while buffer.count < count {
            guard let bytes = try await piece(patience: patience) else { return false }
            buffer += bytes
        }
        return true
    }

    private func piece(patience: Duration?) async throws -> [UInt8]? {
        guard let patience else { return try await stream.receive() }
        // A host that hangs keeps its connection alive; whoever waits for it must not hang too.
        let stream = stream
        let watch = Task {
            try await Task.sleep(for: patience)
            stream.cancel()
        }
        defer { watch.cancel() }
        return try await stream.receive()
    }
}
