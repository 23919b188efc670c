import Base
import ClusterState
import Consensus
import Wire

/// What peers say to each other over a kept connection.
///
/// Membership has datagrams of its own.
package enum PeerMessage: WireCodable, Sendable {
    /// A step of the log's protocol.
    case consensus(ConsensusMessage)
    /// A write on its way to the leaseholder. Nobody answers it: the asker sees it in the log.
    case forward(CommandEnvelope)

    private static let version: UInt8 = 1

    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: PeerMessage.version)
        switch self {
        case .consensus(let message):
            writer.write(byte: 1)
            writer.write(message)
        case .forward(let envelope):
            writer.write(byte: 2)
            writer.write(envelope)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readByte()
        guard version == PeerMessage.version else {
            throw .unknownCase(what: "peer message version", value: UInt64(version))
        }
        switch try reader.readByte() {
        case 1: self = .consensus(try reader.read())
        case 2: self = .forward(try reader.read())
        case let other: throw .unknownCase(what: "peer message", value: UInt64(other))
        }
    }
}
