import Base
import Glibc
import VolumePlan

/// Where backups are kept: a place that holds one repository for each volume.
package enum BackupTarget: Hashable, Sendable {
    /// A folder of this host, such as a mounted network file system; it must exist, so that nothing
    /// is written below a mount point whose disk is missing.
    case directory(path: String)
    /// A bucket of an S3-compatible store.
    case s3(S3Place)
    /// A server of restic's REST protocol: a rest-server, or a peer by way of ``BackupBridge``.
    case rest(RestPlace)
}

/// A bucket of an S3-compatible store, and who we are to it.
package struct S3Place: Hashable, Sendable {
    /// The bucket's address and a prefix in it, such as `https://s3.example.org/bucket/shoal`.
    package var url: String
    /// The access key's name.
    package var accessKey: String
    /// The access key's secret.
    package var secretKey: String
    /// The region; nil for the store's own choice.
    package var region: String?

    package init(url: String, accessKey: String, secretKey: String, region: String? = nil) {
        self.url = url
        self.accessKey = accessKey
        self.secretKey = secretKey
        self.region = region
    }
}

/// A server of restic's REST protocol, and who we are to it.
package struct RestPlace: Hashable, Sendable {
    /// Its address, such as `https://backup.example.org:8000/shoal`, without a user or password.
    package var url: String
    /// The user; nil where the server wants none.
    package var user: String?
    /// The user's password.
    package var password: String?
    /// A file with the certificates that vouch for the server, in PEM; nil for the system's.
    package var certificateFile: String?

    package init(
        url: String, user: String? = nil, password: String? = nil, certificateFile: String? = nil
    ) {
        self.url = url
        self.user = user
        self.password = password
        self.certificateFile = certificateFile
    }
}

/// The repository of one volume: its place and its password.
///
/// One for each volume: a repository can be dropped with its volume, a lock of one volume holds up no
/// other, and a damaged repository costs one volume. What volumes have in common is stored twice.
package struct BackupRepository: Hashable, Sendable {
    /// Where the repository is.
    package let target: BackupTarget
    /// The cluster, as its folder's name.
    package let cluster: String
    /// The volume that is kept in it.
    package let volume: VolumeName
    /// The repository's password, by which everything in it is encrypted; at least 16 characters.
    package let password: String

    /// Names a repository; nothing is read or made.
    ///
    /// `cluster` is the cluster's identity in hexadecimal. Throws ``BackupError/badRequest(_:)`` for
    /// what can never be right.
    package init(
        target: BackupTarget, cluster: String, volume: VolumeName, password: String
    ) throws(BackupError) {
        guard BackupRepository.isProper(cluster) else {
            throw .badRequest("`\(cluster.prefix(64))` is no name of a cluster's folder of backups")
        }
        guard password.utf8.count >= 16, !password.utf8.contains(0), !password.contains("\n")
        else { throw .badRequest("the password of a repository has fewer than 16 characters") }
        guard volume.snapshot == nil else {
            throw .badRequest("\(volume) is a snapshot; its backups are those of \(volume.base)")
        }
        if let problem = target.problem { throw .badRequest(problem) }
        self.target = target
        self.cluster = cluster
        self.volume = volume
        self.password = password
    }

    /// The repository's path within its target: the cluster's folder and the volume's in it.
    package var path: String { "\(cluster)/\(volume.folderName)" }

    /// The repository as restic names it, with a user and password where there are some; never to be
    /// shown.
    var location: String {
        switch target {
        case .directory(let folder): "\(folder)/\(path)"
        case .s3(let place): "s3:\(place.url.trimmingSlashes)/\(path)"
        case .rest(let place): "rest:\(place.urlWithCredentials.trimmingSlashes)/\(path)/"
        }
    }

    /// The repository as people may see it.
    package var display: String {
        switch target {
        case .directory(let folder): "\(folder)/\(path)"
        case .s3(let place): "s3:\(place.url.trimmingSlashes)/\(path)"
        case .rest(let place): "rest:\(place.url.trimmingSlashes)/\(path)"
        }
    }

    /// What restic must know and nobody may see on a command line.
    var environment: [String] {
        var variables = ["RESTIC_REPOSITORY=\(location)", "RESTIC_PASSWORD=\(password)"]
        if case .s3(let place) = target {
            variables += [
                "AWS_ACCESS_KEY_ID=\(place.accessKey)", "AWS_SECRET_ACCESS_KEY=\(place.secretKey)",
            ]
            if let region = place.region { variables.append("AWS_DEFAULT_REGION=\(region)") }
        }
        return variables
    }

    /// Options of the command line that are no secrets.
    var options: [String] {
        guard case .rest(let place) = target, let file = place.certificateFile else { return [] }
        return ["--cacert", file]
    }

    /// Takes everything secret out of what restic said.
    func redact(_ text: String) -> String {
        var secrets = [password]
        switch target {
        case .directory: break
        case .s3(let place): secrets += [place.secretKey, place.accessKey]
        case .rest(let place): secrets += [place.password ?? "", escaped(place.password ?? "")]
        }
        return secrets.filter { !$0.isEmpty }.reduce(text) { text, secret in
            text.split(separator: secret, omittingEmptySubsequences: false).joined(separator: "***")
        }
    }

    private static func isProper(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { 97...122 ~= $0 || 48...57 ~= $0 || $0 == UInt8(ascii: "-") }
    }
}

extension BackupTarget {
    /// Why this can never be a target, in one sentence; nil when it may be one.
    package var problem: String? {
        switch self {
        case .directory(let path):
            guard path.hasPrefix("/"), path.utf8.count <= 1_024, isOneLine(path) else {
                return "the folder of a backup target must be an absolute path"
            }
            let parts = path.split(separator: "/")
            return parts.contains("..") || parts.contains(".")
                ? "the folder of a backup target may not have `.` or `..` in its path" : nil
        case .s3(let place):
            guard !place.accessKey.isEmpty, !place.secretKey.isEmpty else {
                return "an S3 target needs an access key and its secret"
            }
            guard [place.accessKey, place.secretKey, place.region ?? ""].allSatisfy(isOneLine)
            else {
                return "the access key of an S3 target has a line break in it"
            }
            return addressProblem(place.url, "an S3 target", needsPath: true)
        case .rest(let place):
            if place.password != nil, place.user == nil {
                return "a REST target with a password needs a user"
            }
            guard [place.user ?? "", place.password ?? ""].allSatisfy(isOneLine) else {
                return "the user or password of a REST target has a line break in it"
            }
            return addressProblem(place.url, "a REST target", needsPath: false)
        }
    }

    private func addressProblem(_ url: String, _ what: String, needsPath: Bool) -> String? {
        let schemes = ["https://", "http://"]
        guard let scheme = schemes.first(where: { url.hasPrefix($0) }), url.utf8.count <= 1_024,
            url.utf8.allSatisfy({ $0 > 32 && $0 < 127 })
        else { return "the address of \(what) must begin with https:// or http://" }
        let rest = url.dropFirst(scheme.count)
        let host = rest.prefix { $0 != "/" }
        guard !host.isEmpty, !rest.contains("?"), !rest.contains("#") else {
            return "the address of \(what) needs a host, and may have no `?` or `#`"
        }
        guard !host.contains("@") else {
            return "the address of \(what) may not hold a password: give it in its own field"
        }
        guard !needsPath || rest.dropFirst(host.count).contains(where: { $0 != "/" }) else {
            return "the address of \(what) needs a bucket, as in https://HOST/BUCKET"
        }
        return nil
    }

    private func isOneLine(_ text: String) -> Bool {
        text.utf8.allSatisfy { $0 >= 32 && $0 != 127 }
    }
}

extension RestPlace {
    /// The address with user and password, both escaped.
    fileprivate var urlWithCredentials: String {
        guard let user, let end = url.firstRange(of: "://")?.upperBound else { return url }
        return url[..<end] + "\(escaped(user)):\(escaped(password ?? ""))@" + url[end...]
    }
}

extension String {
    /// The text without slashes at its end.
    fileprivate var trimmingSlashes: Substring {
        var text = self[...]
        while text.last == "/" { text.removeLast() }
        return text
    }
}

/// A text for the user part of an address: everything but letters and digits escaped.
private func escaped(_ text: String) -> String {
    text.utf8.map { byte -> String in
        let isPlain = 48...57 ~= byte || 65...90 ~= byte || 97...122 ~= byte
        return isPlain
            ? String(Unicode.Scalar(byte)) : "%" + hexadecimal([byte])
    }.joined()
}
