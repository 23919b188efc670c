import Base
import ClusterModel
import Wire

/// What one agent asks of another over a stream: the stream's header.
enum PeerRequest: WireCodable, Hashable, Sendable {
    /// The blobs of an image; answered with one `ImageOffer`.
    case image(manifest: String)
    /// A blob from an offset; answered with its bytes until the end.
    case blob(digest: String, offset: UInt64)
    /// Lines of a set's log; answered with one `PeerLogLine` a frame.
    case logs(slot: SlotID, container: String?, follow: Bool, tail: Int?)
    /// A command in a set's container: a `PeerCommand` follows, and then its standard input;
    /// answered with `PeerExecFrame`s.
    case exec(slot: SlotID, container: String?)
    /// What of a set's limits its host does not keep; answered with one `PeerNotes`.
    case notes(slot: SlotID)
    /// What the host and its sets use, of one service or of all; answered with one `PeerUsage`.
    case usage(service: String?, containers: Bool)
    /// An operation on a volume; answered with one `PeerVolumeLine` a frame.
    case volume(PeerVolumeOperation)
    /// Which sets of a service are still on the host; answered with one `PeerRemains`.
    case remains(service: String)
    /// Backups of a volume that are kept there: restic's REST protocol follows, as raw bytes.
    /// `prunes`: old ones are to be removed, too.
    case backups(volume: String, prunes: Bool)
    /// Whether there is room for copies of these volumes; answered with a `PeerReply` alone.
    case receivable(PeerMoveVolumes)
    /// The volumes of a slot that moves to the asker, as far as it is held; answered with
    /// `PeerMoveFrame`s, and the asker sends some, too.
    case moveVolumes(slot: SlotID, move: LogIndex, heldAt: LogIndex?)

    private static let version: UInt8 = 1

    func encode(into writer: inout ByteWriter) {
        writer.write(byte: PeerRequest.version)
        switch self {
        case .image(let manifest):
            writer.write(byte: 1)
            writer.write(manifest)
        case .blob(let digest, let offset):
            writer.write(byte: 2)
            writer.write(digest)
            writer.write(offset)
        case .logs(let slot, let container, let follow, let tail):
            writer.write(byte: 3)
            writer.write(slot)
            writer.write(optional: container)
            writer.write(follow)
            writer.write(tail ?? -1)
        case .exec(let slot, let container):
            writer.write(byte: 4)
            writer.write(slot)
            writer.write(optional: container)
        case .notes(let slot):
            writer.write(byte: 30)
            writer.write(slot)
        case .usage(let service, let containers):
            writer.write(byte: 31)
            writer.write(optional: service)
            writer.write(containers)
        case .volume(let operation):
            writer.write(byte: 20)
            writer.write(operation)
        case .remains(let service):
            writer.write(byte: 5)
            writer.write(service)
        case .backups(let volume, let prunes):
            writer.write(byte: 35)
            writer.write(volume)
            writer.write(prunes)
        case .receivable(let volumes):
            writer.write(byte: 21)
            writer.write(volumes)
        case .moveVolumes(let slot, let move, let heldAt):
            writer.write(byte: 22)
            writer.write(slot)
            writer.write(move)
            writer.write(optional: heldAt)
        }
    }

    init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readByte()
        guard version == PeerRequest.version else {
            throw .unknownCase(what: "request version", value: UInt64(version))
        }
        switch try reader.readByte() {
        case 1: self = .image(manifest: try reader.readString(maximum: 128))
        case 2:
            self = .blob(
                digest: try reader.readString(maximum: 128), offset: try reader.readUInt64())
        case 3:
            let slot = try reader.read(SlotID.self)
            let container = try reader.readOptional(String.self)
            let follow = try reader.readBool()
            let tail = try reader.readInt()
            self = .logs(
                slot: slot, container: container, follow: follow, tail: tail < 0 ? nil : tail)
        case 4:
            self = .exec(slot: try reader.read(), container: try reader.readOptional())
        case 20: self = .volume(try reader.read())
        case 5: self = .remains(service: try reader.readString(maximum: 256))
        case 30: self = .notes(slot: try reader.read())
        case 31:
            self = .usage(service: try reader.readOptional(), containers: try reader.readBool())
        case 35:
            self = .backups(
                volume: try reader.readString(maximum: 160), prunes: try reader.readBool())
        case 21: self = .receivable(try reader.read())
        case 22:
            self = .moveVolumes(
                slot: try reader.read(), move: try reader.read(),
                heldAt: try reader.readOptional())
        case let other: throw .unknownCase(what: "request", value: UInt64(other))
        }
    }
}

/// A command and its arguments.
struct PeerCommand: WireCodable, Hashable, Sendable {
    var arguments: [String]

    /// The most arguments, and the longest in bytes.
    static let argumentsMax = 4_096
    static let argumentBytesMax = 128 << 10

    init(arguments: [String]) { self.arguments = arguments }

    func encode(into writer: inout ByteWriter) {
        writer.write(UInt64(arguments.count))
        for argument in arguments { writer.write(argument) }
    }

    init(from reader: inout ByteReader) throws(WireError) {
        let count = try reader.readUInt64()
        guard count <= UInt64(PeerCommand.argumentsMax) else {
            throw .tooLarge(
                what: "arguments", value: count, maximum: UInt64(PeerCommand.argumentsMax))
        }
        arguments = []
        for _ in 0..<count {
            arguments.append(try reader.readString(maximum: PeerCommand.argumentBytesMax))
        }
    }
}

/// The first frame of every answer: a refusal in words, or the go-ahead.
enum PeerReply: WireCodable, Hashable, Sendable {
    /// What was asked for follows.
    case ready
    /// It cannot be had here, and why; cut to `reasonBytesMax`.
    case refused(String)

    /// The longest reason, in bytes of UTF-8.
    static let reasonBytesMax = 4_096

    func encode(into writer: inout ByteWriter) {
        switch self {
        case .ready: writer.write(byte: 0)
        case .refused(let reason):
            writer.write(byte: 1)
            writer.write(PeerReply.bounded(reason))
        }
    }

    init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 0: self = .ready
        case 1: self = .refused(try reader.readString(maximum: PeerReply.reasonBytesMax))
        case let other: throw .unknownCase(what: "reply", value: UInt64(other))
        }
    }

    /// By scalars, for one character may have any number of them.
    private static func bounded(_ reason: String) -> String {
        guard reason.utf8.count > reasonBytesMax else { return reason }
        var kept = String.UnicodeScalarView()
        var count = 0
        for scalar in reason.unicodeScalars {
            count += String(scalar).utf8.count
            if count > reasonBytesMax { break }
            kept.append(scalar)
        }
        return String(kept)
    }
}

/// The blobs of an image that a host has: the manifest first.
struct ImageOffer: WireCodable, Hashable, Sendable {
    /// One blob.
    struct Blob: WireCodable, Hashable, Sendable {
        var digest: String
        var size: UInt64

        init(digest: String, size: UInt64) {
            self.digest = digest
            self.size = size
        }

        func encode(into writer: inout ByteWriter) {
            writer.write(digest)
            writer.write(size)
        }

        init(from reader: inout ByteReader) throws(WireError) {
            digest = try reader.readString(maximum: 128)
            size = try reader.readUInt64()
        }
    }

    var blobs: [Blob]

    init(blobs: [Blob]) { self.blobs = blobs }

    func encode(into writer: inout ByteWriter) { writer.write(list: blobs) }

    init(from reader: inout ByteReader) throws(WireError) {
        blobs = try reader.readList(maximum: 1_024)
    }
}

/// The sets of a service that are still on a host, those that are being ended included.
struct PeerRemains: WireCodable, Hashable, Sendable {
    var slots: [SlotID]

    init(slots: [SlotID]) { self.slots = slots }

    func encode(into writer: inout ByteWriter) { writer.write(list: slots) }

    init(from reader: inout ByteReader) throws(WireError) {
        slots = try reader.readList(maximum: 1_024)
    }
}

/// One line of a log on its way to the host that asked.
struct PeerLogLine: WireCodable, Hashable, Sendable {
    var container: String
    var isError: Bool
    var time: String
    var text: String

    init(container: String, isError: Bool, time: String, text: String) {
        self.container = container
        self.isError = isError
        self.time = time
        self.text = text
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(container)
        writer.write(isError)
        writer.write(time)
        writer.write(text)
    }

    init(from reader: inout ByteReader) throws(WireError) {
        container = try reader.readString()
        isError = try reader.readBool()
        time = try reader.readString()
        text = try reader.readString(maximum: 1 << 20)
    }
}

/// One piece of a command's standard input, or its end.
enum PeerInputPiece: WireCodable, Hashable, Sendable {
    case bytes([UInt8])
    case end

    func encode(into writer: inout ByteWriter) {
        switch self {
        case .bytes(let bytes):
            writer.write(byte: 1)
            writer.write(counted: bytes)
        case .end:
            writer.write(byte: 2)
        }
    }

    init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 1: self = .bytes(try reader.readCounted(maximum: 1 << 20))
        case 2: self = .end
        case let other: throw .unknownCase(what: "input", value: UInt64(other))
        }
    }
}

/// One piece of a command's output, or its end.
enum PeerExecFrame: WireCodable, Hashable, Sendable {
    case standardOutput([UInt8])
    case standardError([UInt8])
    case exit(Int)

    func encode(into writer: inout ByteWriter) {
        switch self {
        case .standardOutput(let bytes):
            writer.write(byte: 1)
            writer.write(counted: bytes)
        case .standardError(let bytes):
            writer.write(byte: 2)
            writer.write(counted: bytes)
        case .exit(let code):
            writer.write(byte: 3)
            writer.write(code)
        }
    }

    init(from reader: inout ByteReader) throws(WireError) {
        switch try reader.readByte() {
        case 1: self = .standardOutput(try reader.readCounted(maximum: 1 << 20))
        case 2: self = .standardError(try reader.readCounted(maximum: 1 << 20))
        case 3: self = .exit(try reader.readInt())
        case let other: throw .unknownCase(what: "exec frame", value: UInt64(other))
        }
    }
}
