import Base
import CSodium
import EventLoop
import Glibc
import VolumeStore

/// Where the engine keeps what it needs, and how long its work may take.
package struct BackupEngineSettings: Sendable {
    /// The folder of restic's cache and of the runs under way; made with mode 0700.
    ///
    /// Everything in it can be made again but the files of runs, by which locks are known that a
    /// killed restic left.
    package var folder: String
    /// Restic's path; nil: where Debian puts it, or PATH.
    package var program: String?
    /// The most that a backup, restore, check or pruning may take.
    package var workLimit: Duration = .seconds(7 * 86_400)
    /// The most that a short question to a repository may take.
    package var answerLimit: Duration = .seconds(180)

    package init(folder: String = "/var/lib/shoal/restic", program: String? = nil) {
        self.folder = folder
        self.program = program
    }
}

/// Backs volumes up and brings them back with restic, one repository for each volume.
///
/// It has a thread of its own, since digests are computed on it and disks block. Different
/// repositories may be worked on at once; of one repository, restores and questions overlap with
/// anything, while a backup, a check or a pruning refuses to run beside another (`busy`).
///
/// When the task that waits is cancelled, restic is asked to end, and the call throws `cancelled`:
/// the repository shows nothing of it, and what was stored already makes the next try shorter.
/// When the agent is killed, the kernel kills restic; the lock that it leaves in the repository is
/// removed before the next work on it, once it is certain that it is ours and dead.
package actor BackupEngine {
    /// The settings.
    package nonisolated let settings: BackupEngineSettings

    let loop: EventLoop
    let tool: ResticTool
    let runs: OpenFile
    /// What is being done to which repository, of that which does not go together.
    var underWay: [BackupRepository: String] = [:]

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        loop.asUnownedSerialExecutor()
    }

    /// Opens the engine's folder and makes it when it is missing; restic is not looked for yet.
    ///
    /// Throws ``BackupError/file(_:)``.
    package init(settings: BackupEngineSettings = BackupEngineSettings()) throws {
        self.settings = settings
        let attempt = "make the folder of backups \(settings.folder)"
        do throws(VolumeError) {
            var made = ""
            for part in settings.folder.split(separator: "/") {
                made += "/" + part
                try makeFolder(made, attempt: attempt)
            }
            try makeFolder(made + "/cache", attempt: attempt)
            try makeFolder(made + "/runs", attempt: attempt)
            runs = try OpenFile(
                made + "/runs", flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        } catch { throw BackupError.file(error) }
        loop = try EventLoop(name: "backups")
        tool = ResticTool(
            commands: CommandRunner(loop: loop), cacheFolder: settings.folder + "/cache",
            program: settings.program)
    }

    deinit { loop.stop() }

    /// Throws ``BackupError/resticMissing`` when restic is not on this machine.
    package nonisolated func requireRestic() throws(BackupError) { _ = try tool.path() }

    /// The snapshots of a volume, oldest first; none when nothing was backed up yet.
    package func snapshots(
        _ repository: BackupRepository
    ) async throws -> [BackupSnapshot] {
        let attempt = "list the backups at \(repository.display)"
        try requireTarget(repository)
        let listed: [ListedSnapshot]?
        do {
            // Without a lock: what a backup under way has not finished does not show.
            let result = try await check(
                ["snapshots", "--json", "--no-lock"], repository, attempt: attempt)
            listed = try ResticOutput.decode(
                [ListedSnapshot]?.self, result.output, attempt: attempt)
        } catch BackupError.noRepository {
            return []
        }
        return (listed ?? []).compactMap(SnapshotTags.snapshot).sorted {
            ($0.time, $0.id) < ($1.time, $1.id)
        }
    }

    // MARK: - Running restic

    /// Runs a question to its end; throws unless restic is content.
    func check(
        _ arguments: [String], _ repository: BackupRepository, run: RunFile? = nil,
        attempt: String, limit: Duration? = nil
    ) async throws -> ResticResult {
        let result = try await tool.run(
            arguments, repository, run: run, attempt: attempt,
            limit: limit ?? settings.answerLimit)
        guard result.exitCode == 0 else { throw failure(result, repository, attempt: attempt) }
        return result
    }

    /// What a run of restic that failed amounts to.
    func failure(
        _ result: ResticResult, _ repository: BackupRepository, attempt: String
    ) -> BackupError {
        if let error = ResticComplaint.error(result.complaints, repository) { return error }
        if result.exitCode > 128 {
            return .failed(
                attempt: attempt,
                cause:
                    "restic was ended by signal \(result.exitCode - 128); is there enough memory?")
        }
        return .failed(
            attempt: attempt,
            cause: "restic ended with exit code \(result.exitCode): "
                + ResticComplaint.short(result.complaints))
    }

    /// Runs the body with the file of a run, after what earlier runs left was cleared away.
    func withRun<Value>(
        _ repository: BackupRepository, attempt: String,
        body: (RunFile) async throws -> sending (Value, Int32)
    ) async throws -> sending Value {
        try await clearDeadLocks(repository)
        let run: RunFile
        do throws(VolumeError) {
            run = try RunFile.make(in: runs, repository: key(repository))
        } catch { throw BackupError.file(error) }
        let (value, exitCode) = try await body(run)
        // Ended by a signal, restic leaves its lock, and this file proves that it is dead.
        if exitCode < 128 { run.remove() }
        return value
    }

    /// Runs the body while nothing else that would not go with it works on the repository.
    func alone<Value>(
        _ repository: BackupRepository, doing: String, body: () async throws -> sending Value
    ) async throws -> sending Value {
        if let other = underWay[repository] {
            throw BackupError.busy(target: repository.display, doing: other)
        }
        underWay[repository] = doing
        defer { underWay[repository] = nil }
        return try await body()
    }

    /// A directory target must be there already: what is not mounted must not be written below.
    func requireTarget(_ repository: BackupRepository) throws(BackupError) {
        guard case .directory(let path) = repository.target else { return }
        var facts = stat()
        guard stat(path, &facts) == 0, isFolder(facts.st_mode) else {
            throw .targetMissing(path: path)
        }
    }

    /// A name for a repository's files: the same for the same place.
    nonisolated func key(_ repository: BackupRepository) -> String {
        var digest = [UInt8](repeating: 0, count: 16)
        let text = Array(repository.stablePlace.utf8)
        crypto_generichash(&digest, digest.count, text, UInt64(text.count), nil, 0)
        return hexadecimal(digest)
    }
}

/// Makes a folder with mode 0700; leaves one that is there as it is.
func makeFolder(_ path: String, attempt: String) throws(VolumeError) {
    guard mkdir(path, 0o700) == 0 || errno == EEXIST || errno == EROFS else {
        throw .system(attempt: attempt, code: errno)
    }
}

extension BackupRepository {
    /// The repository's place; of one that is reached by way of a bridge, whose port differs each
    /// time, what stays the same.
    fileprivate var stablePlace: String {
        guard case .rest(let place) = target, place.url.hasPrefix("http://127.0.0.1:") else {
            return display
        }
        let rest = place.url.dropFirst("http://127.0.0.1:".count).drop { $0 != "/" }
        return "peer:\(rest)/\(path)"
    }
}
