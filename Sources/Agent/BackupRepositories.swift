import BackupStore
import Base
import ClusterModel
import VolumePlan

/// Finds and opens the repositories of volumes: one for each volume and place.
struct BackupRepositories: Sendable {
    /// Who this host is to servers outside the cluster.
    let credentials: BackupCredentials
    /// The password of every repository of the cluster.
    let password: String
    /// The cluster's folder in every target.
    let cluster: String
    /// Leads to other hosts.
    let driver: PeerDriver
    /// Keeps other hosts' backups; nil when this host keeps none.
    let server: BackupServer?

    /// How long a peer may take to say whether it serves.
    private static let patience = Duration.seconds(10)
    /// How long one request may prune.
    private static let pruneLimit = Duration.seconds(3_600)

    /// Runs the body with a volume's repository at a place; `me` is this host.
    ///
    /// `prunes`: the body may remove what is in it.
    func with<Value: Sendable>(
        _ place: BackupPlace, _ name: VolumeName, me: HostID, prunes: Bool = false,
        _ body: @Sendable (BackupRepository) async throws -> Value
    ) async throws -> Value {
        if let host = place.host {
            return try await withPeer(host, name, me: me, prunes: prunes, body)
        }
        switch BackupDestination(place.target) {
        case .folder(let path)?: return try await body(repository(.directory(path: path), name))
        case .remote(let location)?:
            return try await body(repository(try credentials.target(location), name))
        case .peers?, nil:
            throw AgentError("'\(place.target)' is no place that this version knows")
        }
    }

    private func repository(
        _ target: BackupTarget, _ name: VolumeName
    ) throws -> BackupRepository {
        try BackupRepository(target: target, cluster: cluster, volume: name, password: password)
    }

    // MARK: - At peers

    private func withPeer<Value: Sendable>(
        _ host: HostID, _ name: VolumeName, me: HostID, prunes: Bool,
        _ body: @Sendable (BackupRepository) async throws -> Value
    ) async throws -> Value {
        let request = PeerRequest.backups(volume: name.description, prunes: prunes)
        if host != me {
            // Asked once before restic asks, which would hide why it is refused.
            let channel = try await open(request, at: host)
            channel.cancel()
        } else {
            guard let server else { throw AgentError("this host keeps no backups any more") }
            if prunes { allowPruning(name, server) }
        }
        return try await BackupBridge.with {
            if host != me { return PeerBackupStream(try await open(request, at: host)) }
            let (near, far) = LocalBackupStream.pair()
            Task { try await server?.serve(far) }
            return near
        } body: { target in
            try await body(repository(target, name))
        }
    }

    private func open(_ request: PeerRequest, at host: HostID) async throws -> PeerChannel {
        do {
            let channel = PeerChannel(
                try await driver.openStream(to: host, header: request.encoded))
            do {
                try await channel.expectReady(patience: BackupRepositories.patience)
                return channel
            } catch {
                channel.cancel()
                throw error
            }
        } catch { throw BackupPeerError("\(error)") }
    }

    private func allowPruning(_ name: VolumeName, _ server: BackupServer) {
        server.allowPruning(
            of: "\(cluster)/\(name.folderName)", for: BackupRepositories.pruneLimit)
    }

    // MARK: - For peers

    /// Answers a peer that wants to keep backups here, or to read them.
    ///
    /// Any host of the cluster may add and read; only the one that has the volume may remove.
    func serve(
        volume: String, prunes: Bool, isHolder: Bool, to channel: PeerChannel
    ) async throws {
        guard let server else {
            return try await channel.refuse(BackupPeerError.keepsNone)
        }
        guard let name = VolumeName(volume), name.snapshot == nil else {
            return try await channel.refuse("'\(volume.prefix(100))' is no volume")
        }
        if prunes {
            guard isHolder else {
                return try await channel.refuse(BackupPeerError.holderOnly(name))
            }
            allowPruning(name, server)
        }
        try await channel.send(PeerReply.ready)
        try await server.serve(PeerBackupStream(channel))
    }
}

/// A host does not answer for its repositories, or refuses.
struct BackupPeerError: Error, CustomStringConvertible {
    /// Its words, or what keeps it from them.
    let description: String

    init(_ description: String) { self.description = description }

    /// What a host says that keeps no backups.
    static let keepsNone = "it keeps no backups of other hosts: backup-quota is 0 there"

    /// What a host says to one that wants to remove backups of a volume that is another's.
    static func holderOnly(_ name: VolumeName) -> String {
        "only the host that has \(name)" + holderEnd
    }

    private static let holderEnd = " may remove backups of it"

    /// Whom to pass over for this.
    var blame: BackupBlame {
        if description == BackupPeerError.keepsNone { return .host }
        // One of the two does not know yet who has the volume; that passes.
        return description.hasSuffix(BackupPeerError.holderEnd) ? .nobody : .repository
    }
}

/// The bytes of a backup's connection over a stream to or from a peer.
private struct PeerBackupStream: BackupStream {
    let channel: PeerChannel

    init(_ channel: PeerChannel) { self.channel = channel }

    func send(_ bytes: [UInt8]) async throws { try await channel.stream.send(bytes) }
    func receive() async throws -> [UInt8]? { try await channel.receiveBytes() }
    func finish() async { await channel.stream.finish() }
    func cancel() { channel.cancel() }
}

/// The bytes of a backup's connection to this host's own server: two ends of one pipe.
private struct LocalBackupStream: BackupStream {
    private let inbound: BytePipe
    private let outbound: BytePipe

    static func pair() -> (LocalBackupStream, LocalBackupStream) {
        let (one, other) = (BytePipe(), BytePipe())
        return (
            LocalBackupStream(inbound: one, outbound: other),
            LocalBackupStream(inbound: other, outbound: one)
        )
    }

    func send(_ bytes: [UInt8]) async throws { try await outbound.send(bytes) }
    func receive() async throws -> [UInt8]? { try await inbound.receive() }
    func finish() async { await outbound.finish() }
    func cancel() {
        Task {
            await inbound.cancel()
            await outbound.cancel()
        }
    }
}

/// Bytes from one task to another: the sender waits while the receiver has not taken what was sent.
private actor BytePipe {
    private var waiting: [[UInt8]] = []
    private var isFinished = false
    private var isCancelled = false
    private var reader: CheckedContinuation<Void, Never>?
    private var writer: CheckedContinuation<Void, Never>?

    func send(_ bytes: [UInt8]) async throws {
        while !waiting.isEmpty, !isCancelled {
            await withCheckedContinuation { writer = $0 }
        }
        guard !isCancelled, !isFinished else { throw AgentError("the other side is gone") }
        waiting.append(bytes)
        wake(&reader)
    }

    func receive() async throws -> [UInt8]? {
        while waiting.isEmpty, !isFinished, !isCancelled {
            await withCheckedContinuation { reader = $0 }
        }
        guard !isCancelled else { throw AgentError("the other side is gone") }
        guard !waiting.isEmpty else { return nil }
        defer { wake(&writer) }
        return waiting.removeFirst()
    }

    func finish() {
        isFinished = true
        wake(&reader)
        wake(&writer)
    }

    func cancel() {
        isCancelled = true
        wake(&reader)
        wake(&writer)
    }

    private func wake(_ waiter: inout CheckedContinuation<Void, Never>?) {
        waiter?.resume()
        waiter = nil
    }
}
