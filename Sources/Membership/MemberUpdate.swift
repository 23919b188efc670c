import Base
import ClusterModel
import Wire

/// One belief about one host, as it travels: always with its rank, with facts when they are news.
package struct MemberUpdate: Sendable, Equatable {
    /// Who.
    package var id: HostID
    /// Which start of its agent; the facts, if any, belong to the same.
    package var bootEpoch: BootEpoch
    /// The incarnation the belief is about.
    package var incarnation: UInt64
    /// The belief.
    package var status: MemberStatus
    /// Where it takes datagrams.
    package var address: SocketAddress
    /// For `dead` and `left`: whole seconds since then, rounded up, so that telling it on does
    /// not make it younger.
    package var ageSeconds: UInt64
    /// For `suspect`: who accuses it; empty when the only accuser doubts itself.
    package var accusers: [HostID]
    /// What the host says of itself, when that is worth sending.
    package var facts: HostFacts?

    /// The most accusers in one update.
    package static let accusersMax = 9

    package init(
        id: HostID, bootEpoch: BootEpoch, incarnation: UInt64, status: MemberStatus,
        address: SocketAddress, ageSeconds: UInt64 = 0, accusers: [HostID] = [],
        facts: HostFacts? = nil
    ) {
        self.id = id
        self.bootEpoch = bootEpoch
        self.incarnation = incarnation
        self.status = status
        self.address = address
        self.ageSeconds = ageSeconds
        self.accusers = accusers
        self.facts = facts
    }

    /// See `Member.rank`.
    var rank: (UInt64, UInt64, UInt8) { (bootEpoch.value, incarnation, status.rawValue) }

    /// How many bytes `encode` writes.
    var encodedCount: Int {
        var count = HostID.byteCount + 1
        count += encodedCountOf(bootEpoch.value) + encodedCountOf(incarnation)
        count += address.encodedCount
        switch status {
        case .alive: break
        case .suspect: count += 1 + accusers.count * HostID.byteCount
        case .dead, .left: count += encodedCountOf(ageSeconds)
        }
        if let facts { count += facts.encodedCount }
        return count
    }
}

extension MemberUpdate: WireCodable {
    /// The bit of the flags byte that announces facts; the two bits below hold the status.
    private static let factsFlag: UInt8 = 0b100

    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: status.rawValue | (facts == nil ? 0 : MemberUpdate.factsFlag))
        writer.write(id)
        writer.write(bootEpoch)
        writer.write(incarnation)
        writer.write(address)
        switch status {
        case .alive: break
        case .suspect: writer.write(list: accusers)
        case .dead, .left: writer.write(ageSeconds)
        }
        if let facts { writer.write(facts) }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let flags = try reader.readByte()
        guard flags < 8, let status = MemberStatus(rawValue: flags & 0b11) else {
            throw .unknownCase(what: "member update", value: UInt64(flags))
        }
        let id = try reader.read(HostID.self)
        let bootEpoch = try reader.read(BootEpoch.self)
        let incarnation = try reader.readUInt64()
        let address = try reader.read(SocketAddress.self)
        self.init(
            id: id, bootEpoch: bootEpoch, incarnation: incarnation, status: status,
            address: address)
        switch status {
        case .alive: break
        case .suspect: accusers = try reader.readList(maximum: MemberUpdate.accusersMax)
        case .dead, .left: ageSeconds = try reader.readUInt64()
        }
        if flags & MemberUpdate.factsFlag != 0 { facts = try reader.read(HostFacts.self) }
    }
}

/// How many bytes an unsigned number takes on the wire.
func encodedCountOf(_ value: UInt64) -> Int {
    max(1, (UInt64.bitWidth - value.leadingZeroBitCount + 6) / 7)
}

extension SocketAddress {
    /// How many bytes the address takes on the wire.
    var encodedCount: Int { 1 + address.count + encodedCountOf(UInt64(port)) }

    /// True for `0.0.0.0` and `::`, which a host may say of itself when it listens everywhere.
    var isUnspecified: Bool { address.allSatisfy { $0 == 0 } }
}

extension HostFacts {
    /// How many bytes a bounded record takes on the wire.
    var encodedCount: Int {
        var count = encodedCountOf(version)
        for text in [name, zone.datacenter, zone.rack, pool, agentVersion] {
            count += encodedCountOf(UInt64(text.utf8.count)) + text.utf8.count
        }
        for amounts in [capacity, allocated] {
            for amount in [amounts.millicores, amounts.memoryBytes, amounts.sets] {
                count += encodedCountOf(UInt64(max(0, amount)))
            }
        }
        return count
    }
}
