import CLinux
import Glibc
import VolumeStore

extension BackupEngine {
    /// How often progress is told while restic writes.
    private static let progressStep = Duration.milliseconds(300)

    /// Brings a snapshot back into an empty folder and proves that it is the same: all of it is read
    /// again from the disk and compared with the digest in the snapshot.
    ///
    /// An empty `lost+found` does not count. On any error the folder holds an unknown part of the
    /// snapshot: throw it away.
    package func restore(
        _ snapshot: BackupSnapshot, from repository: BackupRepository, into folder: String,
        progress: BackupProgressHandler? = nil
    ) async throws {
        let attempt = "restore \(snapshot.shortID) of \(repository.volume) into \(folder)"
        try requireRestic()
        try requireTarget(repository)
        let open: OpenFile
        do throws(VolumeError) {
            open = try OpenFile(folder, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
            guard try open.names(attempt: attempt).allSatisfy({ $0 == "lost+found" }) else {
                throw VolumeError.badRequest("")
            }
        } catch .badRequest {
            throw BackupError.folderNotEmpty(folder: folder)
        } catch { throw BackupError.file(error) }
        try await writeFiles(snapshot, repository, folder: open, path: folder, attempt, progress)
        do throws(VolumeError) {
            try snapshot.root?.apply(to: open, attempt: attempt)
            let status = clinux_volume_sync(open.descriptor)
            guard status == 0 else { throw .system(attempt: attempt, code: -status) }
        } catch { throw BackupError.file(error) }
        try await verify(snapshot, isIn: folder, progress: progress)
    }

    /// Proves that a folder holds what a snapshot was made of.
    ///
    /// Throws ``BackupError/restoredDiffers(snapshot:folder:)`` when it does not, or when the snapshot
    /// has no digest to compare with.
    package func verify(
        _ snapshot: BackupSnapshot, isIn folder: String, progress: BackupProgressHandler? = nil
    ) async throws {
        let tree = try await readTree(
            folder, phase: .verifying, total: snapshot.bytes,
            attempt: "verify \(snapshot.shortID) in \(folder)", progress: progress)
        guard tree.digest == snapshot.contentDigest else {
            throw BackupError.restoredDiffers(snapshot: snapshot.shortID, folder: folder)
        }
    }

    /// The digest of all that is in a folder, to compare a copy on another host with: nothing that
    /// a backup would leave out is left out.
    ///
    /// `readsFromDisk`: what is cached and was synchronised is read again. Throws ``BackupError``.
    package func digestForMove(
        of folder: String, readsFromDisk: Bool = false
    ) async throws -> ContentDigest {
        let attempt = "read \(folder)"
        var tree = try TreeDigest(
            folder, for: .move, readsFromDisk: readsFromDisk, attempt: attempt)
        while try tree.step() {
            if Task.isCancelled { throw BackupError.cancelled(attempt: attempt) }
            // Others' turn, on this thread.
            await Task.yield()
        }
        return tree.finish()
    }

    private func writeFiles(
        _ snapshot: BackupSnapshot, _ repository: BackupRepository, folder: OpenFile,
        path: String, _ attempt: String, _ progress: BackupProgressHandler?
    ) async throws {
        let used = try? folder.space(attempt: attempt).used
        let ticker = Task {
            while !Task.isCancelled {
                try await Task.sleep(for: BackupEngine.progressStep)
                // Restic 0.14 says nothing on the way: what the file system gained tells.
                let now = try folder.space(attempt: attempt).used
                progress?(
                    BackupProgress(
                        phase: .restoring, done: max(0, min(now - (used ?? now), snapshot.bytes)),
                        total: snapshot.bytes))
            }
        }
        defer { ticker.cancel() }
        try await withRun(repository, attempt: attempt) { run in
            let result = try await tool.run(
                ["restore", snapshot.id, "--target", path, "--quiet"]
                    // A volume with no files has no file of that name.
                    + (snapshot.files == 0 ? ["--exclude", "/" + BackupEngine.emptyMark] : []),
                repository, run: run, attempt: attempt, limit: settings.workLimit)
            guard result.exitCode == 0 else {
                if result.exitCode < 128 { run.remove() }
                throw restoreFailure(result, snapshot, repository, path, attempt)
            }
            return ((), result.exitCode)
        }
        progress?(
            BackupProgress(phase: .restoring, done: snapshot.bytes, total: snapshot.bytes))
    }

    /// The folder's disk can be full as well as the target's, and the snapshot gone.
    private func restoreFailure(
        _ result: ResticResult, _ snapshot: BackupSnapshot, _ repository: BackupRepository,
        _ folder: String, _ attempt: String
    ) -> BackupError {
        switch failure(result, repository, attempt: attempt) {
        case .targetFull: .folderFull(folder: folder)
        case .noSnapshot: .noSnapshot(snapshot.shortID, target: repository.display)
        case let other: other
        }
    }
}
