import Base
import ClusterModel
import Wire

extension HostRecord: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(registration)
        writer.write(byte: status == .active ? 1 : 2)
        writer.write(statusReason)
        writer.write(UInt64(clamping: subnetIndex))
        writer.write(registeredAt)
    }

    /// Reads all but the allocation, which follows from the placements.
    package init(from reader: inout ByteReader) throws(WireError) {
        let registration = try reader.read(HostRegistration.self)
        let status: HostStatus
        switch try reader.readByte() {
        case 1: status = .active
        case 2: status = .lost
        case let other: throw .unknownCase(what: "host status", value: UInt64(other))
        }
        self.init(
            registration: registration, status: status, statusReason: try reader.readText(),
            subnetIndex: try reader.readCount(maximum: Limits.hosts),
            registeredAt: try reader.read(), allocated: Resources(), slots: [])
    }
}

extension ServiceRevision: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(number)
        writer.write(spec)
        writer.write(index)
        writer.write(time)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            number: try reader.readUInt64(), spec: try reader.read(), index: try reader.read(),
            time: try reader.read())
    }
}

extension SetStatus: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(phase)
        writer.write(counted: address)
        writer.write(reason)
        writer.write(list: containers)
        writer.write(revision)
        writer.write(bootEpoch)
        writer.write(requestNumber)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        try self.init(from: &reader, version: ReplicatedState.version)
    }

    /// Reads the form of a version of the snapshot; the first knew no revision.
    init(from reader: inout ByteReader, version: UInt8) throws(WireError) {
        self.init(
            phase: try reader.read(), address: try reader.readSetAddress(),
            reason: try reader.readText(),
            containers: try reader.readList(maximum: SpecLimits.containers),
            revision: version >= 2 ? try reader.readUInt64() : 0,
            bootEpoch: try reader.read(), requestNumber: try reader.readUInt64())
    }
}

extension Tombstone: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(service)
        writer.write(index)
        writer.write(time)
        writer.write(spec)
        writer.write(createdAt)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        try self.init(from: &reader, version: ReplicatedState.version)
    }

    /// Reads the form of a version of the snapshot; the first did not know when it was created.
    init(from reader: inout ByteReader, version: UInt8) throws(WireError) {
        self.init(
            service: try reader.readText(), index: try reader.read(), time: try reader.read(),
            spec: try reader.read(), createdAt: .zero)
        if version >= 2 { createdAt = try reader.read() }
    }
}

extension Event: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(index)
        writer.write(epoch)
        writer.write(time)
        writer.write(byte: kind.code)
        writer.write(subject)
        writer.write(message)
        writer.write(who)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            index: try reader.read(), epoch: try reader.read(), time: try reader.read(),
            kind: try EventKind(code: reader.readByte()), subject: try reader.readText(),
            message: try reader.readText(), who: try reader.read())
    }
}

extension EventKind {
    /// Its place among the cases.
    fileprivate var code: UInt8 {
        UInt8(clamping: EventKind.allCases.firstIndex(of: self) ?? 0)
    }

    fileprivate init(code: UInt8) throws(WireError) {
        guard Int(code) < EventKind.allCases.count else {
            throw .unknownCase(what: "event kind", value: UInt64(code))
        }
        self = EventKind.allCases[Int(code)]
    }
}

extension CommandRefusal: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: UInt8(clamping: Code.allCases.firstIndex(of: code) ?? 0))
        writer.write(message)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let code = try reader.readByte()
        guard Int(code) < Code.allCases.count else {
            throw .unknownCase(what: "refusal code", value: UInt64(code))
        }
        self.init(Code.allCases[Int(code)], try reader.readText())
    }
}
