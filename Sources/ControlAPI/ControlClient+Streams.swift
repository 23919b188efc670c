import ClusterModel
import Glibc
import NIOCore
import NIOHTTP1
import Synchronization

extension ControlClient {
    /// Loads an image archive: `next` gives its bytes, run by run, and nil at the end.
    ///
    /// `references` are the names to give; empty keeps those in the archive. `size` is the archive's
    /// size in bytes, when known. A ``ControlError`` thrown by `next` ends the upload unloaded.
    package func loadImage(
        references: [String] = [], size: Int? = nil,
        next: @escaping @Sendable () async throws -> [UInt8]?
    ) async throws -> [ImageView] {
        let exchange = exchange(
            .POST, target("/v1/images", references.map { ("reference", $0) }))
        let bytes = try await exchange.upload(contentLength: size) {
            try await next().map { ByteBuffer(bytes: $0) }
        }
        return try decodeAnswer(bytes)
    }

    /// Hands over the log lines of what `request` names, until they end or the task is cancelled.
    package func logs(
        _ request: LogRequest, receive: (LogLine) async throws -> Void
    ) async throws {
        var name = request.service
        if let ordinal = request.ordinal { name += ".\(ordinal)" }
        if let container = request.container { name += "/\(container)" }
        var query = [("target", name)]
        if request.follow { query.append(("follow", "1")) }
        if let tail = request.tail { query.append(("tail", String(tail))) }
        let exchange = exchange(.GET, target("/v1/logs", query))
        var pending = ByteBuffer()
        try await exchange.stream(next: nil) { run in
            pending.writeImmutableBuffer(run)
            while let end = pending.readableBytesView.firstIndex(of: UInt8(ascii: "\n")),
                let line = pending.readBytes(length: end - pending.readerIndex)
            {
                pending.moveReaderIndex(forwardBy: 1)
                try await receive(try decodeLine(line))
            }
            pending.discardReadBytes()
        }
    }

    /// Carries out an operation on a volume and returns its outcome; `progress` hears how far it is.
    ///
    /// The operation goes on when the task is cancelled or this program ends.
    package func operate(
        _ operation: VolumeOperation,
        progress: (VolumeProgressView) async throws -> Void = { _ in }
    ) async throws -> VolumeOperationResult {
        let exchange = exchange(.POST, "/v1/volumes")
        let body = OneBuffer(operation.json)
        var pending = ByteBuffer()
        var outcome: VolumeOperationResult?
        try await exchange.stream(next: { body.take() }) { run in
            pending.writeImmutableBuffer(run)
            while let end = pending.readableBytesView.firstIndex(of: UInt8(ascii: "\n")),
                let bytes = pending.readBytes(length: end - pending.readerIndex)
            {
                pending.moveReaderIndex(forwardBy: 1)
                guard let line = try? VolumeOperationLine(json: bytes) else {
                    throw ControlError(
                        .unreachable, "the agent at \(socketPath) sent a broken line")
                }
                if let error = line.error { throw ControlError(error) }
                if let result = line.result { outcome = result }
                if let now = line.progress { try await progress(now) }
            }
            pending.discardReadBytes()
        }
        guard let outcome else {
            throw ControlError(
                .unreachable, "the agent did not say what the operation came to",
                next: "it may have been done; look with `shoal volumes`")
        }
        return outcome
    }

    /// Runs a command in a container; returns its exit status (128 plus the signal if one ended it).
    ///
    /// `input` gives the command's standard input, nil at the end; nil instead of it means none.
    package func exec(
        _ request: ExecRequest, input: (@Sendable () async throws -> [UInt8]?)?,
        receive: (ExecOutput) async throws -> Void
    ) async throws -> Int32 {
        var query = [("slot", request.slot.description)]
        if let container = request.container { query.append(("container", container)) }
        query += request.command.map { ("argument", $0) }
        let exchange = exchange(.POST, target("/v1/exec", query))
        guard exchange.target.utf8.count <= 60_000 else {
            throw ControlError(.tooLarge, "the command is too long: about 60,000 bytes are allowed")
        }
        var next: (@Sendable () async throws -> ByteBuffer?)?
        if let input { next = { try await input().map { ByteBuffer(bytes: $0) } } }
        var pending = ByteBuffer()
        var code: Int32?
        try await exchange.stream(next: next) { run in
            pending.writeImmutableBuffer(run)
            while let frame = try ExecFrame.read(from: &pending) {
                switch frame {
                case .output(.exit(let status)): code = status
                case .output(let output): try await receive(output)
                case .failure(let bytes): throw failure(bytes)
                }
            }
            pending.discardReadBytes()
        }
        guard let code else {
            throw ControlError(.unreachable, "the agent did not say how the command ended")
        }
        return code
    }

    private func decodeLine(_ bytes: [UInt8]) throws -> LogLine {
        if let line = try? StrictJSON.decodeLenient(LogLine.self, from: bytes) { return line }
        let carried = try? StrictJSON.decodeLenient([String: ErrorView].self, from: bytes)
        guard let view = carried?["error"] else {
            throw ControlError(.unreachable, "the agent at \(socketPath) sent a broken log line")
        }
        throw ControlError(view)
    }

    private func failure(_ bytes: [UInt8]) -> ControlError {
        guard let view = try? StrictJSON.decodeLenient(ErrorView.self, from: bytes) else {
            return ControlError(.failed, "the agent failed while the command ran")
        }
        return ControlError(view)
    }
}

/// A body of one piece.
private final class OneBuffer: Sendable {
    private let rest: Mutex<[UInt8]?>

    init(_ bytes: [UInt8]) { rest = Mutex(bytes) }

    func take() -> ByteBuffer? {
        rest.withLock { rest in
            defer { rest = nil }
            return rest.map { ByteBuffer(bytes: $0) }
        }
    }
}
