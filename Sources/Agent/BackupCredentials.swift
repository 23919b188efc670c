import BackupStore
import ClusterModel
import Foundation
import Yams

/// Who this host is to the servers that backups go to: the file of `backup-credentials`.
///
/// Read anew each time, so that keys can be changed while the agent runs. Nobody but its owner may
/// read the file.
struct BackupCredentials: Sendable {
    /// The file; nil when the host has none.
    let path: String?

    /// The longest file in bytes.
    private static let bytesMax = 64 << 10
    private static let known = [
        "for", "access-key", "secret-key", "region", "user", "password", "certificate",
    ]

    /// The target of a location as a service file names it: `s3:...` or `rest:...`.
    ///
    /// Of several entries the one with the longest `for` that the location begins with counts. A
    /// server of the REST protocol may want no credentials; S3 always does.
    func target(_ location: String) throws -> BackupTarget {
        let entry = try entries().filter { location.hasPrefix($0["for"] ?? "\0") }
            .max { ($0["for"] ?? "").utf8.count < ($1["for"] ?? "").utf8.count }
        if location.hasPrefix("rest:") {
            return .rest(
                RestPlace(
                    url: String(location.dropFirst("rest:".count)), user: entry?["user"],
                    password: entry?["password"], certificateFile: entry?["certificate"]))
        }
        guard let entry, let access = entry["access-key"], let secret = entry["secret-key"] else {
            throw AgentError(
                "this host has no keys for \(location): add `for`, `access-key` and `secret-key` to "
                    + (path.map { "\($0)" } ?? "the file that backup-credentials names"))
        }
        var url = String(location.dropFirst("s3:".count))
        if !url.contains("://") { url = "https://\(url)" }
        return .s3(
            S3Place(url: url, accessKey: access, secretKey: secret, region: entry["region"]))
    }

    /// The file's entries; none without a file.
    func entries() throws -> [[String: String]] {
        guard let path else { return [] }
        var facts = stat()
        guard stat(path, &facts) == 0 else {
            throw AgentError("backup-credentials: cannot read \(path)")
        }
        guard facts.st_mode & 0o077 == 0 else {
            throw AgentError("backup-credentials: others may read \(path); run `chmod 600 \(path)`")
        }
        guard let data = FileManager.default.contents(atPath: path),
            data.count <= BackupCredentials.bytesMax,
            let text = String(data: data, encoding: .utf8)
        else {
            throw AgentError("backup-credentials: \(path) must be UTF-8 text of at most 64 KiB")
        }
        return try BackupCredentials.entries(in: text, path: path)
    }

    static func entries(in text: String, path: String) throws -> [[String: String]] {
        let node: Node?
        do { node = try Yams.compose(yaml: text) } catch {
            // The parser's own message quotes the line, which may hold a secret.
            throw AgentError("backup-credentials: \(path) is no YAML")
        }
        guard let node else { return [] }
        guard let sequence = node.sequence else {
            throw AgentError("backup-credentials: \(path) must be a list of `- for: LOCATION`")
        }
        return try sequence.map { item in
            guard let mapping = item.mapping else {
                throw AgentError("backup-credentials: \(path): every entry needs `for: LOCATION`")
            }
            var entry: [String: String] = [:]
            for (key, value) in mapping {
                guard let name = key.string, known.contains(name) else {
                    throw AgentError(
                        "backup-credentials: \(path): unknown key `\(key.string ?? "?")`; known are "
                            + known.joined(separator: ", "))
                }
                entry[name] = value.scalar?.string
            }
            guard entry["for"]?.isEmpty == false else {
                throw AgentError("backup-credentials: \(path): an entry lacks `for`")
            }
            return entry
        }
    }
}
