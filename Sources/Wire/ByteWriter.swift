import Base

/// Appends values in Shoal's wire form: unsigned LEB128 for numbers, length before bytes.
package struct ByteWriter: Sendable {
    /// What was written so far.
    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// Writes one byte.
    package mutating func write(byte: UInt8) { bytes.append(byte) }

    /// Writes raw bytes without their length.
    package mutating func write(raw: some Sequence<UInt8>) { bytes.append(contentsOf: raw) }

    /// Writes raw bytes without their length.
    package mutating func write(raw: [UInt8]) { bytes += raw }

    /// Writes an unsigned number in 1 to 10 bytes (LEB128).
    package mutating func write(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    /// Writes a signed number (zig-zag, then LEB128).
    package mutating func write(_ value: Int64) {
        write(UInt64(bitPattern: (value << 1) ^ (value >> 63)))
    }

    /// Writes a signed number (zig-zag, then LEB128).
    package mutating func write(_ value: Int) { write(Int64(value)) }

    /// Writes a truth value as one byte.
    package mutating func write(_ value: Bool) { bytes.append(value ? 1 : 0) }

    /// Writes bytes with their length before them.
    package mutating func write(counted value: [UInt8]) {
        write(UInt64(value.count))
        bytes.append(contentsOf: value)
    }

    /// Writes text as counted UTF-8.
    package mutating func write(_ value: String) { write(counted: Array(value.utf8)) }

    /// Writes any wire value.
    package mutating func write(_ value: some WireCodable) { value.encode(into: &self) }

    /// Writes a presence byte and, if present, the value.
    package mutating func write<Value: WireCodable>(optional value: Value?) {
        write(value != nil)
        if let value { value.encode(into: &self) }
    }

    /// Writes a count and then each element.
    package mutating func write(list: [some WireCodable]) {
        write(UInt64(list.count))
        for element in list { element.encode(into: &self) }
    }
}
