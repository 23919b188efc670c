import Base
import ControlAPI
import Glibc
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// Where and within which bounds peers' backups are kept.
package struct BackupServerSettings: Sendable {
    /// The folder of all repositories; made with mode 0700.
    package var folder: String
    /// The socket's path, at most 107 bytes; its folder is made, its mode is 0600.
    package var socketPath: String
    /// The most that all repositories together may take, in bytes.
    package var quotaBytes: Int
    /// The largest file; restic makes files of 16 MiB, and of 128 MiB at the most.
    package var fileBytesMax: Int = 256 << 20
    /// Peers may add and read, but remove only locks, unless ``BackupServer/allowPruning(of:for:)``
    /// says otherwise for a while: so a peer that was broken into cannot remove its backups.
    package var isAppendOnly: Bool
    /// How long a connection may be silent.
    package var idleTimeout: Duration = .seconds(600)

    package init(
        folder: String = "/var/lib/shoal/backups", socketPath: String = "/run/shoal/backups.sock",
        quotaBytes: Int, isAppendOnly: Bool = true
    ) {
        self.folder = folder
        self.socketPath = socketPath
        self.quotaBytes = quotaBytes
        self.isAppendOnly = isAppendOnly
    }
}

/// Serves restic's REST protocol to this cluster's peers, on a unix socket that nobody else may use.
///
/// A file is accepted only when its content is what its name says (SHA-256), and shows only when it is
/// whole and on disk. Restic encrypts: this host learns sizes and times, nothing else.
package final class BackupServer: Sendable {
    /// The one thread of all servers of this process; it is never shut down, as `ControlServer`'s.
    private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private static let handover: Duration = .milliseconds(50)
    private static let grace: Duration = .seconds(1)

    /// The settings.
    package let settings: BackupServerSettings
    private let store: BlobStore
    private let permits: PruningPermits
    private let task: Task<Void, any Error>
    private let connections: OpenConnections
    private let listener: any Channel

    private init(
        settings: BackupServerSettings, store: BlobStore, permits: PruningPermits,
        task: Task<Void, any Error>, connections: OpenConnections, listener: any Channel
    ) {
        self.settings = settings
        self.store = store
        self.permits = permits
        self.task = task
        self.connections = connections
        self.listener = listener
    }

    /// Binds the socket and serves until ``stop()``; returns once peers can be served.
    ///
    /// Files that an earlier run had not finished are removed. Throws ``BackupError``.
    package static func start(_ settings: BackupServerSettings) async throws -> BackupServer {
        let store = try BlobStore(folder: settings.folder, quota: settings.quotaBytes)
        let permits = PruningPermits()
        let connections = OpenConnections()
        let (ready, announce) = AsyncStream.makeStream(of: Result<any Channel, any Error>.self)
        let responder = BackupResponder(settings: settings, store: store, permits: permits)
        do {
            try ControlSocket(path: settings.socketPath).prepare()
        } catch {
            throw BackupError.failed(attempt: "serve backups to peers", cause: "\(error)")
        }
        let task = Task {
            do {
                try await application(settings, responder, connections) { channel in
                    let isPrivate = chmod(settings.socketPath, 0o600) == 0
                    announce.yield(
                        isPrivate
                            ? .success(channel)
                            : .failure(
                                BackupError.file(
                                    .system(attempt: "protect the socket", code: errno))))
                }.run()
            } catch {
                announce.yield(.failure(error))
                throw error
            }
        }
        var outcome: Result<any Channel, any Error>?
        for await first in ready {
            outcome = first
            break
        }
        switch outcome {
        case .success(let channel):
            return BackupServer(
                settings: settings, store: store, permits: permits, task: task,
                connections: connections, listener: channel)
        case .failure(let error):
            task.cancel()
            throw BackupError.failed(
                attempt: "serve backups to peers at \(settings.socketPath)", cause: "\(error)")
        case nil: throw BackupError.cancelled(attempt: "serve backups to peers")
        }
    }

    /// Ends all requests, closes and removes the socket; in the steps that `ControlServer` has.
    package func stop() async {
        try? await listener.setOption(.autoRead, value: false).get()
        try? await Task.sleep(for: BackupServer.handover)
        try? await listener.close()
        connections.close()
        let patience = Task {
            try await Task.sleep(for: BackupServer.grace)
            task.cancel()
        }
        _ = await task.result
        patience.cancel()
        unlink(settings.socketPath)
    }

    /// Serves a peer whose stream this is, until it ends.
    ///
    /// For any stream that an authenticated peer opened for its backups.
    package func serve(_ stream: any BackupStream) async throws {
        let channel: ByteChannel
        do {
            channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .channelOption(.allowRemoteHalfClosure, value: true)
                .connect(unixDomainSocketPath: settings.socketPath) { channel in
                    channel.eventLoop.makeCompletedFuture { try ByteChannel.halfClosing(channel) }
                }
        } catch {
            stream.cancel()
            throw BackupError.failed(
                attempt: "serve a peer's backup at \(settings.socketPath)", cause: "\(error)")
        }
        try await channel.executeThenClose { inbound, outbound in
            try await carry(
                [], inbound.makeAsyncIterator(), outbound, stream, client: .stream)
        }
    }

    /// Lets peers remove files of a repository for a while, as `restic prune` does.
    ///
    /// `repository` is ``BackupRepository/path``.
    package func allowPruning(of repository: String, for duration: Duration) {
        permits.allow(repository, for: duration)
    }

    /// Takes that back.
    package func endPruning(of repository: String) { permits.end(repository) }

    /// Bytes that all repositories take.
    package var usedBytes: Int { store.usedBytes }

    private static func application(
        _ settings: BackupServerSettings, _ responder: BackupResponder,
        _ connections: OpenConnections, running: @escaping @Sendable (any Channel) -> Void
    ) -> Application<BackupResponder> {
        Application(
            responder: responder,
            server: .http1(
                configuration: HTTP1Channel.Configuration(
                    additionalChannelHandlers: [ConnectionNoter(connections)],
                    idleTimeout: .nanoseconds(settings.idleTimeout.inNanoseconds),
                    httpDecoderConfiguration: HTTP1Channel.Configuration.DecoderConfiguration(
                        maxHeaderFieldSize: 16 << 10, maxHeaderListSize: 16 << 10,
                        maxHeaderFieldCount: 50))),
            configuration: ApplicationConfiguration(
                address: .unixDomainSocket(path: settings.socketPath),
                availableConnectionsDelegate: MaximumAvailableConnections(128)),
            onServerRunning: { running($0) },
            eventLoopGroupProvider: .shared(BackupServer.group),
            logger: Logger(label: "backups") { _ in SwiftLogNoOpLogHandler() })
    }
}

/// Which repositories may be pruned, and until when.
final class PruningPermits: Sendable {
    private let ends = Mutex<[String: ContinuousClock.Instant]>([:])

    func allow(_ repository: String, for duration: Duration) {
        ends.withLock { $0[repository] = .now + duration }
    }

    func end(_ repository: String) { ends.withLock { $0[repository] = nil } }

    func allows(_ repository: String) -> Bool {
        ends.withLock { $0[repository].map { $0 > .now } ?? false }
    }
}
