import Base
import Wire

extension SlotID: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(service)
        writer.write(UInt64(clamping: ordinal))
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let service = try reader.readString(maximum: 40)
        self.init(service: service, ordinal: try reader.readCount(maximum: SlotID.ordinalMax))
    }

    /// The highest ordinal that is read.
    static let ordinalMax = 1_000_000
}

extension Placement: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(slot)
        writer.write(host)
        writer.write(revision)
        writer.write(epoch)
        writer.write(index)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            slot: try reader.read(), host: try reader.read(), revision: try reader.readUInt64(),
            epoch: try reader.read(), index: try reader.read())
    }
}

extension SetPhase: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .pending: writer.write(byte: 0)
        case .starting: writer.write(byte: 1)
        case .running: writer.write(byte: 2)
        case .backingOff: writer.write(byte: 3)
        case .stopping: writer.write(byte: 4)
        case .failed: writer.write(byte: 5)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 0: self = .pending
        case 1: self = .starting
        case 2: self = .running
        case 3: self = .backingOff
        case 4: self = .stopping
        case 5: self = .failed
        case let other: throw .unknownCase(what: "set phase", value: UInt64(other))
        }
    }
}

extension ContainerExit: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(code)
        guard outOfMemory, let memory else { return writer.write(outOfMemory) }
        // Beyond the two truth values of the first version: killed, and with what in use.
        writer.write(byte: 2)
        writer.write(memory.peakBytes)
        writer.write(memory.limitBytes)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let code = try reader.readInt()
        switch try reader.readByte() {
        case 0: self.init(code: code)
        case 1: self.init(code: code, outOfMemory: true)
        case 2:
            self.init(
                code: code, outOfMemory: true,
                memory: MemoryAtExit(
                    peakBytes: try reader.readInt(), limitBytes: try reader.readInt()))
        case let other: throw .unknownCase(what: "container exit", value: UInt64(other))
        }
    }
}

extension ByteReader {
    /// Reads an unsigned number of at most `maximum`.
    package mutating func readCount(maximum: Int) throws(WireError) -> Int {
        let value = try readUInt64()
        guard value <= UInt64(maximum) else {
            throw .tooLarge(what: "count", value: value, maximum: UInt64(maximum))
        }
        return Int(value)
    }
}
