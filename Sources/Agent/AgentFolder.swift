import Base
import Foundation
import Transport

/// The agent's data folder: who this host is, which cluster it belongs to, how often it started.
struct AgentFolder {
    /// The folder; mode 0700.
    let path: String

    init(path: String) throws {
        self.path = path
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700])
        } catch {
            throw AgentError("cannot make the data folder \(path): \(error.localizedDescription)")
        }
    }

    /// The log's database.
    var logPath: String { "\(path)/log.sqlite" }
    private var secretPath: String { "\(path)/cluster-secret" }
    private var epochPath: String { "\(path)/boot-epoch" }

    /// The cluster this host belongs to; nil before `init` or the first join.
    func secret() throws -> ClusterSecret? {
        guard FileManager.default.fileExists(atPath: secretPath) else { return nil }
        guard let text = try? String(contentsOfFile: secretPath, encoding: .utf8) else {
            throw AgentError("cannot read \(secretPath)")
        }
        return try ClusterSecret(
            joinToken: text.trimmingCharacters(in: .whitespacesAndNewlines))
    }

    /// Where the secret waits until a host of that cluster has answered.
    private var joiningPath: String { "\(path)/cluster-secret.joining" }

    /// Begins to join a cluster: a mistyped token or address must not bind the folder for good.
    func beginJoining(_ secret: ClusterSecret, hasLog: Bool) throws {
        let text = try? String(contentsOfFile: joiningPath, encoding: .utf8)
        let begun = try? text.map {
            try ClusterSecret(joinToken: $0.trimmingCharacters(in: .whitespacesAndNewlines))
        }
        guard !hasLog || begun?.clusterID == secret.clusterID else {
            throw AgentError(
                "\(path) holds the log of another or of a half-made cluster: run `shoal init` again to finish that one, or give --data an empty folder to join"
            )
        }
        try writeDurably(secret.joinToken + "\n", to: joiningPath)
    }

    /// A host of the cluster answered: this one belongs to it now.
    func finishJoining(_ secret: ClusterSecret) throws {
        try keep(secret)
        unlink(joiningPath)
    }

    /// Keeps the cluster's secret: from here on this host belongs to it.
    func keep(_ secret: ClusterSecret) throws {
        try writeDurably(secret.joinToken + "\n", to: secretPath)
    }

    /// The number of this start: the time, but always above the last one.
    func nextBootEpoch() throws -> BootEpoch {
        let text = try? String(contentsOfFile: epochPath, encoding: .utf8)
        let last = text.flatMap { UInt64($0.trimmingCharacters(in: .whitespacesAndNewlines)) } ?? 0
        let (afterLast, overflow) = last.addingReportingOverflow(1)
        guard !overflow else { throw AgentError("\(epochPath) holds an impossible number") }
        let epoch = max(afterLast, UInt64(max(0, WallTime.now.milliseconds)))
        try writeDurably("\(epoch)\n", to: epochPath)
        return BootEpoch(epoch)
    }

    /// A name for what this host makes in the kernel, from its identity; kept where tools find it.
    func instance(of host: HostID) throws -> String {
        let instance = String(host.short.prefix(6))
        try writeDurably(instance + "\n", to: "\(path)/instance")
        return instance
    }

    /// Keeps other programs from using the folder while the agent runs; freed with the process.
    func lock() throws {
        let descriptor = open("\(path)/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw AgentError("cannot open \(path)/lock: \(String(cString: strerror(errno)))")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw AgentError(
                "another agent uses \(path): end it first, or give this one another --data folder")
        }
    }

    private func writeDurably(_ text: String, to path: String) throws {
        try DurableFile.write(Array(text.utf8), to: path)
    }
}
