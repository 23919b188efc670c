import Base
import Wire

/// Bounds of what one host may say of itself, so that sums over a cluster cannot overflow.
package enum HostFactsBounds {
    /// The most of any amount: 2^48, so that 20,000 hosts' sum stays under 2^63.
    package static let amountMax = 1 << 48
    /// The most bytes of volumes: 1 PiB, as for every quantity.
    package static let volumeBytesMax = 1 << 50
    /// The most UTF-8 bytes of any text.
    package static let textBytesMax = 256
}

extension Resources: WireCodable {
    /// Stands before amounts with bandwidth; the first form begins with an amount, which is less.
    private static let secondForm = UInt64(HostFactsBounds.amountMax) + 2

    /// Writes unsigned amounts, three or with bandwidth five; what is out of bounds is written as
    /// the bound.
    package func encode(into writer: inout ByteWriter) {
        let hasBandwidth = egressBitsPerSecond != 0 || ingressBitsPerSecond != 0
        if hasBandwidth { writer.write(Resources.secondForm) }
        let amounts = [millicores, memoryBytes, sets]
        for amount in amounts + (hasBandwidth ? [egressBitsPerSecond, ingressBitsPerSecond] : []) {
            writer.write(UInt64(min(max(amount, 0), HostFactsBounds.amountMax)))
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let first = try reader.readUInt64()
        let hasBandwidth = first == Resources.secondForm
        let millicores = hasBandwidth ? try reader.readUInt64() : first
        self.init(
            millicores: try Resources.amount("millicores", millicores),
            memoryBytes: try Resources.amount("memory bytes", reader.readUInt64()),
            sets: try Resources.amount("sets", reader.readUInt64()))
        guard hasBandwidth else { return }
        egressBitsPerSecond = try Resources.amount("egress", reader.readUInt64())
        ingressBitsPerSecond = try Resources.amount("ingress", reader.readUInt64())
    }

    /// The amounts that every version of gossip knows.
    fileprivate var withoutBandwidth: Resources {
        Resources(millicores: millicores, memoryBytes: memoryBytes, sets: sets)
    }

    private static func amount(_ what: String, _ value: UInt64) throws(WireError) -> Int {
        let maximum = UInt64(HostFactsBounds.amountMax)
        guard value <= maximum else {
            throw .tooLarge(what: what, value: value, maximum: maximum)
        }
        return Int(value)
    }
}

extension VolumeOffer: WireCodable {
    private static let version: UInt8 = 1

    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: VolumeOffer.version)
        writer.write(UInt64(min(max(diskBytes, 0), HostFactsBounds.volumeBytesMax)))
        writer.write(poolBytes != nil)
        if let poolBytes {
            writer.write(UInt64(min(max(poolBytes, 0), HostFactsBounds.volumeBytesMax)))
        }
        writer.write(hasLoop)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readByte()
        guard version == VolumeOffer.version else {
            throw .unknownCase(what: "volume offer version", value: UInt64(version))
        }
        self.init(
            diskBytes: try VolumeOffer.bytes(&reader),
            poolBytes: try reader.readBool() ? try VolumeOffer.bytes(&reader) : nil,
            hasLoop: try reader.readBool())
    }

    private static func bytes(_ reader: inout ByteReader) throws(WireError) -> Int {
        let maximum = UInt64(HostFactsBounds.volumeBytesMax)
        let value = try reader.readUInt64()
        guard value <= maximum else {
            throw .tooLarge(what: "bytes for volumes", value: value, maximum: maximum)
        }
        return Int(value)
    }
}

extension Zone: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(datacenter.cut(toBytes: HostFactsBounds.textBytesMax))
        writer.write(rack.cut(toBytes: HostFactsBounds.textBytesMax))
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            datacenter: try reader.readString(maximum: HostFactsBounds.textBytesMax),
            rack: try reader.readString(maximum: HostFactsBounds.textBytesMax))
    }
}

extension HostFacts: WireCodable {
    /// Writes the record; text above its bound is cut, so that the result can always be read.
    ///
    /// Bandwidth and abilities stay out of gossip: who places sets reads it in the log, and agents of the first
    /// version must be able to read this while a cluster is upgraded.
    package func encode(into writer: inout ByteWriter) {
        writer.write(version)
        writer.write(name.cut(toBytes: HostFactsBounds.textBytesMax))
        writer.write(capacity.withoutBandwidth)
        writer.write(allocated.withoutBandwidth)
        writer.write(zone)
        writer.write(pool.cut(toBytes: HostFactsBounds.textBytesMax))
        writer.write(agentVersion.cut(toBytes: HostFactsBounds.textBytesMax))
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readUInt64()
        let name = try reader.readString(maximum: HostFactsBounds.textBytesMax)
        let capacity = try reader.read(Resources.self)
        let allocated = try reader.read(Resources.self)
        let zone = try reader.read(Zone.self)
        let pool = try reader.readString(maximum: HostFactsBounds.textBytesMax)
        let agentVersion = try reader.readString(maximum: HostFactsBounds.textBytesMax)
        self.init(
            version: version, name: name, capacity: capacity, allocated: allocated, zone: zone,
            pool: pool, agentVersion: agentVersion)
    }

    /// The record with every text cut to `bytes` and every amount within its bound.
    ///
    /// A host does this to its own record so that it fits a datagram together with the rest.
    package func bounded(textBytes bytes: Int) -> HostFacts {
        HostFacts(
            version: version, name: name.cut(toBytes: bytes), capacity: capacity.bounded,
            allocated: allocated.bounded,
            zone: Zone(
                datacenter: zone.datacenter.cut(toBytes: bytes),
                rack: zone.rack.cut(toBytes: bytes)),
            pool: pool.cut(toBytes: bytes), agentVersion: agentVersion.cut(toBytes: bytes),
            abilities: abilities)
    }
}

extension Resources {
    /// The amounts, each moved into its bound.
    fileprivate var bounded: Resources {
        func bound(_ amount: Int) -> Int { min(max(amount, 0), HostFactsBounds.amountMax) }
        return Resources(
            millicores: bound(millicores), memoryBytes: bound(memoryBytes), sets: bound(sets),
            egressBitsPerSecond: bound(egressBitsPerSecond),
            ingressBitsPerSecond: bound(ingressBitsPerSecond))
    }
}

extension String {
    /// The longest prefix of whole Unicode scalars with at most `maximum` UTF-8 bytes.
    fileprivate func cut(toBytes maximum: Int) -> String {
        let bytes = Array(utf8)
        guard bytes.count > maximum else { return self }
        var end = max(0, maximum)
        while end > 0, bytes[end] & 0b1100_0000 == 0b1000_0000 { end -= 1 }
        return String(decoding: bytes[..<end], as: UTF8.self)
    }
}
