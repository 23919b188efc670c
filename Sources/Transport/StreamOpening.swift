import Base
import EventLoop

/// A stream of ours that is about to open.
///
/// On the loop's thread only.
final class StreamOpening {
    private let host: HostID
    private let address: SocketAddress
    private let header: [UInt8]
    private var connection: Connection?
    private var timer: LoopTimer?
    private var completion: ((Result<PeerStream, PeerStreamError>) -> Void)?

    init(host: HostID, address: SocketAddress, header: [UInt8]) {
        self.host = host
        self.address = address
        self.header = header
    }

    /// Calls the peer; `completion` runs once.
    func start(
        in plane: PlaneCore, timeout: Duration,
        completion: @escaping (Result<PeerStream, PeerStreamError>) -> Void
    ) {
        self.completion = completion
        guard plane.isRunning else { return give(up: "the peer plane does not run") }
        guard host != plane.side.keys.hostID else { return give(up: "that is this host itself") }
        guard header.count <= plane.configuration.streamHeaderBytesMax else {
            return give(up: "the header is longer than allowed")
        }
        let reference = LoopBound(value: self)
        timer = LoopTimer(loop: plane.loop) { reference.value?.give(up: "it took too long") }
        timer?.start(after: timeout)
        let connection = plane.makeConnection(to: address)
        self.connection = connection
        // The connection keeps this object until it is open or closed.
        connection.handler = { self.handle($0, plane) }
        connection.start(expecting: host)
    }

    /// Ends the attempt, unless it has ended.
    func give(up reason: String) {
        guard let completion else { return }
        self.completion = nil
        timer?.close()
        let failed = connection
        connection = nil
        failed?.close(.closedHere)
        completion(.failure(.notOpened(host: host, address: address, reason: reason)))
    }

    private func handle(_ event: Connection.Event, _ plane: PlaneCore) {
        switch event {
        case .established: connection?.send(.openStream, header)
        case .wrote: break
        case .frame(.ready, _): succeed(plane)
        case .frame: connection?.close(.protocolError("an answer that is none"))
        case .closed(let end):
            if completion != nil { plane.counters.connectFailed += 1 }
            give(up: end.description)
        }
    }

    private func succeed(_ plane: PlaneCore) {
        guard let completion, let connection, let peer = connection.peer else { return }
        self.completion = nil
        self.connection = nil
        timer?.close()
        let session = StreamSession(
            connection: connection, peer: peer, configuration: plane.configuration)
        completion(.success(PeerStream(loop: plane.loop, session: session)))
    }
}
