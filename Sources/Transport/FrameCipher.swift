import CSodium

/// Seals or opens the frames of one direction of one connection, in order.
///
/// ChaCha20-Poly1305 (RFC 8439) with the frame's number as nonce: a frame that is missing, repeated
/// or out of order does not open. The key serves this direction of this connection alone.
struct FrameCipher {
    private let key: [UInt8]
    private var number: UInt64 = 0

    init(key: [UInt8]) {
        precondition(key.count == Sodium.keyBytes, "a frame key has 32 bytes")
        self.key = key
    }

    /// The sealed frame; `header` is authenticated with it.
    mutating func seal(_ text: [UInt8], header: [UInt8]) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: text.count + Sodium.tagBytes)
        crypto_aead_chacha20poly1305_ietf_encrypt(
            &output, nil, text, UInt64(text.count), header, UInt64(header.count), nil,
            nextNonce(), key)
        return output
    }

    /// The frame's text; nil when it is not the next one, unchanged.
    mutating func open(_ sealed: [UInt8], header: [UInt8]) -> [UInt8]? {
        guard sealed.count >= Sodium.tagBytes else { return nil }
        var output = [UInt8](repeating: 0, count: sealed.count - Sodium.tagBytes)
        let code = crypto_aead_chacha20poly1305_ietf_decrypt(
            &output, nil, nil, sealed, UInt64(sealed.count), header, UInt64(header.count),
            nextNonce(), key)
        return code == 0 ? output : nil
    }

    private mutating func nextNonce() -> [UInt8] {
        defer { number += 1 }
        return [0, 0, 0, 0] + bigEndian(number)
    }
}
