import Base
import EventLoop

/// A stream could not be opened, or ended before its time.
package enum PeerStreamError: Error, Sendable, CustomStringConvertible {
    /// The stream could not be opened.
    case notOpened(host: HostID, address: SocketAddress, reason: String)
    /// The connection broke; what was sent last may be lost.
    case broken(peer: PeerIdentity, reason: String)
    /// This side cancelled the stream.
    case cancelled
    /// This side sent after it had finished.
    case finished

    package var description: String {
        switch self {
        case .notOpened(let host, let address, let reason):
            "could not open a stream to host \(host.short) at \(address): \(reason)"
        case .broken(let peer, let reason):
            "the stream with host \(peer.hostID.short) broke: \(reason)"
        case .cancelled: "the stream was cancelled on this side"
        case .finished: "could not send on a stream that was finished on this side"
        }
    }
}

/// The loop's side of a stream: what waits in both directions.
///
/// On the loop's thread only.
final class StreamSession {
    /// A call of `send` or `finish` that has not returned.
    private struct Waiting {
        var bytes: [UInt8]
        var sent = 0
        var isEnd = false
        var completion: (Result<Void, PeerStreamError>) -> Void
    }

    /// Bytes given to the connection ahead of the kernel.
    private static let writeAheadMax = 256 << 10

    let peer: PeerIdentity
    private let connection: Connection
    private let bufferBytesMax: Int
    private var chunks: [[UInt8]] = []
    private var bufferedBytes = 0
    private var reader: ((Result<[UInt8]?, PeerStreamError>) -> Void)?
    private var waiting: [Waiting] = []
    private var isRemoteFinished = false
    private var isLocalFinished = false
    private var isEndSent = false
    private var failure: PeerStreamError?

    /// Takes over a connection that is ready to carry a stream.
    init(connection: Connection, peer: PeerIdentity, configuration: PeerPlaneConfiguration) {
        self.connection = connection
        self.peer = peer
        bufferBytesMax = configuration.streamBufferBytesMax
        // The connection keeps the session: bytes queued when the caller lets go are still sent.
        connection.handler = { self.handle($0) }
    }

    func send(_ bytes: [UInt8], _ completion: @escaping (Result<Void, PeerStreamError>) -> Void) {
        if let failure { return completion(.failure(failure)) }
        guard !isLocalFinished else { return completion(.failure(.finished)) }
        waiting.append(Waiting(bytes: bytes, completion: completion))
        pump()
    }

    /// Ends our side after all that waits.
    func finish(_ completion: @escaping () -> Void) {
        guard failure == nil, !isLocalFinished else { return completion() }
        isLocalFinished = true
        waiting.append(Waiting(bytes: [], isEnd: true) { _ in completion() })
        pump()
    }

    /// Hands over what came next; nil at the end.
    ///
    /// For one reader at a time.
    func receive(_ completion: @escaping (Result<[UInt8]?, PeerStreamError>) -> Void) {
        precondition(reader == nil, "a stream has one reader at a time")
        guard !chunks.isEmpty else {
            if isRemoteFinished { return completion(.success(nil)) }
            if let failure { return completion(.failure(failure)) }
            reader = completion
            return
        }
        let chunk = chunks.removeFirst()
        bufferedBytes -= chunk.count
        if bufferedBytes < bufferBytesMax { connection.setPaused(false) }
        completion(.success(chunk))
    }

    /// Ends both directions at once; what is unread is forgotten.
    func cancel() {
        guard failure == nil else { return }
        failure = .cancelled
        chunks = []
        isRemoteFinished = false
        // Both sides had finished already: the rest of ours is on its way.
        if !connection.isLingering { connection.close(.closedHere) }
        failAll(.cancelled)
    }

    private func handle(_ event: Connection.Event) {
        switch event {
        case .frame(.data, let bytes) where !isRemoteFinished: take(bytes)
        case .frame(.end, _) where !isRemoteFinished:
            isRemoteFinished = true
            if chunks.isEmpty { wake(.success(nil)) }
            finishConnectionIfDone()
        case .frame: connection.close(.protocolError("a frame that is none of a stream"))
        case .wrote: pump()
        case .closed(let end):
            guard failure == nil else { return }
            let error = PeerStreamError.broken(peer: peer, reason: end.description)
            failure = error
            failAll(error)
        case .established: break
        }
    }

    private func take(_ bytes: [UInt8]) {
        guard !bytes.isEmpty else { return }
        guard reader == nil else { return wake(.success(bytes)) }
        chunks.append(bytes)
        bufferedBytes += bytes.count
        if bufferedBytes >= bufferBytesMax { connection.setPaused(true) }
    }

    private func wake(_ result: Result<[UInt8]?, PeerStreamError>) {
        let waiter = reader
        reader = nil
        waiter?(result)
    }

    private func failAll(_ error: PeerStreamError) {
        let calls = waiting
        waiting = []
        for call in calls { call.completion(.failure(error)) }
        wake(.failure(error))
    }

    private func pump() {
        while failure == nil, let first = waiting.first,
            connection.queuedBytes < StreamSession.writeAheadMax
        {
            let end = min(first.bytes.count, first.sent + Connection.framePayloadMax)
            if first.isEnd {
                connection.send(.end)
            } else if end > first.sent {
                connection.send(.data, first.bytes[first.sent..<end])
            }
            guard failure == nil else { return }
            if end == first.bytes.count {
                waiting.removeFirst().completion(.success(()))
                if first.isEnd { return finishConnectionIfDone(endIsSent: true) }
            } else {
                waiting[0].sent = end
            }
        }
    }

    private func finishConnectionIfDone(endIsSent: Bool = false) {
        if endIsSent { isEndSent = true }
        if isEndSent, isRemoteFinished { connection.finish() }
    }
}
