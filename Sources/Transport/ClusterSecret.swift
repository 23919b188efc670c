import Base

/// A text that was to be a join token is not one.
package struct JoinTokenError: Error, Sendable, Equatable, CustomStringConvertible {
    /// One sentence for the operator.
    package let description: String
}

/// What all hosts of a cluster share: its identity and the key that seals every packet.
///
/// Whoever has it can join and can read the cluster's datagrams. Among themselves hosts prove their
/// own identity on connections only: a member can forge another member's datagram.
package struct ClusterSecret: Sendable, Equatable, CustomStringConvertible {
    /// The file's name in the data folder.
    package static let fileName = "cluster.token"
    private static let prefix = "shoal1-"
    private static let checksumBytes = 4

    /// The cluster's identity; no secret.
    package let clusterID: ClusterID
    private let key: [UInt8]

    private init?(bytes: some Collection<UInt8>) {
        guard bytes.count == ClusterID.byteCount + Sodium.keyBytes,
            let clusterID = ClusterID(bytes: Array(bytes.prefix(ClusterID.byteCount)))
        else { return nil }
        self.clusterID = clusterID
        key = Array(bytes.dropFirst(ClusterID.byteCount))
    }

    /// Makes the secret of a new cluster.
    package static func generate() -> ClusterSecret {
        let bytes = Sodium.random(ClusterID.byteCount + Sodium.keyBytes)
        guard let secret = ClusterSecret(bytes: bytes) else {
            preconditionFailure("48 bytes make a cluster's secret")
        }
        return secret
    }

    /// The secret as text to carry to another host: "shoal1-" and 84 letters and digits.
    package var joinToken: String {
        let bytes = clusterID.bytes + key
        return ClusterSecret.prefix + Base32.text(bytes + ClusterSecret.checksum(bytes))
    }

    /// Reads a token; case and white space do not matter.
    package init(joinToken text: String) throws(JoinTokenError) {
        let token = text.filter { !$0.isWhitespace }.lowercased()
        guard token.hasPrefix(ClusterSecret.prefix) else {
            throw JoinTokenError(
                description: "this is no join token: it should start with "
                    + "\"\(ClusterSecret.prefix)\"; `shoal init` on the cluster's first host "
                    + "prints it")
        }
        let digits = token.dropFirst(ClusterSecret.prefix.count)
        guard digits.utf8.allSatisfy({ Base32.digits.contains($0) }) else {
            throw JoinTokenError(
                description: "the join token has a character that tokens never have; copy it again")
        }
        let bytesWanted = ClusterID.byteCount + Sodium.keyBytes + ClusterSecret.checksumBytes
        guard digits.utf8.count == (bytesWanted * 8 + 4) / 5 else {
            throw JoinTokenError(
                description: "the join token is too short or too long; copy it again, whole")
        }
        guard let bytes = Base32.bytes(digits),
            ClusterSecret.checksum(Array(bytes.dropLast(ClusterSecret.checksumBytes)))
                .elementsEqual(bytes.suffix(ClusterSecret.checksumBytes)),
            let secret = ClusterSecret(bytes: bytes.dropLast(ClusterSecret.checksumBytes))
        else {
            throw JoinTokenError(
                description: "the join token's checksum does not match: a character is wrong; "
                    + "copy it again")
        }
        self = secret
    }

    /// Reads the token file of the data folder; nil when the host is in no cluster.
    package static func load(folder: String) throws -> ClusterSecret? {
        guard let content = try SecretFile.read("\(folder)/\(fileName)") else { return nil }
        return try ClusterSecret(joinToken: String(decoding: content, as: UTF8.self))
    }

    /// Writes the token file of the data folder (mode 0600, synced, never half-written).
    package func save(folder: String) throws(SecretFileError) {
        try SecretFile.write(
            Array("\(joinToken)\n".utf8), to: "\(folder)/\(ClusterSecret.fileName)")
    }

    /// The password of the cluster's backups: 64 hexadecimal digits that nobody can work the secret
    /// out from.
    package var backupPassword: String { hexadecimal(key(for: "shoal backups 1")) }

    /// A key for one purpose.
    func key(for label: String) -> [UInt8] {
        Sodium.derive(label, from: key, context: clusterID.bytes)
    }

    /// The identity only.
    package var description: String { "secret of cluster \(clusterID)" }

    private static func checksum(_ bytes: [UInt8]) -> [UInt8] {
        Array(Sodium.hash([Array("shoal join token 1".utf8), bytes]).prefix(checksumBytes))
    }
}

/// Base32 (RFC 4648) in lower case without padding: no 0, 1, 8 or 9 to mistake for a letter.
private enum Base32 {
    static let digits = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)

    static func text(_ bytes: [UInt8]) -> String {
        var output: [UInt8] = []
        var pending = 0
        var bits = 0
        for byte in bytes {
            pending = pending << 8 | Int(byte)
            bits += 8
            while bits >= 5 {
                bits -= 5
                output.append(digits[pending >> bits & 31])
            }
            pending &= 1 << bits - 1
        }
        if bits > 0 { output.append(digits[pending << (5 - bits) & 31]) }
        return String(decoding: output, as: UTF8.self)
    }

    /// Nil for a character outside the alphabet or bits left over that are not zero.
    static func bytes(_ text: Substring) -> [UInt8]? {
        var output: [UInt8] = []
        var pending = 0
        var bits = 0
        for character in text.utf8 {
            guard let value = digits.firstIndex(of: character) else { return nil }
            pending = pending << 5 | value
            bits += 5
            if bits >= 8 {
                bits -= 8
                output.append(UInt8(truncatingIfNeeded: pending >> bits))
            }
            pending &= 1 << bits - 1
        }
        return pending == 0 ? output : nil
    }
}
