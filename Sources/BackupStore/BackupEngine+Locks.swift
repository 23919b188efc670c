import Glibc
import VolumeStore

extension BackupEngine {
    /// Removes locks that a killed restic of ours left in a repository.
    ///
    /// Only when the run's file proves that none of its processes is left, and the lock names this
    /// host and that process. Locks of others are left to restic's own rules: they lapse after 30
    /// minutes without a sign of life.
    func clearDeadLocks(_ repository: BackupRepository) async throws {
        let dead: [RunFile]
        var processes: [Int32] = []
        do throws(VolumeError) {
            dead = try RunFile.dead(in: runs, repository: key(repository))
            for run in dead {
                if let process = try run.process() { processes.append(process) }
            }
        } catch { throw BackupError.file(error) }
        guard !dead.isEmpty else { return }
        if !processes.isEmpty {
            let attempt = "clear away what a backup that was cut off left"
            do {
                try await removeLocks(of: processes, repository, attempt: attempt)
            } catch BackupError.noRepository {
                // It was killed before there was anything to lock.
            }
        }
        do throws(VolumeError) {
            try removeTemporaryFiles(repository)
        } catch { throw BackupError.file(error) }
        for run in dead { run.remove() }
    }

    /// Removes what a killed restic had begun to write into a folder; restic itself never does.
    ///
    /// Only while the repository has no lock: then nobody writes to it. (Who is about to make a lock
    /// has begun no other file; a begun lock is left alone for a while.)
    private func removeTemporaryFiles(_ repository: BackupRepository) throws(VolumeError) {
        guard case .directory = repository.target else { return }
        let attempt = "clear away unfinished files in \(repository.display)"
        let flags = O_RDONLY | O_DIRECTORY
        guard let top = try? OpenFile(repository.location, flags: flags, attempt: attempt),
            let locks = try? OpenFile(in: top, "locks", flags: flags, attempt: attempt),
            try locks.names(attempt: attempt).allSatisfy({ $0.contains("-tmp-") })
        else { return }
        for kind in ["locks", "keys", "index", "snapshots", "data"] {
            let folder = try OpenFile(in: top, kind, flags: flags, attempt: attempt)
            var folders = [folder]
            if kind == "data" {
                for name in try folder.names(attempt: attempt) where name.utf8.count == 2 {
                    folders.append(try OpenFile(in: folder, name, flags: flags, attempt: attempt))
                }
            }
            for folder in folders {
                for name in try folder.names(attempt: attempt) where isTemporary(name) {
                    guard let facts = try folder.status(of: name, attempt: attempt),
                        kind != "locks" || time(nil) - facts.st_mtim.tv_sec > 600
                    else { continue }
                    unlinkat(folder.descriptor, name, 0)
                }
            }
        }
    }

    /// True for what restic calls a file until it is whole: 64 digits, `-tmp-` and a number.
    private func isTemporary(_ name: String) -> Bool {
        guard let mark = name.firstRange(of: "-tmp-") else { return false }
        return ContentDigest(name[..<mark.lowerBound]) != nil
            && name[mark.upperBound...].utf8.allSatisfy { 48...57 ~= $0 }
    }

    private func removeLocks(
        of processes: [Int32], _ repository: BackupRepository, attempt: String
    ) async throws {
        guard try await hasLocks(of: processes, repository, attempt: attempt).ours else { return }
        // Those of processes that are gone on this host.
        _ = try await check(["unlock"], repository, attempt: attempt)
        let left = try await hasLocks(of: processes, repository, attempt: attempt)
        // Still there: the kernel gave the number to another process meanwhile. With locks of others
        // among them, they have to lapse.
        guard left.ours, !left.others else { return }
        _ = try await check(["unlock", "--remove-all"], repository, attempt: attempt)
    }

    /// Whether a repository has locks of these processes of ours, and of anybody else.
    private func hasLocks(
        of processes: [Int32], _ repository: BackupRepository, attempt: String
    ) async throws -> (ours: Bool, others: Bool) {
        let listing = try await check(
            ["list", "locks", "--no-lock", "--quiet"], repository, attempt: attempt)
        let names = String(decoding: listing.output, as: UTF8.self).split(separator: "\n")
            .filter { $0.utf8.count == 64 }
        var found = (ours: false, others: false)
        for name in names.prefix(100) {
            let text = try await tool.run(
                ["cat", "lock", String(name), "--no-lock", "--quiet"], repository, run: nil,
                attempt: attempt, limit: settings.answerLimit)
            // It may be gone by now.
            guard text.exitCode == 0 else { continue }
            let lock = try ResticOutput.decode(ListedLock.self, text.output, attempt: attempt)
            if lock.hostname == hostName(), processes.contains(lock.pid) {
                found.ours = true
            } else {
                found.others = true
            }
        }
        return found
    }

    /// The host's name, as restic writes it into locks.
    private func hostName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "" }
        return String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
