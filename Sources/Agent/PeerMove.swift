import Base
import ClusterModel
import ClusterState
import VolumePlan
import VolumeStore
import Wire

/// The volumes of one slot, as the host that has them tells the one that is to have them.
struct PeerMoveVolumes: WireCodable, Hashable, Sendable {
    var volumes: [Volume]

    /// One of them.
    struct Volume: WireCodable, Hashable, Sendable {
        var name: String
        var id: String
        var volumeClass: VolumeClass
        var fileSystem: String
        var size: Int
        var owner: UInt64

        init(_ original: VolumeOriginal) {
            name = original.name.description
            id = original.id.description
            volumeClass = original.volumeClass
            fileSystem = original.fileSystem.rawValue
            size = original.size
            owner = original.owner
        }

        func encode(into writer: inout ByteWriter) {
            writer.write(name)
            writer.write(id)
            writer.write(volumeClass)
            writer.write(fileSystem)
            writer.write(size)
            writer.write(owner)
        }

        init(from reader: inout ByteReader) throws(WireError) {
            name = try reader.readString(maximum: 200)
            id = try reader.readString(maximum: 64)
            volumeClass = try reader.read()
            fileSystem = try reader.readString(maximum: 64)
            size = try reader.readInt()
            owner = try reader.readUInt64()
        }

        /// The volume, if all of it makes sense.
        var original: VolumeOriginal? {
            guard let name = VolumeName(name), name.snapshot == nil, let id = VolumeID(id),
                let fileSystem = FileSystemKind(rawValue: fileSystem),
                (fileSystem == .host) == (volumeClass == .directory),
                (1...VolumeRecord.sizeMax).contains(size)
            else { return nil }
            return VolumeOriginal(
                name: name, id: id, volumeClass: volumeClass, fileSystem: fileSystem, size: size,
                owner: owner)
        }
    }

    init(_ originals: [VolumeOriginal]) { volumes = originals.map { Volume($0) } }

    func encode(into writer: inout ByteWriter) { writer.write(list: volumes) }

    init(from reader: inout ByteReader) throws(WireError) {
        volumes = try reader.readList(maximum: 64)
    }

    /// The volumes; throws when one makes no sense.
    func originals() throws -> [VolumeOriginal] {
        try volumes.map { volume in
            guard let original = volume.original else {
                throw AgentError("the other host tells of a volume that cannot be: \(volume.name)")
            }
            return original
        }
    }
}

/// What two agents say to each other while volumes are copied.
///
/// The source tells the digests of some pieces, the target wants those that differ from what it has,
/// and gets them; so on to the end of each volume.
///
/// A volume of class `directory` has files and no pieces: the target asks for passes of rsync, whose
/// words both sides carry, and for the digest of all files, until it says that this is the end.
enum PeerMoveFrame: WireCodable, Hashable, Sendable {
    /// The volumes that follow, one after the other.
    case volumes(PeerMoveVolumes)
    /// Digests of pieces from `first` on; an empty one is of zeros.
    case digests(first: Int, [[UInt8]])
    /// The pieces that the target wants of those.
    case wanted([Int])
    /// One of them; no bytes are zeros.
    case piece(Int, [UInt8])
    /// The volume is at its end.
    case end
    /// The source is to run rsync, and compare files by content or by size and time only.
    case pass(isThorough: Bool)
    /// What rsync at one side says to rsync at the other.
    case bytes([UInt8])
    /// How rsync ended at one side; nothing of it follows.
    case ended(code: Int, words: String)
    /// The target asks what the files' digest is; the source answers with 64 digits.
    case digest(String)
    /// The side is still at work: nothing is to be done.
    case alive

    /// The most pieces in one frame of digests.
    static let piecesMax = 64
    /// The most bytes of rsync's in one frame.
    static let bytesMax = 256 << 10

    func encode(into writer: inout ByteWriter) {
        switch self {
        case .volumes(let volumes):
            writer.write(byte: 1)
            writer.write(volumes)
        case .digests(let first, let digests):
            writer.write(byte: 2)
            writer.write(first)
            writer.write(UInt64(digests.count))
            for digest in digests { writer.write(counted: digest) }
        case .wanted(let pieces):
            writer.write(byte: 3)
            writer.write(UInt64(pieces.count))
            for piece in pieces { writer.write(piece) }
        case .piece(let piece, let bytes):
            writer.write(byte: 4)
            writer.write(piece)
            writer.write(counted: bytes)
        case .end: writer.write(byte: 5)
        case .pass(let isThorough):
            writer.write(byte: 6)
            writer.write(isThorough)
        case .bytes(let bytes):
            writer.write(byte: 7)
            writer.write(counted: bytes)
        case .ended(let code, let words):
            writer.write(byte: 8)
            writer.write(code)
            writer.write(words)
        case .digest(let digits):
            writer.write(byte: 9)
            writer.write(digits)
        case .alive: writer.write(byte: 10)
        }
    }

    init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 1: self = .volumes(try reader.read())
        case 2:
            let first = try reader.readInt()
            var digests: [[UInt8]] = []
            for _ in 0..<(try PeerMoveFrame.count(&reader)) {
                digests.append(try reader.readCounted(maximum: PieceDigest.length))
            }
            self = .digests(first: first, digests)
        case 3:
            var pieces: [Int] = []
            for _ in 0..<(try PeerMoveFrame.count(&reader)) { pieces.append(try reader.readInt()) }
            self = .wanted(pieces)
        case 4:
            self = .piece(
                try reader.readInt(), try reader.readCounted(maximum: VolumeBlocks.pieceBytes))
        case 5: self = .end
        case 6: self = .pass(isThorough: try reader.readBool())
        case 7: self = .bytes(try reader.readCounted(maximum: PeerMoveFrame.bytesMax))
        case 8:
            self = .ended(
                code: try reader.readInt(),
                words: try reader.readString(maximum: TreeCopyEnding.wordBytesMax))
        case 9: self = .digest(try reader.readString(maximum: 64))
        case 10: self = .alive
        case let other: throw .unknownCase(what: "frame of a move", value: UInt64(other))
        }
    }

    private static func count(_ reader: inout ByteReader) throws(WireError) -> UInt64 {
        let count = try reader.readUInt64()
        guard count <= UInt64(piecesMax) else {
            throw .tooLarge(what: "pieces", value: count, maximum: UInt64(piecesMax))
        }
        return count
    }
}
