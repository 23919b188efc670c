import Wire

extension BackupSpec: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(everySeconds)
        for (_, count) in keep.counts { writer.write(count) }
        writer.write(to)
        for seconds in [drillSeconds, restoreOnLossSeconds] {
            writer.write(seconds != nil)
            if let seconds { writer.write(seconds) }
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            everySeconds: try reader.readInt(),
            keep: BackupKeep(
                last: try reader.readInt(), hourly: try reader.readInt(),
                daily: try reader.readInt(), weekly: try reader.readInt(),
                monthly: try reader.readInt()),
            to: try reader.readString(maximum: 4_096))
        if try reader.readBool() { drillSeconds = try reader.readInt() }
        if try reader.readBool() { restoreOnLossSeconds = try reader.readInt() }
    }
}
