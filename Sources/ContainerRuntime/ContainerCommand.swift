import EventLoop
import Glibc

/// A command that runs in a container while its input and output are streamed.
///
/// When the last reference goes, the runtime's side is killed.
package struct ContainerCommand: Sendable {
    private let running: RunningCommand
    private let log: ExecLog
    private let session: ExecSession

    init(running: RunningCommand, log: ExecLog, session: ExecSession) {
        self.running = running
        self.log = log
        self.session = session
    }

    /// What it writes, in order per stream, until both outputs end; for one reader.
    package var output: AsyncThrowingStream<Chunk, any Error> { running.output }

    /// Writes to its standard input; returns when the pipe has taken it all.
    ///
    /// Throws `CommandError` when the input is closed on either side.
    package func write(_ bytes: [UInt8]) async throws { try await running.write(bytes) }

    /// Ends its standard input.
    package func closeInput() async { await running.closeInput() }

    /// How long a command that is to end may take for it.
    private static let grace = Duration.seconds(1)

    /// Ends the command with all that it started: asked first, after `grace` killed.
    ///
    /// What has left the command's session (a daemon it was to start) goes on. The runtime hands
    /// SIGTERM on to the command inside; SIGKILL would end the runtime alone.
    package func end() {
        let (running, session) = (running, session)
        Task {
            // The runtime may say the number only after the command's first output, and what ends
            // the runtime before that would end it alone. The number is known as long as the
            // command runs; what it started may outlast it.
            let number = await session.numberWhenStarted(within: ContainerCommand.grace)
            running.kill(signal: SIGTERM)
            try? await Task.sleep(for: ContainerCommand.grace)
            if let number { session.kill(number) }
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

/// The processes of one command: the runtime starts each in a session of its own.
final class ExecSession: Sendable {
    /// How often it is looked for processes that were started while others were killed.
    private static let roundsMax = 16

    /// The file into which the runtime writes the command's process number.
    ///
    /// By name: runc, for one, writes another beside it and renames that.
    let path: String
    /// The list of the container's processes.
    private let processesPath: String
    /// The container's own first process, which a command must never take along.
    private let first: Int32

    init(path: String, processesPath: String, first: Int32) {
        self.path = path
        self.processesPath = processesPath
        self.first = first
    }

    deinit { unlink(path) }

    /// The session's number, once the runtime has said which process the command is; nil when that
    /// has ended, or takes longer.
    func numberWhenStarted(within limit: Duration) async -> Int32? {
        let deadline = ContinuousClock.now + limit
        while leader == nil, ContinuousClock.now < deadline {
            try? await Task.sleep(for: .milliseconds(10))
        }
        guard let leader, processes.contains(leader) else { return nil }
        let number = ExecSession.session(of: leader)
        return number == ExecSession.session(of: first) ? nil : number
    }

    /// The command's own process; nil before the runtime has said it.
    private var leader: Int32? {
        HostFiles.text(path).flatMap { Int32($0.prefix { !$0.isWhitespace }) }
    }

    /// Kills what is left of a session in the container.
    func kill(_ number: Int32) {
        for _ in 0..<ExecSession.roundsMax {
            let members = processes.filter { ExecSession.session(of: $0) == number }
                .compactMap { ProcessIdentity(living: $0) }
            guard !members.isEmpty else { return }
            for member in members { member.open()?.signal(SIGKILL) }
        }
    }

    private var processes: [Int32] {
        (HostFiles.text(processesPath) ?? "").split(separator: "\n").compactMap { Int32($0) }
    }

    private static func session(of pid: Int32) -> Int32? {
        HostFiles.text("/proc/\(pid)/stat").flatMap { ProcessIdentity.session(stat: $0) }
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
