/// A host's identity: its Ed25519 public key (32 bytes).
///
/// Never a name, never an address.
package struct HostID: Hashable, Comparable, Sendable, CustomStringConvertible {
    private var words: (UInt64, UInt64, UInt64, UInt64)

    /// The length of the key in bytes.
    package static let byteCount = 32

    /// Makes an identity from the 32 bytes of a public key; nil for any other length.
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == HostID.byteCount else { return nil }
        var words: [UInt64] = [0, 0, 0, 0]
        for (offset, byte) in bytes.enumerated() {
            words[offset / 8] = (words[offset / 8] << 8) | UInt64(byte)
        }
        self.words = (words[0], words[1], words[2], words[3])
    }

    /// A made-up identity for tests and simulations: key bytes 0 except the last eight.
    package init(testing number: UInt64) {
        words = (number &* 0x9E37_79B9_7F4A_7C15, 0, 0, number)
    }

    /// The 32 bytes of the public key.
    package var bytes: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: HostID.byteCount)
        for index in 0..<8 {
            let shift = UInt64(56 - 8 * index)
            bytes[index] = UInt8(truncatingIfNeeded: words.0 >> shift)
            bytes[8 + index] = UInt8(truncatingIfNeeded: words.1 >> shift)
            bytes[16 + index] = UInt8(truncatingIfNeeded: words.2 >> shift)
            bytes[24 + index] = UInt8(truncatingIfNeeded: words.3 >> shift)
        }
        return bytes
    }

    /// The first eight bytes as a number, most significant first: a cheap even spread of keys.
    package var prefix: UInt64 { words.0 }

    /// The first five bytes in hexadecimal: what listings show.
    package var short: String { String(hexadecimal(bytes).prefix(10)) }

    /// The whole key in hexadecimal.
    package var description: String { hexadecimal(bytes) }

    package static func == (left: HostID, right: HostID) -> Bool { left.words == right.words }

    package static func < (left: HostID, right: HostID) -> Bool { left.words < right.words }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
        hasher.combine(words.2)
        hasher.combine(words.3)
    }
}

/// A cluster's identity: 16 random bytes made by `shoal init`.
///
/// It is in every packet.
package struct ClusterID: Hashable, Sendable, CustomStringConvertible {
    /// The 16 bytes.
    package let bytes: [UInt8]

    /// The length in bytes.
    package static let byteCount = 16

    /// Makes an identity from 16 bytes; nil for any other length.
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == ClusterID.byteCount else { return nil }
        self.bytes = Array(bytes)
    }

    package var description: String { hexadecimal(bytes) }
}

/// Counts the starts of one host's agent; rises with every start, so that a newer one wins at once.
package struct BootEpoch: Hashable, Comparable, Sendable {
    /// The number; in the agent, milliseconds since 1970 at start, never repeated or lowered.
    package var value: UInt64

    package init(_ value: UInt64) { self.value = value }

    package static func < (left: BootEpoch, right: BootEpoch) -> Bool { left.value < right.value }
}

/// The number of a lease term (Raft: term).
///
/// Rises with every election and fences old orders.
package struct Epoch: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The number; 0 before the first election.
    package var value: UInt64

    package init(_ value: UInt64) { self.value = value }

    /// The epoch before any election.
    package static let zero = Epoch(0)

    /// The epoch after this one.
    package var next: Epoch { Epoch(value + 1) }

    package static func < (left: Epoch, right: Epoch) -> Bool { left.value < right.value }

    package var description: String { String(value) }
}

/// A position in the log; the first entry is 1, and 0 stands before it.
package struct LogIndex: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The position.
    package var value: UInt64

    package init(_ value: UInt64) { self.value = value }

    /// The position before the first entry.
    package static let zero = LogIndex(0)

    /// The next position.
    package var next: LogIndex { LogIndex(value + 1) }

    package static func < (left: LogIndex, right: LogIndex) -> Bool { left.value < right.value }

    package var description: String { String(value) }
}

/// Names one write: which start of which agent asked for it, and its number there.
///
/// The same write may reach the log twice (a forwarded request that is tried again); the state
/// machine applies it once.
package struct RequestID: Hashable, Comparable, Sendable {
    /// The agent that asked.
    package var host: HostID
    /// Its start.
    package var bootEpoch: BootEpoch
    /// Counts that start's requests from 1.
    package var number: UInt64

    package init(host: HostID, bootEpoch: BootEpoch, number: UInt64) {
        self.host = host
        self.bootEpoch = bootEpoch
        self.number = number
    }

    package static func < (left: RequestID, right: RequestID) -> Bool {
        (left.host, left.bootEpoch, left.number) < (right.host, right.bootEpoch, right.number)
    }
}

/// Bytes as lower-case hexadecimal digits.
package func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in bytes {
        text.append(digits[Int(byte >> 4)])
        text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
}

/// The bytes written as hexadecimal digits of either case; nil when it is not that.
package func bytes(hexadecimal text: some StringProtocol) -> [UInt8]? {
    let digits = Array(text.utf8)
    guard digits.count % 2 == 0 else { return nil }
    func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
    var result: [UInt8] = []
    for index in stride(from: 0, to: digits.count, by: 2) {
        guard let high = value(digits[index]), let low = value(digits[index + 1]) else {
            return nil
        }
        result.append(high << 4 | low)
    }
    return result
}
