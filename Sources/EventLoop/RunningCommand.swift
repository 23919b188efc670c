import Base
import Glibc

/// A piece of a running command's output.
package struct Chunk: Sendable, Equatable {
    /// Which of the two outputs.
    package enum Stream: Sendable, Equatable {
        case standardOutput
        case standardError
    }

    /// Where the command wrote it.
    package var stream: Stream
    /// What it wrote; at most 64 KiB, cut anywhere.
    package var bytes: [UInt8]

    package init(stream: Stream, bytes: [UInt8]) {
        self.stream = stream
        self.bytes = bytes
    }
}

/// A command that runs while its input and output are streamed.
///
/// Output that nobody reads stops the command at 256 KiB, as a full pipe would. When the last
/// reference goes, the command is killed.
package final class RunningCommand: Sendable {
    /// The command with its arguments.
    package let command: [String]
    private let worker: Worker

    init(command: [String], loop: EventLoop, session: sending CommandSession) {
        self.command = command
        worker = Worker(loop: loop, session: session)
    }

    deinit { worker.release() }

    /// What it writes, in order per stream, until both outputs end.
    ///
    /// For one reader.
    package var output: AsyncThrowingStream<Chunk, any Error> {
        // The worker alone: a reader must not keep the command from being released.
        let worker = worker
        return AsyncThrowingStream { await worker.next() }
    }

    /// Writes to its standard input; returns when the pipe has taken it all.
    ///
    /// Throws `CommandError` when the input is closed on either side.
    package func write(_ bytes: [UInt8]) async throws {
        guard await worker.write(bytes) else {
            throw CommandError(command: command, reason: .inputClosed)
        }
    }

    /// Ends its standard input.
    package func closeInput() async { await worker.closeInput() }

    /// Sends a signal, unless it has ended.
    package func kill(signal: Int32) { worker.kill(signal: signal) }

    /// Waits for its end: the exit code, or 128 + the signal's number.
    package func wait() async -> Int32 { await worker.wait() }

    /// Holds the session on the loop.
    private actor Worker {
        nonisolated let loop: EventLoop
        private let session: CommandSession

        nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

        init(loop: EventLoop, session: sending CommandSession) {
            self.loop = loop
            self.session = session
        }

        func next() async -> Chunk? {
            await withCheckedContinuation { continuation in
                session.next { continuation.resume(returning: $0) }
            }
        }

        func write(_ bytes: [UInt8]) async -> Bool {
            await withCheckedContinuation { continuation in
                session.write(bytes) { continuation.resume(returning: $0) }
            }
        }

        func closeInput() { session.closeInput() }

        func wait() async -> Int32 {
            await withCheckedContinuation { continuation in
                session.wait { continuation.resume(returning: $0) }
            }
        }

        nonisolated func kill(signal: Int32) {
            loop.perform { self.assumeIsolated { $0.session.kill(signal: signal) } }
        }

        nonisolated func release() {
            loop.perform { self.assumeIsolated { $0.session.abandon() } }
        }
    }
}
