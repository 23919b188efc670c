import Base
import ClusterModel
import Wire

/// The binary form of what hosts tell of themselves beside their sets: tags 20, 55 and 56.
extension Command {
    static let reportTags: Set<UInt8> = [20, 55, 56]

    func encodeReports(into writer: inout ByteWriter) {
        switch self {
        case .reportVolumes(let host, let bootEpoch, let volumes):
            // Volumes that there is nothing to say of are told in words that all versions know.
            let isPlain = volumes.allSatisfy(\.condition.isWell)
            writer.write(byte: isPlain ? 20 : 55)
            writer.write(host)
            writer.write(bootEpoch)
            writer.write(list: volumes)
            if !isPlain { writer.write(conditionsOf: volumes) }
        case .notice(let host, let bootEpoch, let notice):
            writer.write(byte: 56)
            writer.write(host)
            writer.write(bootEpoch)
            writer.write(notice)
        default: preconditionFailure("only reports come here")
        }
    }

    static func readReports(
        _ tag: UInt8, _ reader: inout ByteReader
    ) throws(WireError) -> Command {
        let (host, bootEpoch) = (try reader.read(HostID.self), try reader.read(BootEpoch.self))
        if tag == 56 { return .notice(host: host, bootEpoch: bootEpoch, try reader.read()) }
        var volumes = try reader.readList(of: VolumeReport.self, maximum: Limits.volumesOfHost)
        if tag == 55 { try reader.readConditions(of: &volumes) }
        return .reportVolumes(host: host, bootEpoch: bootEpoch, volumes: volumes)
    }
}
