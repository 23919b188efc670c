import Base
import Glibc
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// Where and within which bounds the local API is served.
package struct ControlServerConfiguration: Sendable {
    /// The socket's path, at most 107 bytes; its folder is made.
    package var socketPath: String
    /// The group that may use the socket beside root, if the host has it.
    package var groupName: String
    /// Where uploads wait, in files of mode 0600; made with mode 0700.
    package var spoolFolder: String
    /// The largest JSON body.
    package var jsonBytesMax: Int = 1 << 20
    /// The largest image archive.
    package var uploadBytesMax: Int = 32 << 30
    /// How many uploads may be spooled at once; more are refused.
    package var uploadsMax: Int = 2
    /// How many connections may be open; more wait in the kernel's queue.
    package var connectionsMax: Int = 128
    /// How many log and command streams may be open; more are refused, so that short requests
    /// always find room.
    package var streamsMax: Int = 96
    /// How long a client may take for a whole request that is neither an upload nor a command's
    /// input: from the connection, or the last answer, to its end.
    package var requestTimeout: Duration = .seconds(5)
    /// How long a client may be silent in the middle of an upload.
    package var idleTimeout: Duration = .seconds(60)
    /// How long the agent may take for an answer that is not a stream or an image.
    package var answerTimeout: Duration = .seconds(30)

    package init(
        socketPath: String = "/run/shoal/shoal.sock", groupName: String = "shoal",
        spoolFolder: String = "/var/lib/shoal/spool"
    ) {
        self.socketPath = socketPath
        self.groupName = groupName
        self.spoolFolder = spoolFolder
    }
}

/// The local API: HTTP and JSON on a unix socket, on one thread of its own.
package final class ControlServer: Sendable {
    /// The one thread of all servers of this process; it is never shut down.
    ///
    /// Hummingbird lets go of its server a moment after its `run()` has returned, and what it lets
    /// go of schedules work on its loop once more (`ServerQuiescingHelper.deinit`).
    private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    private let task: Task<Void, any Error>
    private let connections: OpenConnections
    private let listener: Mutex<(any Channel)?>
    private let path: String

    private init(
        task: Task<Void, any Error>, connections: OpenConnections, path: String
    ) {
        self.task = task
        self.connections = connections
        self.path = path
        listener = Mutex(nil)
    }

    /// How long running requests may go on after ``stop()``.
    private static let grace: Duration = .seconds(1)

    /// How long an accepted connection has to reach its handler, which takes microseconds.
    private static let handover: Duration = .milliseconds(50)

    /// Binds the socket and serves until ``stop()``; returns once clients can connect.
    ///
    /// The socket has mode 0660. A socket file on which nobody listens is replaced; one on which
    /// somebody does is an error that says so.
    package static func start(
        _ configuration: ControlServerConfiguration, backend: any ControlBackend
    ) async throws -> ControlServer {
        let socket = ControlSocket(path: configuration.socketPath)
        try socket.prepare()
        let spool = UploadSpool(
            folder: configuration.spoolFolder, bytesMax: configuration.uploadBytesMax,
            uploadsMax: configuration.uploadsMax)
        try spool.prepare()
        let connections = OpenConnections()
        let (ready, announce) = AsyncStream.makeStream(of: Result<any Channel, any Error>.self)
        let responder = ControlResponder(
            backend: backend, configuration: configuration, spool: spool,
            streams: StreamPlaces(configuration.streamsMax))
        let task = Task {
            do {
                try await application(configuration, responder, connections) { channel in
                    announce.yield(
                        Result {
                            try socket.share(withGroup: configuration.groupName)
                            return channel
                        })
                }.run()
            } catch {
                announce.yield(.failure(error))
                throw error
            }
        }
        let server = ControlServer(
            task: task, connections: connections, path: configuration.socketPath)
        for await outcome in ready {
            switch outcome {
            case .success(let channel): server.listener.withLock { $0 = channel }
            case .failure(let error):
                await server.stop()
                throw error as? ControlError
                    ?? ControlError(
                        .failed, "cannot listen at \(configuration.socketPath): \(error)")
            }
            break
        }
        return server
    }

    /// Ends all requests, closes and removes the socket.
    ///
    /// In steps, because NIO stops the program when a connection that it accepted is dropped before
    /// anybody handled it: nothing new is accepted, what was accepted gets time to be handed over,
    /// the listener is closed, then what is open. Only requests that do not end by that are cancelled.
    package func stop() async {
        if let channel = listener.withLock({ $0.take() }) {
            try? await channel.setOption(.autoRead, value: false).get()
            try? await Task.sleep(for: ControlServer.handover)
            try? await channel.close()
        }
        connections.close()
        let patience = Task {
            try await Task.sleep(for: ControlServer.grace)
            task.cancel()
        }
        _ = await task.result
        patience.cancel()
        unlink(path)
    }

    private static func application(
        _ configuration: ControlServerConfiguration, _ responder: ControlResponder,
        _ connections: OpenConnections,
        running: @escaping @Sendable (any Channel) -> Void
    ) -> Application<ControlResponder> {
        Application(
            responder: responder,
            server: .http1(
                configuration: HTTP1Channel.Configuration(
                    additionalChannelHandlers: [
                        ConnectionNoter(connections),
                        RequestDeadline(
                            .nanoseconds(configuration.requestTimeout.inNanoseconds)),
                    ],
                    idleTimeout: .nanoseconds(configuration.idleTimeout.inNanoseconds),
                    httpDecoderConfiguration: HTTP1Channel.Configuration.DecoderConfiguration(
                        maxHeaderFieldSize: 64 << 10, maxHeaderListSize: 64 << 10,
                        maxHeaderFieldCount: 100))),
            configuration: ApplicationConfiguration(
                address: .unixDomainSocket(path: configuration.socketPath),
                availableConnectionsDelegate: MaximumAvailableConnections(
                    configuration.connectionsMax)),
            onServerRunning: { running($0) },
            eventLoopGroupProvider: .shared(ControlServer.group),
            logger: Logger(label: "control") { _ in SwiftLogNoOpLogHandler() })
    }
}
