import EventLoop
import Glibc

/// A command that runs in a container while its input and output are streamed.
///
/// When the last reference goes, the runtime's side is killed.
package struct ContainerCommand: Sendable {
    private let running: RunningCommand
    private let log: ExecLog

    init(running: RunningCommand, log: ExecLog) {
        self.running = running
        self.log = log
    }

    /// What it writes, in order per stream, until both outputs end; for one reader.
    package var output: AsyncThrowingStream<Chunk, any Error> { running.output }

    /// Writes to its standard input; returns when the pipe has taken it all.
    ///
    /// Throws `CommandError` when the input is closed on either side.
    package func write(_ bytes: [UInt8]) async throws { try await running.write(bytes) }

    /// Ends its standard input.
    package func closeInput() async { await running.closeInput() }

    /// Ends the command, as a shell's user would expect it: asked first, then killed.
    ///
    /// The runtime hands SIGTERM on to the command inside; SIGKILL would end the runtime alone.
    package func end() {
        running.kill(signal: SIGTERM)
        let running = running
        Task {
            try? await Task.sleep(for: .seconds(1))
            running.kill(signal: SIGKILL)
        }
    }

    /// Waits for its end: the exit code, or 128 + the signal's number.
    ///
    /// As in a shell, 127 when the container has no such program and 126 when it has one that
    /// cannot be run; runtimes have codes of their own for these.
    package func wait() async -> Int32 {
        let code = await running.wait()
        guard code != 0 else { return code }
        return log.shellCode ?? code
    }
}

/// What the runtime itself says of one command; the command cannot write there.
final class ExecLog: Sendable {
    /// The most that is read, in bytes.
    private static let bytesMax = 64 << 10

    /// The file, which has no name; open as long as this object is there.
    let descriptor: Int32

    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// The code a shell would give; nil when the runtime did start the command, or failed otherwise.
    var shellCode: Int32? {
        var bytes = [UInt8](repeating: 0, count: ExecLog.bytesMax)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0 else { return nil }
        return ExecLog.shellCode(for: String(decoding: bytes[..<count], as: UTF8.self))
    }

    /// Reads the words of crun ("executable file `x` not found in $PATH", "open executable: ...",
    /// "exec: ...") and of runc (`exec: "x": ...`).
    static func shellCode(for text: String) -> Int32? {
        let isOfProgram = ["executable file", "open executable", "exec: "]
        guard isOfProgram.contains(where: { text.contains($0) }) else { return nil }
        let isMissing = ["not found", "o such file or directory"]
        return isMissing.contains { text.contains($0) } ? 127 : 126
    }
}
