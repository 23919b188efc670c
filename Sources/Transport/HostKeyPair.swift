import Base

/// A host's Ed25519 key pair; its public half is the host's identity.
package struct HostKeyPair: Sendable, CustomStringConvertible {
    /// The file's name in the data folder.
    package static let fileName = "host.key"
    private static let fileHeader = "shoal-host-key-1 "

    /// The identity: the public key.
    package let hostID: HostID
    private let seed: [UInt8]
    private let secretKey: [UInt8]

    private init?(seed: [UInt8]) {
        guard seed.count == Sodium.keyBytes else { return nil }
        let keys = Sodium.signingKeys(seed: seed)
        guard let hostID = HostID(bytes: keys.publicKey) else { return nil }
        self.hostID = hostID
        self.seed = seed
        secretKey = keys.secretKey
    }

    /// Makes a new identity, kept nowhere.
    package static func generate() -> HostKeyPair {
        guard let pair = HostKeyPair(seed: Sodium.random(Sodium.keyBytes)) else {
            preconditionFailure("32 bytes make a key pair")
        }
        return pair
    }

    /// Reads `host.key` of the data folder, or makes it (mode 0600, synced, never half-written).
    ///
    /// A file that is damaged or open to others is refused, not replaced: with a new key the host
    /// would be another one to its cluster.
    package static func loadOrCreate(folder: String) throws(SecretFileError) -> HostKeyPair {
        let path = "\(folder)/\(fileName)"
        if let content = try SecretFile.read(path) {
            let text = String(decoding: content, as: UTF8.self)
            guard text.hasPrefix(fileHeader), text.hasSuffix("\n"),
                let seed = bytes(hexadecimal: text.dropFirst(fileHeader.count).dropLast()),
                let pair = HostKeyPair(seed: seed)
            else {
                throw SecretFileError(
                    description: "\(path) does not hold a host key: restore it from a backup, or "
                        + "move it away to join the cluster again as a new host")
            }
            return pair
        }
        let pair = generate()
        try SecretFile.write(Array("\(fileHeader)\(hexadecimal(pair.seed))\n".utf8), to: path)
        return pair
    }

    /// Signs bytes as this host.
    func sign(_ message: [UInt8]) -> [UInt8] { Sodium.sign(message, secretKey: secretKey) }

    /// The public half only.
    package var description: String { "host key of \(hostID)" }
}
