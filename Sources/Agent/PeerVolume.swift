import ControlAPI
import Wire

/// An operation on a volume, as one agent hands it to another: its JSON form.
///
/// The form of the local API, so that a new operation has one form everywhere; an agent that does
/// not know it can say so, since what it reads first are only bytes.
struct PeerVolumeOperation: WireCodable, Hashable, Sendable {
    var json: [UInt8]

    init(_ operation: VolumeOperation) { json = operation.json }

    func encode(into writer: inout ByteWriter) { writer.write(counted: json) }

    init(from reader: inout ByteReader) throws(WireError) {
        json = try reader.readCounted(maximum: VolumeOperation.jsonBytesMax)
    }

    /// The operation; throws a refusal when this agent does not know it.
    func operation() throws -> VolumeOperation { try VolumeOperation(json: json) }
}

/// One line of an operation's answer on its way to the host that asked: its JSON form.
struct PeerVolumeLine: WireCodable, Hashable, Sendable {
    var json: [UInt8]

    init(_ line: VolumeOperationLine) {
        json = line.json
        if json.count > VolumeOperationLine.jsonBytesMax {
            let error = ControlError(.failed, "the answer of \(json.count) bytes is too long")
            json = VolumeOperationLine(error: error.view).json
        }
    }

    func encode(into writer: inout ByteWriter) { writer.write(counted: json) }

    init(from reader: inout ByteReader) throws(WireError) {
        json = try reader.readCounted(maximum: VolumeOperationLine.jsonBytesMax)
    }

    /// The line; throws when it is none.
    func line() throws -> VolumeOperationLine { try VolumeOperationLine(json: json) }
}
