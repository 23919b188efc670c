import Glibc
import VolumeStore

extension BackupEngine {
    /// Backs up a folder, which must not change meanwhile: a snapshot of a volume.
    ///
    /// The folder is read twice: once for its digest, which becomes part of the snapshot, and once by
    /// restic, which reads only what changed since the last backup. The repository is made when it is
    /// missing. `volumeSize` is the volume's capacity, for whoever restores it; `tags` are up to 16
    /// words of the caller's.
    ///
    /// Throws ``BackupError``; the repository then shows no snapshot of this.
    package func backup(
        folder: String, volumeSize: Int? = nil, tags: [String] = [],
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
            let arguments =
                ["backup", "--json", "--host", repository.volume.folderName]
                + ["--tag", (own + tags).joined(separator: ",")]
                + (parent.map { ["--parent", $0] } ?? []) + ["."]
            let summary = try await store(
                arguments, folder: folder, bytes: tree.bytes, repository, attempt: attempt,
                progress: progress)
            let found = try await snapshots(repository).last { snapshot in
                summary.snapshot.map { !$0.isEmpty && snapshot.id.hasPrefix($0) } ?? false
            }
            guard var snapshot = found else {
                throw BackupError.failed(
                    attempt: attempt, cause: "restic says it is done, and the snapshot is not there"
                )
            }
            snapshot.addedBytes = summary.addedBytes.map { Int(clamping: $0) }
            return snapshot
        }
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
