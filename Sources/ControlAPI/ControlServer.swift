import Base
import Glibc
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix

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
    /// How long a client may be silent while it owes the rest of a request.
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
    private let task: Task<Void, any Error>
    private let group: MultiThreadedEventLoopGroup
    private let path: String

    private init(task: Task<Void, any Error>, group: MultiThreadedEventLoopGroup, path: String) {
        self.task = task
        self.group = group
        self.path = path
    }

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
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let (ready, announce) = AsyncStream.makeStream(of: Result<Void, any Error>.self)
        let responder = ControlResponder(
            backend: backend, configuration: configuration, spool: spool)
        let task = Task {
            do {
                try await application(configuration, responder, group) {
                    announce.yield(Result { try socket.share(withGroup: configuration.groupName) })
                }.run()
            } catch {
                announce.yield(.failure(error))
                throw error
            }
        }
        let server = ControlServer(task: task, group: group, path: configuration.socketPath)
        do {
            for await outcome in ready {
                try outcome.get()
                break
            }
        } catch {
            await server.stop()
            throw error as? ControlError
                ?? ControlError(
                    .failed, "cannot listen at \(configuration.socketPath): \(error)")
        }
        return server
    }

    /// Ends all requests, closes and removes the socket.
    package func stop() async {
        task.cancel()
        _ = await task.result
        unlink(path)
        try? await group.shutdownGracefully()
    }

    private static func application(
        _ configuration: ControlServerConfiguration, _ responder: ControlResponder,
        _ group: MultiThreadedEventLoopGroup, running: @escaping @Sendable () -> Void
    ) -> Application<ControlResponder> {
        Application(
            responder: responder,
            server: .http1(
                configuration: HTTP1Channel.Configuration(
                    idleTimeout: .nanoseconds(configuration.idleTimeout.inNanoseconds),
                    httpDecoderConfiguration: HTTP1Channel.Configuration.DecoderConfiguration(
                        maxHeaderFieldSize: 64 << 10, maxHeaderListSize: 64 << 10,
                        maxHeaderFieldCount: 100))),
            configuration: ApplicationConfiguration(
                address: .unixDomainSocket(path: configuration.socketPath),
                availableConnectionsDelegate: MaximumAvailableConnections(
                    configuration.connectionsMax)),
            onServerRunning: { _ in running() },
            eventLoopGroupProvider: .shared(group),
            logger: Logger(label: "control") { _ in SwiftLogNoOpLogHandler() })
    }
}
