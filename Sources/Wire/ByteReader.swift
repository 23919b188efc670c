import Base

/// Why bytes could not be read.
///
/// Carries facts, never the bytes themselves.
package enum WireError: Error, Equatable, Sendable {
    /// Fewer bytes than a value needs.
    case truncated(needed: Int, have: Int)
    /// A number or a count above its bound.
    case tooLarge(what: String, value: UInt64, maximum: UInt64)
    /// A byte that names no known case.
    case unknownCase(what: String, value: UInt64)
    /// Something that is well-formed but not allowed.
    case invalid(what: String)
    /// Bytes left over after the whole message.
    case trailing(count: Int)
}

/// Reads values in Shoal's wire form; every count is checked before anything is allocated.
package struct ByteReader: Sendable {
    private let bytes: ArraySlice<UInt8>
    private var position: Int

    package init(_ bytes: [UInt8]) {
        self.init(bytes[...])
    }

    package init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    /// How many bytes are left.
    package var remaining: Int { bytes.endIndex - position }

    /// Reads one byte.
    package mutating func readByte() throws(WireError) -> UInt8 {
        guard remaining >= 1 else { throw .truncated(needed: 1, have: 0) }
        defer { position += 1 }
        return bytes[position]
    }

    /// Reads exactly `count` raw bytes.
    package mutating func readRaw(_ count: Int) throws(WireError) -> [UInt8] {
        guard count >= 0, remaining >= count else {
            throw .truncated(needed: count, have: remaining)
        }
        defer { position += count }
        return Array(bytes[position..<position + count])
    }

    /// Reads an unsigned LEB128 number.
    package mutating func readUInt64() throws(WireError) -> UInt64 {
        var result: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let byte = try readByte()
            let part = UInt64(byte & 0x7F)
            guard shift < 63 || (shift == 63 && part <= 1) else {
                throw .invalid(what: "number longer than 64 bits")
            }
            result |= part << shift
            if byte & 0x80 == 0 { return result }
            shift += 7
        }
    }

    /// Reads a signed number (zig-zag).
    package mutating func readInt64() throws(WireError) -> Int64 {
        let value = try readUInt64()
        return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }

    /// Reads a signed number (zig-zag).
    package mutating func readInt() throws(WireError) -> Int { Int(try readInt64()) }

    /// Reads a truth value; any byte but 0 and 1 is refused.
    package mutating func readBool() throws(WireError) -> Bool {
        switch try readByte() {
        case 0: return false
        case 1: return true
        case let other: throw .unknownCase(what: "Bool", value: UInt64(other))
        }
    }

    /// Reads counted bytes, at most `maximum` of them.
    package mutating func readCounted(maximum: Int) throws(WireError) -> [UInt8] {
        let count = try readUInt64()
        guard count <= UInt64(maximum) else {
            throw .tooLarge(what: "bytes", value: count, maximum: UInt64(maximum))
        }
        return try readRaw(Int(count))
    }

    /// Reads counted UTF-8 text of at most `maximum` bytes; invalid UTF-8 is refused.
    package mutating func readString(maximum: Int = 4_096) throws(WireError) -> String {
        let raw = try readCounted(maximum: maximum)
        guard let text = String(validating: raw, as: UTF8.self) else {
            throw .invalid(what: "text that is not UTF-8")
        }
        return text
    }

    /// Reads one wire value.
    package mutating func read<Value: WireCodable>(
        _ type: Value.Type = Value.self
    ) throws(WireError) -> Value {
        try Value(from: &self)
    }

    /// Reads a presence byte and, if present, the value.
    package mutating func readOptional<Value: WireCodable>(
        _ type: Value.Type = Value.self
    ) throws(WireError) -> Value? {
        try readBool() ? try Value(from: &self) : nil
    }

    /// Reads a count of at most `maximum`, then as many elements.
    ///
    /// Every element takes a byte at least, so a count above what is left is refused at once.
    package mutating func readList<Value: WireCodable>(
        of type: Value.Type = Value.self, maximum: Int
    ) throws(WireError) -> [Value] {
        try readList(maximum: maximum) { reader throws(WireError) in try Value(from: &reader) }
    }

    /// Reads a count of at most `maximum`, then as many elements, each by `element`.
    package mutating func readList<Element>(
        maximum: Int, _ element: (inout ByteReader) throws(WireError) -> Element
    ) throws(WireError) -> [Element] {
        let count = try readUInt64()
        guard count <= UInt64(maximum) else {
            throw .tooLarge(what: "list", value: count, maximum: UInt64(maximum))
        }
        guard count <= UInt64(remaining) else {
            throw .truncated(needed: Int(count), have: remaining)
        }
        var list: [Element] = []
        list.reserveCapacity(Int(count))
        for _ in 0..<count { list.append(try element(&self)) }
        return list
    }

    /// Refuses bytes left over: a message is read whole or not at all.
    package func finish() throws(WireError) {
        guard remaining == 0 else { throw .trailing(count: remaining) }
    }
}
