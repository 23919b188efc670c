import Base
import FoundationEssentials
import NIOCore
import NIOPosix
import Synchronization

/// Lets restic, which speaks HTTP to an address only, reach a repository at a peer.
///
/// It listens on a port of this host's loopback that the kernel draws, for as long as it is open. Who
/// connects must name a user and a password that were drawn for this bridge alone, since any process
/// of the host may connect; each connection is then carried over a stream of its own.
package final class BackupBridge: Sendable {
    /// Where restic is to go, with what it needs to be let in.
    package let target: BackupTarget

    private let listener: any Channel
    private let connections: ConnectionTasks

    /// Bytes of a request's head, in which the password must be.
    static let headBytesMax = 16 << 10
    /// Connections at a time; restic opens five.
    static let connectionsMax = 64

    private init(target: BackupTarget, listener: any Channel, connections: ConnectionTasks) {
        self.target = target
        self.listener = listener
        self.connections = connections
    }

    /// Listens; `connect` opens a stream to the peer's ``BackupServer`` for each connection.
    ///
    /// Close it when the backup or restore has ended. Throws ``BackupError`` when nothing can listen.
    package static func open(
        connect: @escaping @Sendable () async throws -> any BackupStream
    ) async throws -> BackupBridge {
        let secret = drawnSecret()
        let login = Array(("Basic " + Data("shoal:\(secret)".utf8).base64EncodedString()).utf8)
        let connections = ConnectionTasks()
        let listener: any Channel
        do {
            listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .childChannelOption(.allowRemoteHalfClosure, value: true)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let bytes = try ByteChannel.halfClosing(channel)
                        connections.start(bytes) { bytes in
                            try await serve(bytes, login: login, connect: connect)
                        }
                    }
                }
                .bind(host: "127.0.0.1", port: 0).get()
        } catch {
            throw BackupError.failed(
                attempt: "listen on the loopback for a backup to a peer", cause: "\(error)")
        }
        let port = listener.localAddress?.port ?? 0
        return BackupBridge(
            target: .rest(
                RestPlace(url: "http://127.0.0.1:\(port)", user: "shoal", password: secret)),
            listener: listener, connections: connections)
    }

    /// Runs the body with a bridge that is closed afterwards.
    package static func with<Value: Sendable>(
        connect: @escaping @Sendable () async throws -> any BackupStream,
        body: (BackupTarget) async throws -> Value
    ) async throws -> Value {
        let bridge = try await open(connect: connect)
        do {
            let value = try await body(bridge.target)
            await bridge.close()
            return value
        } catch {
            await bridge.close()
            throw error
        }
    }

    /// Stops listening and ends every connection.
    package func close() async {
        try? await listener.close()
        await connections.end()
    }

    private static func serve(
        _ bytes: ByteChannel, login: [UInt8],
        connect: @Sendable () async throws -> any BackupStream
    ) async throws {
        try await bytes.executeThenClose { inbound, outbound in
            var iterator = inbound.makeAsyncIterator()
            var head: [UInt8] = []
            while RequestHead.end(of: head) == nil {
                guard head.count <= headBytesMax, let run = try await iterator.next() else {
                    return
                }
                head += run.readableBytesView
            }
            guard RequestHead.login(in: head).map({ same($0, login) }) == true else {
                try await outbound.write(
                    ByteBuffer(
                        string: "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n"
                            + "Connection: close\r\n\r\n"))
                return
            }
            try await carry(
                head, iterator, outbound, try await connect(), client: .connection)
        }
    }

    /// Compares without telling by the time taken how much is right.
    private static func same(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.count == right.count
            && zip(left, right).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }

    private static func drawnSecret() -> String {
        var random = SystemRandomNumberGenerator()
        return hexadecimal((0..<24).map { _ in UInt8(truncatingIfNeeded: random.next()) })
    }
}

/// The head of a request, as far as a bridge looks into it.
enum RequestHead {
    /// Where the head ends; nil while it has not.
    static func end(of bytes: [UInt8]) -> Int? {
        guard bytes.count >= 4 else { return nil }
        for index in 0...(bytes.count - 4) where bytes[index] == 13 {
            if bytes[index..<index + 4].elementsEqual([13, 10, 13, 10]) { return index + 4 }
        }
        return nil
    }

    /// What follows `Authorization:`; nil when there is no such line, or more than one.
    static func login(in bytes: [UInt8]) -> [UInt8]? {
        let head = bytes.prefix(end(of: bytes) ?? 0)
        let values = head.split(separator: 10).compactMap { line -> [UInt8]? in
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return nil }
            let name = String(decoding: line[..<colon], as: UTF8.self).lowercased()
            guard name == "authorization" else { return nil }
            return line[(colon + 1)...].filter { $0 != 13 }.drop { $0 == 32 }.map { $0 }
        }
        return values.count == 1 ? values[0] : nil
    }
}

/// The tasks of open connections, at most so many; each is handled from its first moment on.
final class ConnectionTasks: Sendable {
    private struct State {
        var tasks: [Int: Task<Void, Never>] = [:]
        var last = 0
        var isEnded = false
    }

    private let state = Mutex(State())

    /// Handles a connection in a task of its own; closes it at once after the end, or above the bound.
    func start(
        _ channel: ByteChannel, _ body: @escaping @Sendable (ByteChannel) async throws -> Void
    ) {
        state.withLock { state in
            let refuses = state.isEnded || state.tasks.count >= BackupBridge.connectionsMax
            state.last += 1
            let number = state.last
            state.tasks[number] = Task {
                do {
                    if refuses {
                        try await channel.executeThenClose { _, _ in }
                    } else {
                        try await body(channel)
                    }
                } catch {
                    // Restic sees the connection break, and says so.
                }
                self.remove(number)
            }
        }
    }

    /// Ends all of them and waits.
    func end() async {
        let tasks = state.withLock { state in
            state.isEnded = true
            return Array(state.tasks.values)
        }
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }

    private func remove(_ number: Int) { state.withLock { $0.tasks[number] = nil } }
}
