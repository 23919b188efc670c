extension BackupEngine {
    /// Lets go of all snapshots but those to keep, and with `prunes` of what only they needed.
    ///
    /// With `tag` only snapshots that have it are looked at; the others stay, whatever their age.
    /// Pruning can take long, and needs the repository to itself; without it the room is not free
    /// yet. A repository that is not there has nothing to forget. Throws ``BackupError``.
    @discardableResult
    package func forget(
        keeping retention: BackupRetention, tag: String? = nil, in repository: BackupRepository,
        prunes: Bool
    ) async throws -> BackupForgetting {
        if let problem = tag.flatMap(SnapshotTags.problem) {
            throw BackupError.badRequest(problem)
        }
        guard !retention.options.isEmpty else {
            throw BackupError.badRequest(
                "a backup must keep at least one snapshot: set `last` to 1 or more")
        }
        return try await letGo(
            retention.options + ["--group-by", "host"] + (tag.map { ["--tag", $0] } ?? []),
            repository, prunes: prunes)
    }

    /// Lets go of these snapshots, by their full identities.
    @discardableResult
    package func forget(
        _ snapshots: [String], in repository: BackupRepository, prunes: Bool
    ) async throws -> BackupForgetting {
        guard !snapshots.isEmpty, snapshots.allSatisfy({ ContentDigest($0) != nil }) else {
            throw BackupError.badRequest("name each snapshot to forget by its 64 digits")
        }
        return try await letGo(snapshots, repository, prunes: prunes)
    }

    private func letGo(
        _ arguments: [String], _ repository: BackupRepository, prunes: Bool
    ) async throws -> BackupForgetting {
        let attempt = "forget old backups at \(repository.display)"
        try requireRestic()
        try requireTarget(repository)
        return try await alone(repository, doing: "forgetting old backups at") {
            let before = try await snapshots(repository).map(\.id)
            guard !before.isEmpty else { return BackupForgetting(kept: [], removed: []) }
            _ = try await locking(["forget", "--quiet"] + arguments, repository, attempt)
            if prunes { _ = try await locking(["prune", "--quiet"], repository, attempt) }
            let after = try await snapshots(repository).map(\.id)
            return BackupForgetting(
                kept: after, removed: before.filter { !after.contains($0) })
        }
    }

    /// Looks for damage in a repository.
    ///
    /// What restic finds is in the answer; what kept it from looking (unreachable, locked, wrong
    /// password) is thrown. `structure` takes seconds, the rest reads the content from the target.
    package func check(
        _ repository: BackupRepository, depth: BackupCheckDepth
    ) async throws -> BackupCheckResult {
        let attempt = "check the backups at \(repository.display)"
        var arguments = ["check"]
        switch depth {
        case .structure: break
        case .part(let part, let parts):
            guard (1...256).contains(parts), (1...parts).contains(part) else {
                throw BackupError.badRequest(
                    "there is no part \(part) of \(parts): there are 1 to 256 parts")
            }
            arguments += ["--read-data-subset=\(part)/\(parts)"]
        case .everything: arguments += ["--read-data"]
        }
        try requireRestic()
        try requireTarget(repository)
        return try await alone(repository, doing: "checking") {
            try await withRun(repository, attempt: attempt) { run in
                let result = try await tool.run(
                    arguments, repository, run: run, attempt: attempt, limit: settings.workLimit)
                guard result.exitCode != 0 else { return (BackupCheckResult(problems: []), 0) }
                if result.exitCode < 128 { run.remove() }
                let error = failure(result, repository, attempt: attempt)
                guard case .damaged = error else { throw error }
                return (
                    BackupCheckResult(problems: Array(result.complaints.prefix(100))),
                    result.exitCode
                )
            }
        }
    }

    /// What a repository takes at its target; zero when there is none yet.
    package func size(_ repository: BackupRepository) async throws -> BackupSize {
        let attempt = "measure the backups at \(repository.display)"
        try requireRestic()
        try requireTarget(repository)
        do {
            let result = try await check(
                ["stats", "--json", "--mode", "raw-data", "--no-lock"], repository,
                attempt: attempt, limit: settings.workLimit)
            let size = try ResticOutput.decode(
                ListedSize.self, result.output, attempt: attempt)
            return BackupSize(
                storedBytes: Int(clamping: size.bytes),
                snapshots: Int(clamping: size.snapshots ?? 0))
        } catch BackupError.noRepository {
            return BackupSize(storedBytes: 0, snapshots: 0)
        }
    }

    /// Runs what takes a lock in the repository.
    private func locking(
        _ arguments: [String], _ repository: BackupRepository, _ attempt: String
    ) async throws -> ResticResult {
        try await withRun(repository, attempt: attempt) { run in
            let result = try await tool.run(
                arguments, repository, run: run, attempt: attempt, limit: settings.workLimit)
            guard result.exitCode == 0 else {
                if result.exitCode < 128 { run.remove() }
                throw failure(result, repository, attempt: attempt)
            }
            return (result, 0)
        }
    }
}
