import ClusterModel
import Glibc
import NIOCore
import NIOHTTP1

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
        throw ControlError(
            ControlErrorCode(rawValue: view.code) ?? .failed, view.message, next: view.next)
    }

    private func failure(_ bytes: [UInt8]) -> ControlError {
        guard let view = try? StrictJSON.decodeLenient(ErrorView.self, from: bytes) else {
            return ControlError(.failed, "the agent failed while the command ran")
        }
        return ControlError(
            ControlErrorCode(rawValue: view.code) ?? .failed, view.message, next: view.next)
    }
}
