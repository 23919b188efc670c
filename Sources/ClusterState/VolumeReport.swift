import Base
import ClusterModel
import Wire

/// What a host says of one volume that it holds.
package struct VolumeReport: Hashable, Sendable {
    /// The slot that it belongs to.
    package var slot: SlotID
    /// Its name in its service, such as `data`.
    package var name: String
    /// The label of the snapshot of that volume that this is; nil for the volume itself.
    package var snapshot: String?
    /// Its own identity: sixteen hexadecimal digits, never given out twice.
    package var id: String
    /// What it is made of.
    package var volumeClass: VolumeClass
    /// How much it holds, in bytes.
    package var sizeBytes: Int
    /// How much of that is in use, in bytes, as far as it was measured.
    package var usedBytes: Int
    /// When it went into the trash, in seconds since 1970; nil while it is in use.
    package var trashedAt: Int?
    /// The entry that created the service it was made for: a later service of that name has others.
    ///
    /// Zero while it belongs to none: a snapshot, a clone, or one that was taken out of the trash.
    package var owner: LogIndex
    /// How it is.
    package var condition: VolumeCondition

    package init(
        slot: SlotID, name: String, snapshot: String? = nil, id: String,
        volumeClass: VolumeClass, sizeBytes: Int, usedBytes: Int = 0, trashedAt: Int? = nil,
        owner: LogIndex, condition: VolumeCondition = VolumeCondition()
    ) {
        self.slot = slot
        self.name = name
        self.snapshot = snapshot
        self.id = id
        self.volumeClass = volumeClass
        self.sizeBytes = sizeBytes
        self.usedBytes = usedBytes
        self.trashedAt = trashedAt
        self.owner = owner
        self.condition = condition
    }

    /// What people call it: `web.3/data`, `web.3/data@monday` for a snapshot.
    package var title: String { "\(slot)/\(name)" + (snapshot.map { "@\($0)" } ?? "") }

    /// True when no slot has it and the next one of its name may take it.
    package var isSpare: Bool { owner == .zero && snapshot == nil && trashedAt == nil }
}

/// The volumes of one host, as it last told.
package struct HostVolumes: Equatable, Sendable {
    /// The host; it may have been forgotten since.
    package var host: HostID
    /// Its volumes, those in its trash included, sorted by identity.
    package var volumes: [VolumeReport]
    /// The start of its agent that told.
    package var bootEpoch: BootEpoch
    /// The number of the request that brought it; older ones are ignored.
    package var requestNumber: UInt64
}

/// Without its condition, which the command and the snapshot have beside it.
extension VolumeReport: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(slot)
        writer.write(name)
        writer.write(id)
        writer.write(volumeClass)
        writer.write(sizeBytes)
        writer.write(usedBytes)
        writer.write(trashedAt != nil)
        if let trashedAt { writer.write(trashedAt) }
        writer.write(owner)
        writer.write(snapshot != nil)
        if let snapshot { writer.write(snapshot) }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        try self.init(first: &reader)
        if try reader.readBool() { snapshot = try reader.readString(maximum: 64) }
    }

    /// Reads the form from before snapshots were told.
    init(first reader: inout ByteReader) throws(WireError) {
        self.init(
            slot: try reader.read(), name: try reader.readString(maximum: 64),
            id: try reader.readString(maximum: 64), volumeClass: try reader.read(),
            sizeBytes: try reader.readInt(), usedBytes: try reader.readInt(),
            trashedAt: try reader.readBool() ? try reader.readInt() : nil,
            owner: try reader.read())
    }
}

extension HostVolumes: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(host)
        writer.write(list: volumes)
        writer.write(bootEpoch)
        writer.write(requestNumber)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            host: try reader.read(), volumes: try reader.readList(maximum: Limits.volumesOfHost),
            bootEpoch: try reader.read(), requestNumber: try reader.readUInt64())
    }

    /// Reads the form of a snapshot of this version.
    init(from reader: inout ByteReader, version: UInt8) throws(WireError) {
        let host = try reader.read(HostID.self)
        let volumes =
            version < 3
            ? try VolumeReport.firstList(&reader)
            : try reader.readList(maximum: Limits.volumesOfHost)
        self.init(
            host: host, volumes: volumes, bootEpoch: try reader.read(),
            requestNumber: try reader.readUInt64())
    }
}

extension VolumeReport {
    /// Reads a list of the form from before snapshots were told.
    static func firstList(_ reader: inout ByteReader) throws(WireError) -> [VolumeReport] {
        var volumes: [VolumeReport] = []
        for _ in 0..<(try reader.readCount(maximum: Limits.volumesOfHost)) {
            volumes.append(try VolumeReport(first: &reader))
        }
        return volumes
    }
}
