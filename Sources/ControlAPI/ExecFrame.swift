import NIOCore

/// The frames in which `POST /v1/exec` answers: one byte of kind, four of length, the bytes.
///
/// The length is big-endian. Kinds: 1 standard output, 2 standard error, 3 exit status (four bytes,
/// big-endian), 4 a failure after the answer had begun (an ``ErrorView`` as JSON). The request's
/// body is the command's standard input, unframed.
package enum ExecFrame: Hashable, Sendable {
    /// What the command gave back.
    case output(ExecOutput)
    /// The agent failed after the command had begun.
    case failure([UInt8])

    /// The most bytes of one frame; longer output is split.
    package static let bytesMax = 1 << 20

    /// Appends the frame to a buffer, in several pieces when it is long.
    package func write(into buffer: inout ByteBuffer) {
        switch self {
        case .output(.standardOutput(let bytes)): Self.write(1, bytes, &buffer)
        case .output(.standardError(let bytes)): Self.write(2, bytes, &buffer)
        case .output(.exit(let code)):
            buffer.writeInteger(UInt8(3))
            buffer.writeInteger(UInt32(4))
            buffer.writeInteger(code)
        case .failure(let bytes): Self.write(4, Array(bytes.prefix(Self.bytesMax)), &buffer)
        }
    }

    private static func write(_ kind: UInt8, _ bytes: [UInt8], _ buffer: inout ByteBuffer) {
        for start in stride(from: 0, to: bytes.count, by: bytesMax) {
            let piece = bytes[start..<min(start + bytesMax, bytes.count)]
            buffer.writeInteger(kind)
            buffer.writeInteger(UInt32(piece.count))
            buffer.writeBytes(piece)
        }
    }

    /// Takes the next whole frame off a buffer; nil when more bytes are needed.
    ///
    /// Throws ``ControlError`` for a kind or length that no agent sends.
    package static func read(from buffer: inout ByteBuffer) throws -> ExecFrame? {
        let start = buffer.readerIndex
        guard let kind: UInt8 = buffer.getInteger(at: start),
            let length: UInt32 = buffer.getInteger(at: start + 1)
        else { return nil }
        guard (1...4).contains(kind), length <= bytesMax, kind != 3 || length == 4 else {
            throw ControlError(
                .unreachable, "the agent's answer to exec has an unknown frame (kind \(kind))",
                next: "check that the agent and this command have the same version")
        }
        guard let bytes = buffer.getBytes(at: start + 5, length: Int(length)) else { return nil }
        buffer.moveReaderIndex(forwardBy: 5 + Int(length))
        switch kind {
        case 1: return .output(.standardOutput(bytes))
        case 2: return .output(.standardError(bytes))
        case 3:
            let code = bytes.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            return .output(.exit(Int32(bitPattern: code)))
        default: return .failure(bytes)
        }
    }
}
