import Hummingbird
import HummingbirdCore
import NIOCore

extension ControlResponder {
    /// The outcome of a call as JSON; a call that takes too long is cancelled and answered with 503.
    func answer(
        _ call: @escaping @Sendable () async throws -> some Encodable & Sendable
    ) async throws -> Response {
        let limit = configuration.answerTimeout
        let value = try await withDeadline(limit, call) {
            ControlError(
                .unavailable, "the agent did not answer within \(limit)",
                next: "see its log; `shoal status` says whether a leaseholder is known")
        }
        return try jsonResponse(value)
    }

    /// The whole body, within the bound for JSON.
    func jsonBody(of request: Request) async throws -> [UInt8] {
        var gathered = ByteBuffer()
        for try await run in request.body {
            guard gathered.readableBytes + run.readableBytes <= configuration.jsonBytesMax else {
                throw ControlError(
                    .tooLarge, "the body is above the limit of \(configuration.jsonBytesMax) bytes")
            }
            gathered.writeImmutableBuffer(run)
        }
        return Array(gathered.readableBytesView)
    }

    /// A value as a JSON answer.
    func jsonResponse(_ value: some Encodable, status: Int = 200) throws -> Response {
        var buffer = ByteBuffer(bytes: try StrictJSON.encode(value))
        buffer.writeInteger(UInt8(ascii: "\n"))
        return Response(
            status: HTTPResponse.Status(code: status),
            headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: buffer))
    }

    /// An error as an answer.
    func refusal(of error: any Error) -> Response {
        let refusal = controlError(error)
        let response = try? jsonResponse(refusal.view, status: refusal.code.httpStatus)
        return response ?? Response(status: .internalServerError)
    }

    /// Ends a connection whose request body is not wanted, once the answer had time to leave.
    func closeSoon(_ channel: any Channel) {
        channel.eventLoop.scheduleTask(in: .seconds(2)) { channel.close(promise: nil) }
    }
}

/// The error as the API knows it.
func controlError(_ error: any Error) -> ControlError {
    switch error {
    case let error as ControlError: error
    case is CancellationError:
        ControlError(.unavailable, "the request was given up", next: "try again")
    default:
        ControlError(.failed, "the agent failed: \(error)", next: "see the agent's log")
    }
}

/// Runs a call and cancels it when it takes longer than the limit; then throws what `late` makes.
func withDeadline<Value: Sendable>(
    _ limit: Duration, _ call: @escaping @Sendable () async throws -> Value,
    late: @Sendable () -> ControlError
) async throws -> Value {
    let value = try await withThrowingTaskGroup(of: Value?.self) { group -> Value? in
        group.addTask { try await call() }
        group.addTask {
            try await Task.sleep(for: limit)
            return nil
        }
        defer { group.cancelAll() }
        return try await group.next() ?? nil
    }
    guard let value else { throw late() }
    return value
}
