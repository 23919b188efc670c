import Base
import ClusterModel
import Wire

/// A slot on its way to another host, with all of its volumes.
///
/// The log is the truth of it. The target drives: it copies what the slot's volumes hold while the
/// slot runs on, asks for the slot to be held, copies what changed since, compares, and asks for the
/// switch. Any of the hosts may die at any point: what is in the log says what to do next, and until
/// the switch the source has everything.
package struct SlotMove: Equatable, Sendable {
    /// The slot.
    package var slot: SlotID
    /// The host that holds its volumes.
    package var source: HostID
    /// The host that is to hold them.
    package var target: HostID
    /// The entry that began the move, by which it is named.
    package var index: LogIndex
    /// The entry that last held the slot for the last copy; nil while the slot may run.
    package var heldAt: LogIndex?

    package init(
        slot: SlotID, source: HostID, target: HostID, index: LogIndex, heldAt: LogIndex? = nil
    ) {
        self.slot = slot
        self.source = source
        self.target = target
        self.index = index
        self.heldAt = heldAt
    }
}

/// One step of a move.
package enum MoveStep: Equatable, Sendable {
    /// Most is copied: end the slot's set and start it nowhere, for the last copy.
    case hold
    /// The last copy has to wait: the slot may run on its source again, and the move goes on.
    case release(reason: String)
    /// The copies made while the slot was held since `heldAt` equal the originals: they are the
    /// slot's volumes from here on.
    case finish(heldAt: LogIndex, copies: [MovedVolume])
    /// The slot stays where it is.
    case cancel(reason: String)
}

/// A volume and its copy, by their identities.
package struct MovedVolume: Equatable, Sendable {
    /// The original, which goes to its host's trash.
    package var original: String
    /// The copy that is the slot's volume now.
    package var copy: String

    package init(original: String, copy: String) {
        self.original = original
        self.copy = copy
    }
}

/// A move that is over, remembered until both hosts have said that they know it.
///
/// By the identities of the volumes: a source that was away when the slot moved must never take its
/// old ones for the slot's, whatever became of slot and service since.
package struct FinishedMove: Equatable, Sendable {
    /// The move.
    package var move: SlotMove
    /// The entry that created the slot's service.
    package var owner: LogIndex
    /// What was copied.
    package var volumes: [MovedVolume]
    /// True once the originals are in the source's trash, and belong to no service.
    package var isSourceDone = false
    /// True once the target has told of the copies.
    package var isTargetDone = false

    /// The most volumes of one slot.
    static let volumesMax = 64
}

/// The binary form of what is about moves: tags 21 and 22.
extension Command {
    static let moveTags: ClosedRange<UInt8> = 21...22

    func encodeMove(into writer: inout ByteWriter) {
        switch self {
        case .startMove(let slot, let host):
            writer.write(byte: 21)
            writer.write(slot)
            writer.write(host)
        case .stepMove(let slot, let move, let step):
            writer.write(byte: 22)
            writer.write(slot)
            writer.write(move)
            writer.write(step)
        default: preconditionFailure("only commands about moves come here")
        }
    }

    static func readMove(
        _ tag: UInt8, _ reader: inout ByteReader
    ) throws(WireError) -> Command {
        switch tag {
        case 21: .startMove(try reader.read(), to: try reader.read())
        case 22: .stepMove(try reader.read(), move: try reader.read(), try reader.read())
        default: throw .unknownCase(what: "command", value: UInt64(tag))
        }
    }
}

extension SlotMove: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(slot)
        writer.write(source)
        writer.write(target)
        writer.write(index)
        writer.write(optional: heldAt)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            slot: try reader.read(), source: try reader.read(), target: try reader.read(),
            index: try reader.read(), heldAt: try reader.readOptional())
    }
}

extension MovedVolume: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(original)
        writer.write(copy)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            original: try reader.readString(maximum: 64), copy: try reader.readString(maximum: 64))
    }
}

extension MoveStep: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .hold: writer.write(byte: 1)
        case .release(let reason):
            writer.write(byte: 2)
            writer.write(bounded: reason)
        case .finish(let heldAt, let copies):
            writer.write(byte: 3)
            writer.write(heldAt)
            writer.write(list: copies)
        case .cancel(let reason):
            writer.write(byte: 4)
            writer.write(bounded: reason)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 1: self = .hold
        case 2: self = .release(reason: try reader.readText())
        case 3:
            self = .finish(
                heldAt: try reader.read(),
                copies: try reader.readList(maximum: FinishedMove.volumesMax))
        case 4: self = .cancel(reason: try reader.readText())
        case let other: throw .unknownCase(what: "step of a move", value: UInt64(other))
        }
    }
}

extension FinishedMove: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(move)
        writer.write(owner)
        writer.write(list: volumes)
        writer.write(isSourceDone)
        writer.write(isTargetDone)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        self.init(
            move: try reader.read(), owner: try reader.read(),
            volumes: try reader.readList(maximum: FinishedMove.volumesMax),
            isSourceDone: try reader.readBool(), isTargetDone: try reader.readBool())
    }
}
