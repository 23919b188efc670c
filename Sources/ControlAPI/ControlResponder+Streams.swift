import ClusterModel
import Hummingbird
import HummingbirdCore
import NIOCore

extension ControlResponder {
    /// How much output may wait for a client before the backend is slowed.
    private static var queueBytesMax: Int { 256 << 10 }

    /// `GET /v1/logs`: one ``LogLine`` per line; a failure on the way is a last line `{"error":...}`.
    func logs(_ request: Request, _ context: ControlContext) async throws -> Response {
        let items = try RequestQuery(request.uri.query, known: ["target", "follow", "tail"])
        guard
            let logRequest = LogRequest(
                target: items["target"] ?? "", follow: try items.flag("follow"),
                tail: try items.number("tail", in: 0...LogRequest.tailMax))
        else {
            throw ControlError(
                .invalid, "target must be SERVICE, SLOT or SLOT/CONTAINER, such as web.3/app")
        }
        try streams.take(for: context.channel)
        let queue = ByteQueue(bytesMax: Self.queueBytesMax)
        let producer = Task {
            await queue.finish(
                await result {
                    try await backend.logs(logRequest) { line in
                        var buffer = ByteBuffer(bytes: try StrictJSON.encode(line))
                        buffer.writeInteger(UInt8(ascii: "\n"))
                        try await queue.send(buffer)
                    }
                })
        }
        return try await stream(
            queue, producer, input: nil, type: "application/x-ndjson", context
        ) { error in
            var buffer = ByteBuffer(
                bytes: (try? StrictJSON.encode(["error": error.view])) ?? [])
            buffer.writeInteger(UInt8(ascii: "\n"))
            return buffer
        }
    }

    /// `POST /v1/volumes`: one ``VolumeOperationLine`` per line; a failure on the way is the last.
    func operate(_ request: Request, _ context: ControlContext) async throws -> Response {
        _ = try RequestQuery(request.uri.query, known: [])
        let operation = try VolumeOperation(json: try await jsonBody(of: request))
        try streams.take(for: context.channel)
        // A large volume is copied for hours, and may say nothing while it is compared.
        await liftDeadlines(of: context.channel, keepsIdleTimer: false)
        let queue = ByteQueue(bytesMax: Self.queueBytesMax)
        let producer = Task {
            await queue.finish(
                await result {
                    try await backend.operate(operation) { line in
                        var buffer = ByteBuffer(bytes: line.json)
                        buffer.writeInteger(UInt8(ascii: "\n"))
                        try await queue.send(buffer)
                    }
                })
        }
        return try await stream(
            queue, producer, input: nil, type: "application/x-ndjson", context
        ) { error in
            var buffer = ByteBuffer(bytes: VolumeOperationLine(error: error.view).json)
            buffer.writeInteger(UInt8(ascii: "\n"))
            return buffer
        }
    }

    /// `POST /v1/exec`: the body is standard input; the answer is ``ExecFrame``s, both at once.
    func exec(_ request: Request, _ context: ControlContext) async throws -> Response {
        let execRequest = try execRequest(request)
        try streams.take(for: context.channel)
        // A command may run long with nothing to read: its connection ends with it or its client.
        await liftDeadlines(of: context.channel, keepsIdleTimer: false)
        let input = ByteQueue(bytesMax: Self.queueBytesMax)
        let body = request.body
        let pump = Task {
            await input.finish(
                await result { for try await run in body { try await input.send(run) } })
        }
        let queue = ByteQueue(bytesMax: Self.queueBytesMax)
        let producer = Task {
            let stream = AsyncStream<[UInt8]> {
                guard let run = try? await input.next() else { return nil }
                return Array(run.readableBytesView)
            }
            await queue.finish(
                await result {
                    try await backend.exec(execRequest, input: stream) { output in
                        var buffer = ByteBuffer()
                        ExecFrame.output(output).write(into: &buffer)
                        try await queue.send(buffer)
                    }
                })
            await input.close()
        }
        return try await stream(
            queue, producer, input: pump, type: "application/vnd.shoal.exec", context
        ) { error in
            var buffer = ByteBuffer()
            ExecFrame.failure((try? StrictJSON.encode(error.view)) ?? []).write(into: &buffer)
            return buffer
        }
    }

    private func execRequest(_ request: Request) throws -> ExecRequest {
        let items = try RequestQuery(request.uri.query, known: ["slot", "container", "argument"])
        guard let slot = SlotID(items["slot"] ?? "") else {
            throw ControlError(.invalid, "slot must be a slot such as web.3")
        }
        let command = items.all("argument")
        guard !command.isEmpty else {
            throw ControlError(.invalid, "at least one argument is needed: the command")
        }
        guard command.first != "" else {
            throw ControlError(
                .invalid, "the command's name is empty",
                next: "name a program after --, as in: shoal exec \(slot) -- ls")
        }
        guard command.count <= 1_000, command.allSatisfy({ !$0.utf8.contains(0) }) else {
            throw ControlError(.invalid, "the command has too many arguments or a NUL in one")
        }
        return ExecRequest(slot: slot, container: items["container"], command: command)
    }

    /// Waits for the first output, so that an error before it has its own status, then streams.
    ///
    /// The producer is cancelled when the connection ends. The task that reads the request's body
    /// must have ended before Hummingbird reads on, hence `input`.
    private func stream(
        _ queue: ByteQueue, _ producer: Task<Void, Never>, input: Task<Void, Never>?,
        type: String, _ context: ControlContext,
        failure: @escaping @Sendable (ControlError) -> ByteBuffer
    ) async throws -> Response {
        let channel = context.channel
        channel.closeFuture.whenComplete { _ in
            producer.cancel()
            input?.cancel()
            Task { await queue.close() }
        }
        let end: @Sendable () async -> Void = {
            producer.cancel()
            await queue.close()
            input?.cancel()
            await input?.value
        }
        let first: ByteBuffer?
        do {
            first = try await queue.next()
        } catch {
            await end()
            throw error
        }
        return Response(
            status: .ok, headers: [.contentType: type, .connection: "close"],
            body: ResponseBody { writer in
                do {
                    try await drain(first, queue, into: &writer, failure)
                    await end()
                } catch {
                    await end()
                    throw error
                }
                try await writer.finish(nil)
                closeSoon(channel)
            })
    }

    private func drain(
        _ first: ByteBuffer?, _ queue: ByteQueue, into writer: inout any ResponseBodyWriter,
        _ failure: @Sendable (ControlError) -> ByteBuffer
    ) async throws {
        var run = first
        while let bytes = run {
            try await writer.write(bytes)
            do {
                run = try await queue.next()
            } catch {
                run = nil
                try await writer.write(failure(controlError(error)))
            }
        }
    }
}

/// How a piece of work ended.
private func result(_ work: () async throws -> Void) async -> Result<Void, any Error> {
    do {
        try await work()
        return .success(())
    } catch {
        return .failure(error)
    }
}
