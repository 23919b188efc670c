import CSodium

/// The few libsodium calls that the room needs, over byte arrays.
enum Sodium {
    static let keyBytes = 32
    static let signatureBytes = 64
    /// What sealing adds to a text: the Poly1305 tag.
    static let tagBytes = 16
    static let longNonceBytes = 24

    /// Forces `sodium_init`, once per process.
    static let isReady: Bool = sodium_init() >= 0

    static func random(_ count: Int) -> [UInt8] {
        precondition(isReady, "libsodium could not be initialised")
        var bytes = [UInt8](repeating: 0, count: count)
        randombytes_buf(&bytes, count)
        return bytes
    }

    /// BLAKE2b, optionally keyed, over the concatenation of the parts, each with its length.
    static func hash(_ parts: [[UInt8]], key: [UInt8] = [], count: Int = 32) -> [UInt8] {
        precondition(isReady, "libsodium could not be initialised")
        var input: [UInt8] = []
        for part in parts {
            input += bigEndian(UInt64(part.count))
            input += part
        }
        var output = [UInt8](repeating: 0, count: count)
        crypto_generichash(&output, count, input, UInt64(input.count), key, key.count)
        return output
    }

    /// A key for one purpose from a key for several.
    static func derive(_ label: String, from key: [UInt8], context: [UInt8] = []) -> [UInt8] {
        hash([Array("shoal 1 \(label)".utf8), context], key: key)
    }

    // MARK: - XChaCha20-Poly1305, for nonces drawn at random

    static func seal(
        _ text: [UInt8], additional: [UInt8], nonce: [UInt8], key: [UInt8]
    ) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: text.count + tagBytes)
        crypto_aead_xchacha20poly1305_ietf_encrypt(
            &output, nil, text, UInt64(text.count), additional, UInt64(additional.count), nil,
            nonce, key)
        return output
    }

    /// The text, or nil when anything was changed or the key is another.
    static func open(
        _ sealed: [UInt8], additional: [UInt8], nonce: [UInt8], key: [UInt8]
    ) -> [UInt8]? {
        guard sealed.count >= tagBytes else { return nil }
        var output = [UInt8](repeating: 0, count: sealed.count - tagBytes)
        let code = crypto_aead_xchacha20poly1305_ietf_decrypt(
            &output, nil, nil, sealed, UInt64(sealed.count), additional,
            UInt64(additional.count), nonce, key)
        return code == 0 ? output : nil
    }

    // MARK: - Ed25519 and X25519

    /// A signing key pair from 32 secret bytes.
    static func signingKeys(seed: [UInt8]) -> (publicKey: [UInt8], secretKey: [UInt8]) {
        precondition(isReady && seed.count == keyBytes, "an Ed25519 seed has 32 bytes")
        var publicKey = [UInt8](repeating: 0, count: 32)
        var secretKey = [UInt8](repeating: 0, count: 64)
        crypto_sign_seed_keypair(&publicKey, &secretKey, seed)
        return (publicKey, secretKey)
    }

    static func sign(_ message: [UInt8], secretKey: [UInt8]) -> [UInt8] {
        var signature = [UInt8](repeating: 0, count: signatureBytes)
        crypto_sign_detached(&signature, nil, message, UInt64(message.count), secretKey)
        return signature
    }

    static func isValid(_ signature: [UInt8], of message: [UInt8], by publicKey: [UInt8]) -> Bool {
        guard signature.count == signatureBytes, publicKey.count == keyBytes else { return false }
        return crypto_sign_verify_detached(
            signature, message, UInt64(message.count), publicKey) == 0
    }

    /// A key pair for one key agreement.
    static func agreementKeys() -> (publicKey: [UInt8], secretKey: [UInt8]) {
        let secretKey = random(keyBytes)
        var publicKey = [UInt8](repeating: 0, count: keyBytes)
        crypto_scalarmult_base(&publicKey, secretKey)
        return (publicKey, secretKey)
    }

    /// The shared secret; nil for a public key of small order.
    static func agree(secretKey: [UInt8], publicKey: [UInt8]) -> [UInt8]? {
        guard publicKey.count == keyBytes else { return nil }
        var shared = [UInt8](repeating: 0, count: keyBytes)
        return crypto_scalarmult(&shared, secretKey, publicKey) == 0 ? shared : nil
    }
}

/// A number as 8 bytes, most significant first.
func bigEndian(_ value: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * $0)) }
}

/// The number that 8 bytes (or fewer) spell, most significant first.
func number(bigEndian bytes: some Sequence<UInt8>) -> UInt64 {
    bytes.reduce(0) { $0 << 8 | UInt64($1) }
}
