import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix

/// One request to the agent and its answer, on a connection of its own.
struct HTTPExchange: Sendable {
    typealias Connection = NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>
    typealias Writer = NIOAsyncChannelOutboundWriter<HTTPClientRequestPart>

    let socketPath: String
    let method: HTTPMethod
    let target: String
    /// How long the agent may say nothing before it is asked whether it still answers at all; nil
    /// leaves that to the caller.
    let patience: AnswerWatch.Patience?

    /// The largest answer that is gathered whole.
    static let answerBytesMax = 64 << 20

    /// Sends a whole body and gathers the whole answer.
    func run(body: [UInt8]?) async throws -> [UInt8] {
        try await open { inbound, outbound, _, watch in
            try await sendHead(outbound, contentLength: body?.count ?? 0)
            // An agent that refuses a request early closes before all is written; its answer says
            // why, so it is read in any case.
            if let body, !body.isEmpty {
                try? await outbound.write(.body(.byteBuffer(ByteBuffer(bytes: body))))
            }
            try? await outbound.write(.end(nil))
            var iterator = inbound.makeAsyncIterator()
            try await readHead(&iterator, watch)
            return try await gather(&iterator)
        }
    }

    /// Sends a body run by run while the answer is gathered; an early answer ends the sending.
    func upload(
        contentLength: Int?, next: @escaping @Sendable () async throws -> ByteBuffer?
    ) async throws -> [UInt8] {
        try await open { inbound, outbound, channel, watch in
            try await sendHead(outbound, contentLength: contentLength)
            let sender = Task { try await send(next, to: outbound, of: channel) }
            defer { sender.cancel() }
            return try await withTaskCancellationHandler {
                var iterator = inbound.makeAsyncIterator()
                do {
                    try await readHead(&iterator, watch)
                    return try await gather(&iterator)
                } catch let error as ControlError
                    where error.code == .unreachable && watch?.verdict == nil
                {
                    // The connection broke because reading the source failed: that is the reason.
                    sender.cancel()
                    if case .failure(let cause as ControlError) = await sender.result {
                        throw cause
                    }
                    throw error
                }
            } onCancel: {
                sender.cancel()
            }
        }
    }

    /// Sends a body (nil: none) while the runs of the answer are handed to `receive`.
    func stream(
        next: (@Sendable () async throws -> ByteBuffer?)?,
        receive: (ByteBuffer) async throws -> Void
    ) async throws {
        try await open { inbound, outbound, channel, watch in
            try await sendHead(outbound, contentLength: next == nil ? 0 : nil)
            let sender = Task {
                if let next {
                    try await send(next, to: outbound, of: channel)
                } else {
                    try await outbound.write(.end(nil))
                }
            }
            defer { sender.cancel() }
            var iterator = inbound.makeAsyncIterator()
            try await readHead(&iterator, watch)
            while let part = try await nextPart(&iterator) {
                switch part {
                case .head: throw broken("answered twice")
                case .body(let run): try await receive(run)
                case .end: return
                }
            }
            throw broken("ended the connection in the middle of an answer")
        }
    }

    private func send(
        _ next: @Sendable () async throws -> ByteBuffer?, to outbound: Writer,
        of channel: any Channel
    ) async throws {
        do {
            while let run = try await next() {
                try await outbound.write(.body(.byteBuffer(run)))
            }
            try await outbound.write(.end(nil))
        } catch let error as ControlError {
            // The source failed: break the connection, so that the agent sees no whole body.
            channel.close(promise: nil)
            throw error
        }
    }

    private func sendHead(_ outbound: Writer, contentLength: Int?) async throws {
        var headers: HTTPHeaders = ["host": "shoal", "connection": "close"]
        if let contentLength {
            headers.add(name: "content-length", value: String(contentLength))
        } else {
            headers.add(name: "transfer-encoding", value: "chunked")
        }
        let head = HTTPRequestHead(
            version: .http1_1, method: method, uri: target, headers: headers)
        do {
            try await outbound.write(.head(head))
        } catch {
            throw broken("ended the connection")
        }
    }

    private func nextPart(
        _ iterator: inout NIOAsyncChannelInboundStream<HTTPClientResponsePart>.AsyncIterator
    ) async throws -> HTTPClientResponsePart? {
        do {
            return try await iterator.next()
        } catch let error as CancellationError {
            throw error
        } catch {
            throw broken("broke the connection (\(error))")
        }
    }

    /// Reads the status; turns a refusal into the error it carries.
    private func readHead(
        _ iterator: inout NIOAsyncChannelInboundStream<HTTPClientResponsePart>.AsyncIterator,
        _ watch: AnswerWatch?
    ) async throws {
        defer { watch?.end() }
        guard let part = try await nextPart(&iterator), case .head(let head) = part else {
            try Task.checkCancellation()
            throw broken("ended the connection without an answer")
        }
        guard head.status.code >= 300 else { return }
        let bytes = try await gather(&iterator)
        guard let view = try? StrictJSON.decodeLenient(ErrorView.self, from: bytes) else {
            throw broken("answered with status \(head.status.code)")
        }
        throw ControlError(
            ControlErrorCode(rawValue: view.code) ?? .failed, view.message, next: view.next,
            problems: view.problems)
    }

    private func gather(
        _ iterator: inout NIOAsyncChannelInboundStream<HTTPClientResponsePart>.AsyncIterator
    ) async throws -> [UInt8] {
        var gathered = ByteBuffer()
        while let part = try await nextPart(&iterator) {
            switch part {
            case .head: throw broken("answered twice")
            case .body(let run):
                guard gathered.readableBytes + run.readableBytes <= HTTPExchange.answerBytesMax
                else { throw broken("answered more than fits") }
                gathered.writeImmutableBuffer(run)
            case .end: return Array(gathered.readableBytesView)
            }
        }
        try Task.checkCancellation()
        throw broken("ended the connection in the middle of an answer")
    }

    private func broken(_ what: String) -> ControlError {
        ControlError(
            .unreachable, "the agent at \(socketPath) \(what)",
            next: "see whether the agent still runs, and its log")
    }
}

extension HTTPExchange {
    /// Connects, runs the exchange, closes.
    private func open<Answer>(
        _ exchange: (
            NIOAsyncChannelInboundStream<HTTPClientResponsePart>, Writer, any Channel,
            AnswerWatch?
        ) async throws -> Answer
    ) async throws -> Answer {
        let connection = try await connect()
        let watch = patience.map {
            AnswerWatch(connection.channel, socketPath: socketPath, patience: $0)
        }
        defer { watch?.end() }
        var outcome: Result<Answer, any Error>?
        do {
            try await connection.executeThenClose { inbound, outbound in
                do {
                    outcome = .success(
                        try await exchange(inbound, outbound, connection.channel, watch))
                } catch {
                    outcome = .failure(error)
                }
            }
        } catch {
            // The agent closes its end right after the answer, so closing ours may come too late:
            // no loss once the answer is here.
            guard outcome != nil else { throw broken("broke the connection (\(error))") }
        }
        guard let outcome else { throw broken("ended the connection") }
        if case .failure = outcome, let verdict = watch?.verdict { throw verdict }
        return try outcome.get()
    }

    private func connect() async throws -> Connection {
        do {
            return try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connectTimeout(.seconds(5))
                .connect(unixDomainSocketPath: socketPath) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHTTPClientHandlers()
                        return try Connection(wrappingChannelSynchronously: channel)
                    }
                }
        } catch let error as IOError where error.errnoCode == EACCES {
            throw ControlError(
                .unreachable, "no permission to use the socket \(socketPath)",
                next: "become root or join the group shoal")
        } catch let error as IOError
            where error.errnoCode == ENOENT || error.errnoCode == ECONNREFUSED
        {
            throw ControlError(
                .unreachable, "no agent listens at \(socketPath)",
                next: "start it with `shoal agent`, or name another with --socket or SHOAL_SOCKET")
        } catch let error as IOError where error.errnoCode == EAGAIN {
            throw AnswerWatch.silent(socketPath, "takes no more connections")
        } catch {
            throw ControlError(
                .unreachable, "cannot connect to \(socketPath): \(error)",
                next: "name another socket with --socket or SHOAL_SOCKET")
        }
    }
}
