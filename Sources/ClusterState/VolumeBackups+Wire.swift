import Base
import ClusterModel
import Wire

extension BackupRecord: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(id)
        writer.write(time)
        writer.write(sizeBytes)
        writer.write(digest)
        // One byte of flags; the first alone is what earlier versions wrote as a Bool.
        writer.write(byte: (isPointInTime ? 1 : 0) | (isDamaged ? 2 : 0))
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            id: try reader.readString(maximum: 64), time: try reader.read(),
            sizeBytes: try reader.readInt(), digest: try reader.readString(maximum: 128))
        let flags = try reader.readByte()
        guard flags < 4 else {
            throw .unknownCase(what: "flags of a backup", value: UInt64(flags))
        }
        isPointInTime = flags & 1 != 0
        isDamaged = flags & 2 != 0
    }
}

extension BackupCopy: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(target)
        writer.write(optional: host)
        writer.write(list: backups)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            target: try reader.readString(maximum: SpecLimits.backupTargetBytes),
            host: try reader.readOptional(),
            backups: try reader.readList(maximum: Limits.backups))
    }
}

extension BackupDrill: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(time)
        writer.write(backup)
        writer.write(ageMilliseconds)
        writer.write(durationMilliseconds)
        writer.write(problem)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            time: try reader.read(), backup: try reader.readString(maximum: 64),
            ageMilliseconds: try reader.readInt(), durationMilliseconds: try reader.readInt(),
            problem: try reader.readText())
    }
}

extension BackupFailure: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(time)
        writer.write(reason)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(time: try reader.read(), reason: try reader.readText())
    }
}

extension VolumeBackups: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(slot)
        writer.write(name)
        writer.write(owner)
        writer.write(volumeClass)
        writer.write(sizeBytes)
        writer.write(list: copies)
        writer.write(optional: drill)
        writer.write(optional: failure)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            slot: try reader.read(), name: try reader.readString(maximum: 64),
            owner: try reader.read(), volumeClass: try reader.read(),
            sizeBytes: try reader.readInt(),
            copies: try reader.readList(maximum: Limits.backupCopies),
            drill: try reader.readOptional(), failure: try reader.readOptional())
    }
}

extension VolumeRestoration.Source: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(volume)
        writer.write(backup)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            volume: try reader.readString(maximum: 64),
            backup: try reader.readString(maximum: 64))
    }
}

extension VolumeRestoration: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(host)
        writer.write(list: sources)
        writer.write(index)
        writer.write(bounded: problem)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            host: try reader.read(), sources: try reader.readList(maximum: Limits.restored),
            index: try reader.read(), problem: try reader.readText())
    }
}
