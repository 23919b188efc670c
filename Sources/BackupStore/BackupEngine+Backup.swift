import Glibc
import VolumeStore

extension BackupEngine {
    /// Backs up a folder, which must not change meanwhile: a snapshot of a volume.
    ///
    /// The folder is read twice: once for its digest, which becomes part of the snapshot, and once by
    /// restic, which reads only what changed since the last backup. The repository is made when it is
    /// missing. `volumeSize` is the volume's capacity, for whoever restores it; `tags` are up to 16
    /// words of the caller's. `isStill` false: the folder may be written to, and is read a third time
    /// to prove that what was stored is what the digest is of.
    ///
    /// Throws ``BackupError``; the repository then shows no snapshot of this.
    package func backup(
        folder: String, volumeSize: Int? = nil, tags: [String] = [], isStill: Bool = true,
        to repository: BackupRepository, progress: BackupProgressHandler? = nil
    ) async throws -> BackupSnapshot {
        let attempt = "back up \(repository.volume) to \(repository.display)"
        if let problem = tags.lazy.compactMap(SnapshotTags.problem).first {
            throw BackupError.badRequest(problem)
        }
        guard tags.count <= 16, folder.hasPrefix("/") else {
            throw BackupError.badRequest("a backup has at most 16 tags, and an absolute folder")
        }
        try requireRestic()
        try requireTarget(repository)
        return try await alone(repository, doing: "backing up to") {
            let tree = try await readTree(
                folder, phase: .reading, total: nil, attempt: attempt, progress: progress)
            let own = SnapshotTags.make(
                digest: tree.digest, bytes: tree.bytes, files: tree.files, volumeSize: volumeSize,
                root: tree.root)
            try await makeRepository(repository, attempt: attempt)
            let parent = try await snapshots(repository).last?.id
            let isEmpty = tree.files == 0
            let arguments =
                ["backup", "--json", "--host", repository.volume.folderName]
                + ["--tag", (own + tags).joined(separator: ",")]
                + (parent.map { ["--parent", $0] } ?? [])
                + [isEmpty ? BackupEngine.emptyMark : "."]
            let summary = try await store(
                arguments, folder: isEmpty ? try makeEmptyMark(attempt) : folder,
                bytes: tree.bytes, repository, attempt: attempt, progress: progress)
            let found = try await snapshots(repository).last { snapshot in
                summary.snapshot.map { !$0.isEmpty && snapshot.id.hasPrefix($0) } ?? false
            }
            guard var snapshot = found else {
                throw BackupError.failed(
                    attempt: attempt, cause: "restic says it is done, and the snapshot is not there"
                )
            }
            snapshot.addedBytes = summary.addedBytes.map { Int(clamping: $0) }
            if !isStill {
                try await requireUnchanged(folder, snapshot, repository, attempt: attempt)
            }
            return snapshot
        }
    }

    /// What stands in a snapshot for a volume that is empty: restic refuses a snapshot of nothing.
    ///
    /// It is left out again by a restore.
    static let emptyMark = "this-volume-was-empty"

    /// Makes the folder with that file and nothing else, and returns its path.
    private func makeEmptyMark(_ attempt: String) throws(BackupError) -> String {
        let folder = settings.folder + "/empty"
        do throws(VolumeError) {
            try makeFolder(folder, attempt: attempt)
            let mark = open(
                "\(folder)/\(BackupEngine.emptyMark)", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
            guard mark >= 0 else { throw .system(attempt: attempt, code: errno) }
            close(mark)
        } catch { throw .file(error) }
        return folder
    }

    /// Lets go of a snapshot unless the folder still is what the snapshot says.
    private func requireUnchanged(
        _ folder: String, _ snapshot: BackupSnapshot, _ repository: BackupRepository,
        attempt: String
    ) async throws {
        let problem: any Error
        do {
            let after = try await readTree(
                folder, phase: .verifying, total: snapshot.bytes, attempt: attempt, progress: nil)
            if after.digest == snapshot.contentDigest { return }
            problem = BackupError.notKeepable(
                path: ".",
                cause: "it was written to while it was read, and there is no room for a snapshot; "
                    + "free space on its disk, empty the trash, or try again when nobody writes")
        } catch { problem = error }
        try await withRun(repository, attempt: attempt) { run in
            let result = try await check(
                ["forget", snapshot.id], repository, run: run, attempt: attempt)
            return ((), result.exitCode)
        }
        throw problem
    }

    /// Makes the repository unless it is there.
    private func makeRepository(
        _ repository: BackupRepository, attempt: String
    ) async throws {
        do {
            _ = try await check(
                ["cat", "config", "--no-lock"], repository, attempt: attempt)
        } catch BackupError.noRepository {
            _ = try await check(["init"], repository, attempt: attempt)
        }
    }

    /// Runs `restic backup` and returns what it says at its end.
    private func store(
        _ arguments: [String], folder: String, bytes: Int, _ repository: BackupRepository,
        attempt: String, progress: BackupProgressHandler?
    ) async throws -> BackupLine {
        try await withRun(repository, attempt: attempt) { run in
            var summary: BackupLine?
            let result = try await tool.run(
                arguments, repository, run: run, attempt: attempt, folder: folder,
                limit: settings.workLimit
            ) { text in
                guard let line = BackupLine(text) else { return }
                switch line.kind {
                case "summary": summary = line
                case "status":
                    let done = min(Int(clamping: line.doneBytes ?? 0), bytes)
                    progress?(BackupProgress(phase: .storing, done: done, total: bytes))
                default: break
                }
            }
            if result.exitCode == 3, let id = summary?.snapshot {
                // Restic kept what it could read; that is no backup.
                _ = try await check(["forget", id], repository, run: run, attempt: attempt)
                run.remove()
                throw BackupError.sourceUnreadable(cause: ResticComplaint.short(result.complaints))
            }
            guard result.exitCode == 0, let summary else {
                if result.exitCode < 128 { run.remove() }
                throw failure(result, repository, attempt: attempt)
            }
            progress?(BackupProgress(phase: .storing, done: bytes, total: bytes))
            return (summary, result.exitCode)
        }
    }

    /// Reads a whole tree for its digest.
    func readTree(
        _ folder: String, phase: BackupProgress.Phase, total: Int?, attempt: String,
        progress: BackupProgressHandler?
    ) async throws -> (digest: ContentDigest, bytes: Int, files: Int, root: RootFacts) {
        var tree = try TreeDigest(folder, readsFromDisk: phase == .verifying, attempt: attempt)
        guard tree.root.attributes.count <= RootFacts.attributeBytesMax else {
            throw BackupError.notKeepable(
                path: ".", cause: "its extended attributes are larger than 16 KiB; remove some")
        }
        var told = 0
        while try tree.step() {
            if tree.bytes - told >= 8 << 20 {
                told = tree.bytes
                progress?(BackupProgress(phase: phase, done: told, total: total))
            }
            if Task.isCancelled { throw BackupError.cancelled(attempt: attempt) }
            // Others' turn, on this thread.
            await Task.yield()
        }
        progress?(BackupProgress(phase: phase, done: tree.bytes, total: tree.bytes))
        return (tree.finish(), tree.bytes, tree.files, tree.root)
    }
}
