import EventLoop
import Glibc
import VolumeStore

/// How a run of restic ended.
struct ResticResult {
    /// Its exit code; 128 + the signal's number when a signal ended it.
    var exitCode: Int32
    /// Its standard output, unless that was handed on line by line.
    var output: [UInt8] = []
    /// Its last words on standard error, without secrets: at most 60 lines.
    var complaints: [String] = []
}

/// Runs restic: everything secret in the environment, ended when the agent ends or the task is
/// cancelled, its output bounded.
struct ResticTool: Sendable {
    /// Bytes of a line of output; a longer one is cut, and then no proper JSON.
    static let lineBytesMax = 256 << 10
    /// Bytes of output that is kept whole, such as a list of snapshots.
    static let outputBytesMax = 32 << 20
    /// Lines of complaints that are kept.
    static let complaintsMax = 60
    /// How long restic has to take its locks away when it is no longer wanted.
    static let farewell = Duration.seconds(10)
    /// How long a target may go on failing before the work is given up; restic itself would go on
    /// for a quarter of an hour.
    static let patience = Duration.seconds(45)

    let commands: CommandRunner
    /// The folder of restic's cache.
    let cacheFolder: String
    /// Where to look before PATH; for tests.
    let program: String?

    /// The full path of restic.
    func path() throws(BackupError) -> String {
        if let program {
            guard access(program, X_OK) == 0 else { throw .resticMissing }
            return program
        }
        do {
            return try VolumeTools.path(of: "restic")
        } catch { throw .resticMissing }
    }

    /// Runs restic to its end, whatever its exit code.
    ///
    /// `run` is inherited, and gets the process's number before restic starts. `line` gets each line
    /// of output as it comes; without it the output is kept. Throws `cancelled`, `tookTooLong`, and
    /// what a target's failures amount to when they last.
    func run(
        _ arguments: [String], _ repository: BackupRepository, run: RunFile?, attempt: String,
        folder: String? = nil, limit: Duration, line: (([UInt8]) -> Void)? = nil
    ) async throws -> ResticResult {
        guard !Task.isCancelled else { throw BackupError.cancelled(attempt: attempt) }
        let command = try commandLine(arguments, repository, run: run, folder: folder)
        let running: RunningCommand
        do {
            running = try await commands.start(
                command, environment: environment(repository),
                extraDescriptors: run.map { [$0.file.descriptor] } ?? [])
        } catch { throw BackupError.failed(attempt: attempt, cause: "\(error)") }
        let deadline = Task {
            try await Task.sleep(for: limit)
            await ResticTool.end(running)
        }
        defer { deadline.cancel() }
        return try await withTaskCancellationHandler {
            let watch = ResticWatch(repository: repository, patience: ResticTool.patience)
            let result = try await follow(running, watch, line: line)
            if Task.isCancelled { throw BackupError.cancelled(attempt: attempt) }
            if let verdict = watch.verdict { throw verdict }
            guard !deadline.isCancelled, watch.elapsed < limit else {
                throw BackupError.tookTooLong(attempt: attempt, limit: limit)
            }
            return result
        } onCancel: {
            Task { await ResticTool.end(running) }
        }
    }

    /// Reads what it says until it ends, and ends it when the target fails for too long.
    private func follow(
        _ running: RunningCommand, _ watch: ResticWatch, line: (([UInt8]) -> Void)?
    ) async throws -> ResticResult {
        var result = ResticResult(exitCode: -1)
        var lines = LineCutter(bytesMax: ResticTool.lineBytesMax)
        var complaints = LineCutter(bytesMax: 4_096)
        var isEnding = false
        for try await chunk in running.output {
            switch chunk.stream {
            case .standardOutput:
                if let line {
                    for found in lines.add(chunk.bytes) { line(found) }
                } else if result.output.count + chunk.bytes.count <= ResticTool.outputBytesMax {
                    result.output += chunk.bytes
                } else {
                    watch.verdict = .failed(
                        attempt: "read what restic says",
                        cause: "it said more than \(ResticTool.outputBytesMax >> 20) MiB")
                }
            case .standardError:
                for found in complaints.add(chunk.bytes) { note(found, &result, watch) }
            }
            if watch.verdict != nil, !isEnding {
                isEnding = true
                Task { await ResticTool.end(running) }
            }
        }
        if let line, let rest = lines.rest() { line(rest) }
        if let rest = complaints.rest() { note(rest, &result, watch) }
        result.exitCode = await running.wait()
        return result
    }

    private func note(_ bytes: [UInt8], _ result: inout ResticResult, _ watch: ResticWatch) {
        let text = watch.repository.redact(String(decoding: bytes, as: UTF8.self))
        guard !text.allSatisfy(\.isWhitespace) else { return }
        watch.see(text)
        result.complaints.append(text)
        if result.complaints.count > ResticTool.complaintsMax { result.complaints.removeFirst() }
    }

    /// Asks it to end, and does not wait for ever.
    private static func end(_ running: RunningCommand) async {
        running.kill(signal: SIGINT)
        try? await Task.sleep(for: farewell)
        running.kill(signal: SIGKILL)
    }

    /// `setpriv` makes the kernel kill restic when the agent ends: nobody would hear its answer, and
    /// it would hold the volume.
    private func commandLine(
        _ arguments: [String], _ repository: BackupRepository, run: RunFile?, folder: String?
    ) throws -> [String] {
        let restic = [try path(), "--cache-dir", cacheFolder] + repository.options + arguments
        let script =
            (folder == nil ? "" : "cd \"$1\" && shift && ")
            + (run == nil ? "" : "echo $$ >&3 && ") + "exec nice -n 10 \"$@\""
        return [
            try VolumeTools.path(of: "setpriv"), "--pdeathsig", "KILL",
            try VolumeTools.path(of: "sh"), "-c", script, "sh",
        ] + (folder.map { [$0] } ?? []) + restic
    }

    private func environment(_ repository: BackupRepository) -> [String] {
        [
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/nonexistent",
            "TMPDIR=\(cacheFolder)", "RESTIC_PROGRESS_FPS=3",
        ] + repository.environment
    }
}

/// Sees what restic complains of while it runs, and decides when that is enough.
///
/// Used within one run only.
final class ResticWatch {
    let repository: BackupRepository
    private let patience: Duration
    private let start = ContinuousClock.now
    private var firstRetry: ContinuousClock.Instant?
    private var lastRetry: ContinuousClock.Instant?

    /// Why the run has to end; nil while it may go on.
    var verdict: BackupError?

    init(repository: BackupRepository, patience: Duration) {
        self.repository = repository
        self.patience = patience
    }

    /// How long it has been running.
    var elapsed: Duration { ContinuousClock.now - start }

    /// Looks at a line of standard error.
    func see(_ text: String) {
        guard verdict == nil, text.contains("returned error, retrying after") else { return }
        let found = ResticComplaint.error([text], repository)
        // More tries make no room, and open no door.
        switch found {
        case .targetFull, .accessDenied: verdict = found
        default: break
        }
        let now = ContinuousClock.now
        // Far apart, they are several troubles that passed.
        if let lastRetry, now - lastRetry > patience { firstRetry = nil }
        lastRetry = now
        guard let first = firstRetry else {
            firstRetry = now
            return
        }
        guard now - first > patience else { return }
        verdict =
            found
            ?? .unreachable(
                target: repository.display, cause: ResticComplaint.short(text))
    }
}

/// Cuts bytes into lines; what is longer than allowed loses its end.
struct LineCutter {
    let bytesMax: Int
    private var line: [UInt8] = []

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    /// Adds bytes and returns the lines that they end, without their line breaks.
    mutating func add(_ bytes: [UInt8]) -> [[UInt8]] {
        var lines: [[UInt8]] = []
        var rest = bytes[...]
        while let end = rest.firstIndex(of: 10) {
            keep(rest[..<end])
            lines.append(line)
            line = []
            rest = rest[(end + 1)...]
        }
        keep(rest)
        return lines
    }

    /// What follows the last line break; nil when there is nothing.
    mutating func rest() -> [UInt8]? {
        defer { line = [] }
        return line.isEmpty ? nil : line
    }

    private mutating func keep(_ bytes: ArraySlice<UInt8>) {
        line += bytes.prefix(bytesMax - line.count)
    }
}
