import Base
import Consensus
import EventLoop
import Foundation
import Storage
import Synchronization
import Transport

/// `shoal init`: makes a new cluster of which this host is the first voter.
package enum ClusterInitialisation {
    /// What the operator needs next.
    package struct Result: Sendable {
        /// The new cluster.
        package let clusterID: ClusterID
        /// This host.
        package let hostID: HostID
        /// The address peers join through.
        package let address: SocketAddress
        /// The secret every host of the cluster shares.
        package let joinToken: String
    }

    /// Makes identity, secret and the first log entry in the data folder; refuses a folder that
    /// belongs to a cluster already.
    package static func run(_ configuration: AgentConfiguration) async throws -> Result {
        let folder = try AgentFolder(path: configuration.dataFolder)
        try folder.lock()
        guard try folder.secret() == nil else {
            throw AgentError(
                "\(configuration.dataFolder) belongs to a cluster already: start it with `shoal agent`, or give --data another folder"
            )
        }
        let loop = try EventLoop(name: "init")
        defer { loop.stop() }
        let address = try await HostAddress.resolve(configuration.address, on: loop)
        let keys = try HostKeyPair.loadOrCreate(folder: configuration.dataFolder)
        let secret = ClusterSecret.generate()
        try await bootstrap(folder, voter: keys.hostID)
        try folder.keep(secret)
        return Result(
            clusterID: secret.clusterID, hostID: keys.hostID, address: address,
            joinToken: secret.joinToken)
    }

    private static func bootstrap(_ folder: AgentFolder, voter: HostID) async throws {
        let store = try LogStore(path: folder.logPath)
        defer { store.close() }
        // A half-made cluster of an earlier try: the log is there, the secret is not.
        guard try store.load().isEmpty else { return }
        let first = ConsensusCore.bootstrap(voter: voter)
        let request = PersistRequest(
            ticket: 1, hardState: first.hardState, entries: first.entries,
            snapshot: first.snapshot)
        try await withCheckedThrowingContinuation { continuation in
            store.persist([request]) { result in
                continuation.resume(with: result.map { _ in () }.mapError { $0 as any Error })
            }
        }
    }
}
