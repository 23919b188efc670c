import Base
import CSodium

/// The name of a blob: the SHA-256 of its bytes, written `sha256:` and 64 lower-case digits.
///
/// Source: OCI image specification 1.1, descriptor.md, "Digests". Other algorithms are refused.
package struct Digest: Hashable, Sendable, CustomStringConvertible {
    /// The 64 hexadecimal digits: the blob's file name.
    package let hexadecimal: String

    /// Reads `sha256:…`; nil unless it is exactly that, in lower case.
    package init?(_ text: some StringProtocol) {
        guard text.hasPrefix("sha256:") else { return nil }
        self.init(hexadecimal: text.dropFirst(7))
    }

    /// Reads 64 lower-case hexadecimal digits; nil for anything else.
    package init?(hexadecimal text: some StringProtocol) {
        let digits = text.utf8
        guard
            digits.count == 64,
            digits.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) })
        else { return nil }
        self.hexadecimal = String(text)
    }

    /// The digest of these bytes.
    package init(of bytes: [UInt8]) {
        var hasher = DigestHasher()
        bytes.withUnsafeBytes { hasher.update($0) }
        self = hasher.finish()
    }

    fileprivate init(verified bytes: [UInt8]) {
        hexadecimal = Base.hexadecimal(bytes)
    }

    package var description: String { "sha256:\(hexadecimal)" }
}

/// Computes a digest piece by piece with libsodium's streaming SHA-256.
struct DigestHasher {
    private var state = crypto_hash_sha256_state()
    /// How many bytes went in.
    private(set) var size = 0

    init() {
        crypto_hash_sha256_init(&state)
    }

    /// Adds a piece.
    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard !bytes.isEmpty, let base = bytes.baseAddress else { return }
        crypto_hash_sha256_update(
            &state, base.assumingMemoryBound(to: UInt8.self), UInt64(bytes.count))
        size += bytes.count
    }

    /// The digest of all pieces; the hasher must not be used again.
    mutating func finish() -> Digest {
        var bytes = [UInt8](repeating: 0, count: 32)
        crypto_hash_sha256_final(&state, &bytes)
        return Digest(verified: bytes)
    }
}
