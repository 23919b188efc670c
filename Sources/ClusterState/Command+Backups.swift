import Base
import ClusterModel
import Wire

/// The binary form of what is about backups: tags 35 to 38.
extension Command {
    static let backupTags: ClosedRange<UInt8> = 35...38

    func encodeBackups(into writer: inout ByteWriter) {
        switch self {
        case .reportBackups(let host, let backups):
            writer.write(byte: 35)
            writer.write(host)
            writer.write(backups)
        case .forgetBackups(let slot, let volume, let owner):
            writer.write(byte: 36)
            writer.write(slot)
            writer.write(volume)
            writer.write(owner)
        case .restoreVolumes(let slot, let restoration, let replaces):
            writer.write(byte: 37)
            writer.write(slot)
            writer.write(restoration)
            writer.write(replaces)
        case .reportRestoration(let slot, let index, let host, let problem):
            writer.write(byte: 38)
            writer.write(slot)
            writer.write(index)
            writer.write(host)
            writer.write(bounded: problem)
        default: preconditionFailure("only commands about backups come here")
        }
    }

    static func readBackups(
        _ tag: UInt8, _ reader: inout ByteReader
    ) throws(WireError) -> Command {
        switch tag {
        case 35: .reportBackups(host: try reader.read(), try reader.read())
        case 36:
            .forgetBackups(
                try reader.read(), volume: try reader.readString(maximum: 64),
                owner: try reader.read())
        case 37:
            .restoreVolumes(
                try reader.read(), try reader.read(), replaces: try reader.readBool())
        case 38:
            .reportRestoration(
                try reader.read(), index: try reader.read(), host: try reader.read(),
                problem: try reader.readText())
        default: throw .unknownCase(what: "command about backups", value: UInt64(tag))
        }
    }
}
