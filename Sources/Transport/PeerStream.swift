import Base
import EventLoop

/// A pair of byte streams between two agents; sealed, ordered, with back-pressure both ways.
///
/// Either side finishes on its own (half-close). A stream nobody holds any more is cancelled, unless
/// both sides had finished. A task that is cancelled while it waits here cancels the stream.
package final class PeerStream: Sendable {
    /// Who is on the other side; proven.
    package let peer: PeerIdentity
    private let loop: EventLoop
    // Touched on the loop's thread only.
    nonisolated(unsafe) private let session: StreamSession

    init(loop: EventLoop, session: StreamSession) {
        self.loop = loop
        self.session = session
        peer = session.peer
    }

    deinit { cancel() }

    /// Sends bytes; returns when at most 256 KiB of them wait in this process.
    ///
    /// A receiver that does not read makes this wait: about a megabyte is under way then, most of it
    /// in the kernel. Calls are served in order. Throws `PeerStreamError`.
    package func send(_ bytes: [UInt8]) async throws {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation {
                (continuation: CheckedContinuation<Void, any Error>) in
                loop.perform { [self] in
                    session.send(bytes) {
                        continuation.resume(with: $0.mapError { $0 as any Error })
                    }
                }
            }
        } onCancel: {
            cancel()
        }
    }

    /// Waits for what comes next, at most 64 KiB; nil when the other side has finished.
    ///
    /// For one reader at a time. Throws `PeerStreamError` when the stream breaks, after all that
    /// came before.
    package func receive() async throws -> [UInt8]? {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation {
                (continuation: CheckedContinuation<[UInt8]?, any Error>) in
                loop.perform { [self] in
                    session.receive { continuation.resume(with: $0.mapError { $0 as any Error }) }
                }
            }
        } onCancel: {
            cancel()
        }
    }

    /// Finishes our side after all that was sent: the other side's `receive` returns nil.
    ///
    /// Who wants to be sure that everything arrived receives until nil before letting go of the
    /// stream.
    package func finish() async {
        await withCheckedContinuation { continuation in
            loop.perform { [self] in session.finish { continuation.resume() } }
        }
    }

    /// Ends both directions at once; the other side sees a broken stream.
    package func cancel() {
        // Not self: this is also called while it is freed.
        nonisolated(unsafe) let session = session
        loop.perform { session.cancel() }
    }
}
