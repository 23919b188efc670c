import EventLoop
import Glibc

/// Runs the programs that make, check and grow file systems.
///
/// Every program inherits the store's lock: should the agent be killed while one runs, the next
/// start of the agent waits until it has ended, instead of working beside it.
package struct VolumeTools: Sendable {
    private let commands: CommandRunner
    private let lock: OpenFile

    init(commands: CommandRunner, lock: OpenFile) {
        self.commands = commands
        self.lock = lock
    }

    /// The Debian packages of the programs.
    private static let packages = [
        "mkfs.ext4": "e2fsprogs", "resize2fs": "e2fsprogs", "e2fsck": "e2fsprogs",
        "mkfs.xfs": "xfsprogs", "xfs_growfs": "xfsprogs", "xfs_repair": "xfsprogs",
        "blkid": "util-linux", "setpriv": "util-linux", "cp": "coreutils", "lvm": "lvm2",
        "sh": "dash", "du": "coreutils", "rm": "coreutils", "find": "findutils",
        "rsync": "rsync", "bwrap": "bubblewrap",
    ]

    /// The full path of a program; throws with its package when it is missing.
    package static func path(of program: String) throws(VolumeError) -> String {
        let own = getenv("PATH").map { String(cString: $0) } ?? ""
        // Services and users often have no sbin in their PATH, and the tools are there.
        let folders = own.split(separator: ":").map(String.init)
        for folder in folders + ["/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
            let path = "\(folder)/\(program)"
            if folder.hasPrefix("/"), access(path, X_OK) == 0 { return path }
        }
        throw .programMissing(program: program, package: packages[program] ?? program)
    }

    /// Runs a program to its end, whatever its exit code.
    ///
    /// `diesWithUs`: the kernel kills it when the agent ends, for work that leaves nothing behind
    /// that could not be repeated. `isCancellable`: it is killed when the task is cancelled.
    func run(
        _ command: [String], attempt: String, diesWithUs: Bool = false,
        isCancellable: Bool = false, timeout: Duration = .seconds(600)
    ) async throws -> CommandResult {
        var line = command
        line[0] = try VolumeTools.path(of: command[0])
        if diesWithUs {
            line = [try VolumeTools.path(of: "setpriv"), "--pdeathsig", "KILL"] + line
        }
        if command[0] == "lvm" {
            // LVM closes what it does not know, so a shell around it keeps the lock.
            line = [try VolumeTools.path(of: "sh"), "-c", "\"$@\" 3>&-; exit $?", "sh"] + line
        }
        let (commands, lock) = (commands, lock)
        let run = Task { [line] in
            try await commands.run(
                line, environment: VolumeTools.environment, extraDescriptors: [lock.descriptor],
                timeout: timeout, outputMaximum: 16 << 20)
        }
        do {
            // Whoever waits may lose interest, but a tool that changes a file system or a volume
            // group is not to be stopped for that, and cleaning up afterwards even less.
            return try await withTaskCancellationHandler {
                try await run.value
            } onCancel: {
                if isCancellable { run.cancel() }
            }
        } catch let error as CommandError {
            if case .cancelled = error.reason { throw VolumeError.cancelled(attempt: attempt) }
            throw VolumeError.tool(attempt: attempt, cause: "\(error)")
        }
    }

    /// Starts a program whose input and output are streamed; it must end with us by itself.
    func start(_ command: [String], attempt: String) async throws -> RunningCommand {
        var line = command
        line[0] = try VolumeTools.path(of: command[0])
        do {
            return try await commands.start(
                line, environment: VolumeTools.environment, extraDescriptors: [lock.descriptor])
        } catch {
            throw VolumeError.tool(attempt: attempt, cause: "\(error)")
        }
    }

    /// Runs a program and throws unless its exit code is among `accepted`.
    @discardableResult
    func check(
        _ command: [String], attempt: String, accepted: [Int32] = [0], diesWithUs: Bool = false,
        isCancellable: Bool = false, timeout: Duration = .seconds(600)
    ) async throws -> CommandResult {
        let result = try await run(
            command, attempt: attempt, diesWithUs: diesWithUs, isCancellable: isCancellable,
            timeout: timeout)
        guard accepted.contains(result.exitCode) else {
            throw VolumeError.tool(
                attempt: attempt,
                cause: "`\(command.joined(separator: " ").prefix(300))` ended with exit code "
                    + "\(result.exitCode): \(VolumeTools.lastWords(result))")
        }
        return result
    }

    /// What a tool said last, on one line.
    static func lastWords(_ result: CommandResult) -> String {
        let text = result.errorText.isEmpty ? result.outputText : result.errorText
        let lines = text.suffix(2_000).split(whereSeparator: \.isNewline).suffix(6)
        return lines.isEmpty ? "it said nothing" : lines.joined(separator: "; ")
    }

    /// The plain language, whatever the agent was started with: answers are parsed.
    private static let environment = [
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1",
    ]
}
