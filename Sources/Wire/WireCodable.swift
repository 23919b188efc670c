import Base

/// A value with a binary form: versioned where it is persisted or sent, bounded when read.
package protocol WireCodable {
    /// Appends the value's bytes.
    func encode(into writer: inout ByteWriter)
    /// Reads a value, or refuses the bytes.
    init(from reader: inout ByteReader) throws(WireError)
}

extension WireCodable {
    /// The value's bytes.
    package var encoded: [UInt8] {
        var writer = ByteWriter()
        encode(into: &writer)
        return writer.bytes
    }

    /// Reads a value that takes all of `bytes`.
    package init(decoding bytes: [UInt8]) throws(WireError) {
        var reader = ByteReader(bytes)
        self = try Self(from: &reader)
        try reader.finish()
    }
}

extension String: WireCodable {
    package func encode(into writer: inout ByteWriter) { writer.write(self) }
    package init(from reader: inout ByteReader) throws(WireError) {
        self = try reader.readString()
    }
}

extension UInt64: WireCodable {
    package func encode(into writer: inout ByteWriter) { writer.write(self) }
    package init(from reader: inout ByteReader) throws(WireError) {
        self = try reader.readUInt64()
    }
}

extension HostID: WireCodable {
    package func encode(into writer: inout ByteWriter) { writer.write(raw: bytes) }
    package init(from reader: inout ByteReader) throws(WireError) {
        guard let id = HostID(bytes: try reader.readRaw(HostID.byteCount)) else {
            throw .invalid(what: "host identity")
        }
        self = id
    }
}

extension ClusterID: WireCodable {
    package func encode(into writer: inout ByteWriter) { writer.write(raw: bytes) }
    package init(from reader: inout ByteReader) throws(WireError) {
        guard let id = ClusterID(bytes: try reader.readRaw(ClusterID.byteCount)) else {
            throw .invalid(what: "cluster identity")
        }
        self = id
    }
}

extension BootEpoch: WireCodable {
    package func encode(into writer: inout ByteWriter) { writer.write(value) }
    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(try reader.readUInt64())
    }
}

extension Epoch: WireCodable {
    package func encode(into writer: inout ByteWriter) { writer.write(value) }
    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(try reader.readUInt64())
    }
}

extension LogIndex: WireCodable {
    package func encode(into writer: inout ByteWriter) { writer.write(value) }
    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(try reader.readUInt64())
    }
}

extension RequestID: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(host)
        writer.write(bootEpoch)
        writer.write(number)
    }
    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            host: try reader.read(), bootEpoch: try reader.read(),
            number: try reader.readUInt64())
    }
}

extension SocketAddress: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(counted: address)
        writer.write(UInt64(port))
    }
    package init(from reader: inout ByteReader) throws(WireError) {
        let address = try reader.readCounted(maximum: 16)
        let port = try reader.readUInt64()
        guard port <= UInt64(UInt16.max) else {
            throw .tooLarge(what: "port", value: port, maximum: UInt64(UInt16.max))
        }
        guard let value = SocketAddress(address: address, port: UInt16(port)) else {
            throw .invalid(what: "address length")
        }
        self = value
    }
}

extension WallTime: WireCodable {
    package func encode(into writer: inout ByteWriter) { writer.write(milliseconds) }
    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(milliseconds: try reader.readInt64())
    }
}
