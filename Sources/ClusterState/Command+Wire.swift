import Base
import ClusterModel
import Wire

extension CommandEnvelope: WireCodable {
    private static let version: UInt8 = 1

    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: CommandEnvelope.version)
        writer.write(request)
        writer.write(proposedAt)
        writer.write(command)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readByte()
        guard version == CommandEnvelope.version else {
            throw .unknownCase(what: "command version", value: UInt64(version))
        }
        self.init(
            request: try reader.read(), proposedAt: try reader.read(),
            command: try reader.read())
    }
}

extension Command: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .registerHost(let registration):
            // Hosts that can do nothing special say so in words that all versions know.
            let isPlain = registration.abilities.isEmpty
            writer.write(byte: isPlain ? 1 : 50)
            writer.write(registration)
            if !isPlain { writer.write(registration.abilities) }
        case .declareHostLost(let host, let bootEpoch, let reason):
            writer.write(byte: 2)
            writer.write(host)
            writer.write(bootEpoch)
            writer.write(bounded: reason)
        case .declareHostReturned(let host, let bootEpoch):
            writer.write(byte: 3)
            writer.write(host)
            writer.write(bootEpoch)
        case .forgetHost(let host):
            writer.write(byte: 4)
            writer.write(host)
        case .applyService(let spec):
            writer.write(byte: 5)
            writer.write(spec)
        case .scale(let service, let sets):
            writer.write(byte: 6)
            writer.write(service)
            writer.write(sets)
        case .deleteService(let service):
            writer.write(byte: 7)
            writer.write(service)
        case .registerImage(let image):
            writer.write(byte: 8)
            writer.write(image)
        case .decide(let basedOn, let decisions):
            writer.write(byte: 9)
            writer.write(basedOn)
            writer.write(list: decisions)
        case .reportSets(let host, let bootEpoch, let reports):
            writer.write(byte: 13)
            writer.write(host)
            writer.write(bootEpoch)
            writer.write(list: reports)
        case .barrier:
            writer.write(byte: 11)
        case .reportVolumes, .notice: encodeReports(into: &writer)
        case .offerVolumes(let host, let bootEpoch, let offer):
            writer.write(byte: 30)
            writer.write(host)
            writer.write(bootEpoch)
            writer.write(offer)
        case .startMove, .stepMove: encodeMove(into: &writer)
        case .restoreService(let service):
            writer.write(byte: 15)
            writer.write(service)
        case .reportBackups, .forgetBackups, .restoreVolumes, .reportRestoration:
            encodeBackups(into: &writer)
        case .resize(let service, let resize):
            writer.write(byte: 12)
            writer.write(service)
            writer.write(resize)
        case .takeBackLimits(let service, let revision):
            writer.write(byte: 57)
            writer.write(service)
            writer.write(revision)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 1: self = .registerHost(try reader.read())
        case 50:
            var registration = try reader.read(HostRegistration.self)
            registration.abilities = try reader.read()
            self = .registerHost(registration)
        case 2:
            self = .declareHostLost(
                try reader.read(), try reader.read(), reason: try reader.readText())
        case 3: self = .declareHostReturned(try reader.read(), try reader.read())
        case 4: self = .forgetHost(try reader.read())
        case 5: self = .applyService(try reader.read())
        case 6: self = .scale(service: try reader.readText(), sets: try reader.readInt())
        case 7: self = .deleteService(try reader.readText())
        case 8: self = .registerImage(try reader.read())
        case 9:
            self = .decide(
                basedOn: try reader.read(), decisions: try reader.readList(maximum: Limits.items))
        case 10:
            // Before sets could be resized.
            let (host, bootEpoch) = (try reader.read(HostID.self), try reader.read(BootEpoch.self))
            var reports: [SetReport] = []
            for _ in 0..<(try reader.readCount(maximum: Limits.items)) {
                reports.append(try SetReport(first: &reader))
            }
            self = .reportSets(host: host, bootEpoch: bootEpoch, reports: reports)
        case 11: self = .barrier
        case 12: self = .resize(service: try reader.readText(), try reader.read())
        case 14:
            // Before snapshots were told.
            self = .reportVolumes(
                host: try reader.read(), bootEpoch: try reader.read(),
                volumes: try VolumeReport.firstList(&reader))
        case 15: self = .restoreService(try reader.readText())
        case 57:
            self = .takeBackLimits(
                service: try reader.readText(), revision: try reader.readUInt64())
        case 30:
            self = .offerVolumes(
                host: try reader.read(), bootEpoch: try reader.read(), try reader.read())
        case 13:
            self = .reportSets(
                host: try reader.read(), bootEpoch: try reader.read(),
                reports: try reader.readList(maximum: Limits.items))
        case let tag where Command.moveTags.contains(tag):
            self = try Command.readMove(tag, &reader)
        case let tag where Command.reportTags.contains(tag):
            self = try Command.readReports(tag, &reader)
        case let tag where Command.backupTags.contains(tag):
            self = try Command.readBackups(tag, &reader)
        case let other: throw .unknownCase(what: "command", value: UInt64(other))
        }
    }
}

/// Without its abilities, which the command and the snapshot have beside it.
extension HostRegistration: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(id)
        writer.write(bootEpoch)
        writer.write(name)
        writer.write(address)
        writer.write(capacity)
        writer.write(zone)
        writer.write(pool)
        writer.write(agentVersion)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            id: try reader.read(), bootEpoch: try reader.read(), name: try reader.readText(),
            address: try reader.read(), capacity: try reader.read(), zone: try reader.read(),
            pool: try reader.readText(), agentVersion: try reader.readText())
    }
}

extension ImageRecord: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(reference)
        writer.write(manifestDigest)
        writer.write(sizeBytes)
        writer.write(loadedBy)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            reference: try reader.readText(), manifestDigest: try reader.readText(),
            sizeBytes: try reader.readInt(), loadedBy: try reader.read())
    }
}

extension SlotDecision: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .place(let slot, let host, let revision):
            writer.write(byte: 1)
            writer.write(slot)
            writer.write(host)
            writer.write(revision)
        case .unplace(let slot, let reason):
            writer.write(byte: 2)
            writer.write(slot)
            writer.write(bounded: reason)
        case .pending(let slot, let reason):
            writer.write(byte: 3)
            writer.write(slot)
            writer.write(bounded: reason)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 1:
            self = .place(
                try reader.read(), host: try reader.read(), revision: try reader.readUInt64())
        case 2: self = .unplace(try reader.read(), reason: try reader.readText())
        case 3: self = .pending(try reader.read(), reason: try reader.readText())
        case let other: throw .unknownCase(what: "slot decision", value: UInt64(other))
        }
    }
}

extension SetReport: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(slot)
        writer.write(placementIndex)
        writer.write(phase)
        writer.write(counted: address)
        writer.write(bounded: reason)
        writer.write(list: containers)
        writer.write(revision)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        try self.init(first: &reader)
        revision = try reader.readUInt64()
    }

    /// Reads the first form, without the revision that is in force.
    fileprivate init(first reader: inout ByteReader) throws(WireError) {
        self.init(
            slot: try reader.read(), placementIndex: try reader.read(),
            phase: try reader.read(), address: try reader.readSetAddress(),
            reason: try reader.readText(),
            containers: try reader.readList(maximum: SpecLimits.containers))
    }
}

extension ContainerStatus: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(name)
        writer.write(pid)
        writer.write(restarts)
        writer.write(optional: lastExit)
        writer.write(running)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            name: try reader.readString(maximum: 40), pid: try reader.readInt(),
            restarts: try reader.readInt(), lastExit: try reader.readOptional(),
            running: try reader.readBool())
    }
}

extension ByteWriter {
    /// Writes a sentence, cut to the bound it is read with.
    mutating func write(bounded text: String) { write(text.bounded) }
}

extension ByteReader {
    /// Reads a name or sentence.
    mutating func readText() throws(WireError) -> String {
        try readString(maximum: Limits.textBytes)
    }

    /// Reads an IPv4 address or none.
    mutating func readSetAddress() throws(WireError) -> [UInt8] {
        let address = try readCounted(maximum: 4)
        guard address.isEmpty || address.count == 4 else {
            throw .invalid(what: "address length")
        }
        return address
    }
}

extension Resources {
    /// True when every part is from 0 to the most that is allowed of one resource.
    var isSane: Bool {
        let range = 0...HostFactsBounds.amountMax
        return [millicores, memoryBytes, sets, egressBitsPerSecond, ingressBitsPerSecond]
            .allSatisfy { range.contains($0) }
    }
}

extension String {
    /// The longest prefix of whole Unicode scalars that is within the bound of a kept text.
    var bounded: String {
        let bytes = Array(utf8)
        guard bytes.count > Limits.textBytes else { return self }
        var end = Limits.textBytes
        while end > 0, bytes[end] & 0b1100_0000 == 0b1000_0000 { end -= 1 }
        return String(decoding: bytes[..<end], as: UTF8.self)
    }
}
