import BackupStore
import Base
import ClusterModel
import ClusterState
import VolumePlan
import VolumeStore

/// Bringing backups back: on trial, beside a volume, or in its place.
extension BackupKeeper {
    /// First and longest wait before a restoration that failed is tried again.
    private static let retry = (first: Duration.seconds(2), longest: Duration.seconds(60))

    // MARK: Into a volume

    /// Restores and verifies a backup into a volume made for work, which the caller installs or
    /// discards; removes it on failure.
    ///
    /// Tries the backup's own place first, then every other with the same content.
    private func restoreWork(
        _ work: VolumeKeeper.Work, _ name: VolumeName, from record: VolumeBackups,
        backup id: String,
        _ look: Look, progress: @escaping VolumeProgressHandler
    ) async throws -> (volume: VolumeRecord, backup: BackupRecord) {
        guard let wanted = record.find(id)?.backup else {
            throw AgentError("\(record.title) has no backup \(id.prefix(64))")
        }
        try engine.requireRestic()
        let sources = record.sources(of: wanted) { $0 == look.me || look.alive.contains($0) }
        guard !sources.isEmpty else {
            throw AgentError(
                "no host that keeps backup \(wanted.id.prefix(8)) of \(record.title) answers")
        }
        var problems: [String] = []
        for (place, backup) in sources {
            do {
                let volume = try await restoreWork(
                    work, name, backup, of: record, at: place, look, progress: progress)
                return (volume, backup)
            } catch let error as VolumeError {
                // Of this host, whatever place it comes from.
                throw error
            } catch {
                problems.append("\(place.title(look)): \(error)")
                if Task.isCancelled { break }
            }
        }
        throw AgentError(problems.joined(separator: "; "))
    }

    /// Restores and verifies a backup from one place into a volume made for work, as above.
    private func restoreWork(
        _ work: VolumeKeeper.Work, _ name: VolumeName, _ backup: BackupRecord,
        of record: VolumeBackups, at place: BackupPlace, _ look: Look,
        progress: @escaping VolumeProgressHandler
    ) async throws -> VolumeRecord {
        let (volume, path) = try await volumes.makeWork(
            work, for: name, volumeClass: record.volumeClass, size: record.sizeBytes,
            fileSystem: look.fileSystem(of: record))
        do {
            try await restore(backup, of: record, at: place, into: path, look, progress)
            return volume
        } catch {
            try await volumes.discard(volume)
            throw error
        }
    }

    private func restore(
        _ backup: BackupRecord, of record: VolumeBackups, at place: BackupPlace, into path: String,
        _ look: Look, _ progress: @escaping VolumeProgressHandler
    ) async throws {
        guard let name = VolumeName(slot: record.slot, volume: record.name) else {
            throw AgentError("\(record.title) is no volume")
        }
        try await repositories.with(place, name, me: look.me) { repository in
            let snapshot = try await find(backup, in: repository)
            try await engine.restore(snapshot, from: repository, into: path) { now in
                progress(now.view("\(now.phase.rawValue) \(record.title)"))
            }
        }
    }

    /// The snapshot of a backup that the log knows; throws when the repository has it not, or
    /// another.
    private func find(
        _ backup: BackupRecord, in repository: BackupRepository
    ) async throws -> BackupSnapshot {
        guard
            let snapshot = try await engine.snapshots(repository).first(where: {
                $0.id == backup.id
            })
        else {
            throw BackupError.damaged(
                target: repository.display,
                cause: "backup \(backup.id.prefix(8)) is not there any more")
        }
        // The repository's own word is not enough: the log remembers what was backed up.
        guard backup.digest.isEmpty || backup.digest == snapshot.contentDigest?.description
        else {
            throw BackupError.damaged(
                target: repository.display,
                cause: "backup \(backup.id.prefix(8)) is not what the log recorded; somebody else "
                    + "wrote to the repository")
        }
        return snapshot
    }

    /// Why a backup cannot be restored now from any place; nil when one has it and answers.
    ///
    /// Only whether it is there is looked at, not what is in it.
    func obstacle(
        to id: String, of record: VolumeBackups, _ look: Look
    ) async -> String? {
        guard let wanted = record.find(id)?.backup,
            let name = VolumeName(slot: record.slot, volume: record.name)
        else { return "\(record.title) has no backup \(id.prefix(64))" }
        let sources = record.sources(of: wanted) { $0 == look.me || look.alive.contains($0) }
        var problems: [String] = []
        for (place, backup) in sources {
            do {
                try await repositories.with(place, name, me: look.me) { repository in
                    _ = try await find(backup, in: repository)
                }
                return nil
            } catch { problems.append("\(place.title(look)): \(error)") }
        }
        return problems.isEmpty
            ? "no host that keeps backup \(wanted.id.prefix(8)) of \(record.title) answers"
            : problems.joined(separator: "; ")
    }

    /// Restores a backup into a new volume of this host that belongs to nobody.
    func restoreBeside(
        _ record: VolumeBackups, backup id: String, as target: VolumeName, _ look: Look,
        progress: @escaping VolumeProgressHandler
    ) async throws -> BackupRecord {
        try await alone(with: target) {
            let (work, backup) = try await restoreWork(
                .restore, target, from: record, backup: id, look, progress: progress)
            guard try await volumes.find(target) == nil else {
                try await volumes.discard(work)
                throw AgentError("there is a volume \(target) already; take another name")
            }
            try await volumes.install(work, as: target, owner: 0)
            return backup
        }
    }

    // MARK: Drills

    /// Restores the newest backup beside the volume, verifies it, removes it again, and tells how it
    /// went.
    ///
    /// Repositories that were found damaged are tried again first. Then the newest of the others;
    /// where that fails the next, so that it is known which can be counted on.
    func drill(_ subject: Subject, _ look: Look) async {
        guard let known = subject.known else { return }
        let targets = known.drillTargets { look.alive.contains($0) }
        guard let first = targets.first else { return }
        var verdicts: [BackupPlace: Bool] = [:]
        var problems: [String] = []
        var proven: (backup: BackupRecord, milliseconds: Int)?
        let clock = ContinuousClock()
        let begin = clock.now
        for target in targets where proven == nil || target.isDamaged {
            let start = clock.now
            do {
                try await alone(with: subject.name) {
                    let work = try await restoreWork(
                        .drill, subject.name, target.backup, of: known, at: target.place, look,
                        progress: { _ in })
                    try await volumes.discard(work)
                }
                verdicts[target.place] = false
                proven = (target.backup, Int((clock.now - start).inMilliseconds))
            } catch {
                problems.append("\(target.place.title(look)): \(error)")
                if error.provesDamage { verdicts[target.place] = true }
            }
        }
        // What could not be asked is no failure while another place has it.
        let isSound = proven != nil && !verdicts.values.contains(true)
        let problem =
            isSound
            ? ""
            : (problems + (proven.map { ["backup \($0.backup.id.prefix(8)) is good"] } ?? []))
                .joined(separator: "; ")
        let backup = proven?.backup ?? first.backup
        let took = proven?.milliseconds ?? Int((clock.now - begin).inMilliseconds)
        let outcome = problem.isEmpty ? "restored and verified in \(took) ms" : problem
        log.write(
            problem.isEmpty ? .info : .error,
            "drill of \(subject.name) with backup \(backup.id.prefix(8)): \(outcome)")
        // Backups may have been made meanwhile.
        let now = await self.look()
        var record =
            now.state.backups(of: known.slot, known.name, owner: known.owner) ?? known
        for index in record.copies.indices {
            guard let isDamaged = verdicts[record.copies[index].place] else { continue }
            record.copies[index].mark(isDamaged: isDamaged)
        }
        let time = WallTime.now
        record.drill = BackupDrill(
            time: time, backup: backup.id,
            ageMilliseconds: Int(time.milliseconds - backup.time.milliseconds),
            durationMilliseconds: took, problem: problem)
        await tell(record)
    }

    // MARK: In the place of what was lost

    /// Begins the restorations that the log gives to this host.
    func beginRestorations(_ look: Look) {
        for service in look.state.services where service.homelessCount > 0 {
            for slot in service.slots {
                guard let order = slot.restoration, order.host == look.me,
                    restorations[slot.slot] != order.index
                else { continue }
                restorations[slot.slot] = order.index
                Task { await self.carryOut(order, slot.slot) }
            }
        }
    }

    /// Restores a slot's volumes, again until it is done or another order replaces this one.
    private func carryOut(_ order: VolumeRestoration, _ slot: SlotID) async {
        var delay = BackupKeeper.retry.first
        let begin = ContinuousClock.now
        var isRestored = false
        while true {
            let look = await look()
            guard let service = look.state.service(slot.service),
                look.state.slot(slot)?.restoration?.index == order.index
            else { break }
            do {
                if !isRestored {
                    try await restore(slot, by: order, of: service, look)
                    isRestored = true
                    let took = (ContinuousClock.now - begin).inMilliseconds
                    log.info("restored \(slot) in \(took) ms: \(order.summary)")
                }
                if await tell(slot, order, problem: "") { return }
            } catch {
                log.warning("could not restore \(slot) yet: \(error)")
                // What still ends here frees its volumes soon; that is no problem to tell.
                if !error.isInUse { _ = await tell(slot, order, problem: "\(error)") }
            }
            guard (try? await Task.sleep(for: delay)) != nil else { break }
            delay = min(delay * 2, BackupKeeper.retry.longest)
        }
        if restorations[slot] == order.index { restorations[slot] = nil }
    }

    private func restore(
        _ slot: SlotID, by order: VolumeRestoration, of service: ServiceRecord, _ look: Look
    ) async throws {
        var works: [(volume: VolumeRecord, name: VolumeName)] = []
        do {
            for source in order.sources {
                works.append(try await restored(source, of: slot, service, look))
            }
        } catch {
            for work in works { try? await volumes.discard(work.volume) }
            throw error
        }
        // Nothing that was there goes away before all that comes is there and verified.
        for work in works {
            try await alone(with: work.name) {
                try await volumes.install(
                    work.volume, as: work.name, owner: service.createdAt.value)
            }
        }
        await volumes.tell(always: true)
    }

    private func restored(
        _ source: VolumeRestoration.Source, of slot: SlotID, _ service: ServiceRecord, _ look: Look
    ) async throws -> (volume: VolumeRecord, name: VolumeName) {
        guard let name = VolumeName(slot: slot, volume: source.volume),
            let spec = service.spec.volumes.first(where: { $0.name == source.volume })
        else { throw AgentError("\(slot) has no volume \(source.volume) any more") }
        guard !source.backup.isEmpty else {
            let work = try await volumes.makeWork(
                .restore, for: name, volumeClass: spec.volumeClass, size: spec.sizeBytes,
                fileSystem: FileSystemKind(spec))
            return (work.record, name)
        }
        guard
            var known = look.state.backups(of: slot, source.volume, owner: service.createdAt)
        else { throw AgentError("the log knows no backups of \(name)") }
        // As the service has it now; what does not fit into that is told.
        known.volumeClass = spec.volumeClass
        known.sizeBytes = max(known.sizeBytes, spec.sizeBytes)
        let (volume, _) = try await restoreWork(
            .restore, name, from: known, backup: source.backup, look, progress: { _ in })
        return (volume, name)
    }

    /// Tells the log how a restoration goes; false when it could not be told.
    private func tell(
        _ slot: SlotID, _ order: VolumeRestoration, problem: String
    ) async -> Bool {
        let result = await driver.submit(
            .reportRestoration(slot, index: order.index, host: order.host, problem: problem))
        guard case .done = result else { return false }
        return true
    }
}

extension FileSystemKind {
    /// The file system that a service wants for a volume; nil when it does not say.
    fileprivate init?(_ spec: VolumeSpec) {
        guard let wanted = spec.fileSystem else { return nil }
        self.init(rawValue: wanted.rawValue)
    }
}

extension BackupKeeper.Look {
    /// The file system for a volume that is restored; nil for the usual one.
    fileprivate func fileSystem(of record: VolumeBackups) -> FileSystemKind? {
        state.service(record.slot.service)?.spec.volumes.first {
            $0.name == record.name && $0.volumeClass == record.volumeClass
        }.flatMap { FileSystemKind($0) }
    }
}

extension VolumeBackups {
    /// Where a backup's content can be had: its own place, then those with a backup of the same
    /// digest, all of which `isReachable` says can be asked.
    func sources(
        of wanted: BackupRecord, isReachable: (HostID) -> Bool
    ) -> [(place: BackupPlace, backup: BackupRecord)] {
        var own: [(place: BackupPlace, backup: BackupRecord)] = []
        var others: [(place: BackupPlace, backup: BackupRecord)] = []
        for copy in copies where copy.host.map(isReachable) ?? true {
            for backup in copy.backups.reversed() {
                if backup.id == wanted.id {
                    own.append((copy.place, backup))
                } else if !wanted.digest.isEmpty, backup.digest == wanted.digest {
                    others.append((copy.place, backup))
                    break
                }
            }
        }
        return own + others
    }
}

extension VolumeBackups {
    /// What a drill tries, in this order: the newest backup of each place that was found damaged,
    /// then of each other, the newest first.
    func drillTargets(
        isReachable: (HostID) -> Bool
    ) -> [(place: BackupPlace, backup: BackupRecord, isDamaged: Bool)] {
        copies.filter { $0.host.map(isReachable) ?? true }.compactMap { copy in
            copy.backups.last.map { (copy.place, $0, copy.isDamaged) }
        }.sorted { left, right in
            guard left.2 == right.2 else { return left.2 }
            return (left.1.time, left.1.id) > (right.1.time, right.1.id)
        }
    }
}

extension Error {
    /// True when a repository did not give a backup back as it was, and not only could not be asked.
    var provesDamage: Bool {
        switch self as? BackupError {
        case .damaged, .restoredDiffers, .noSnapshot, .noRepository, .wrongPassword, .failed: true
        default: false
        }
    }

    /// True when a volume is still used by what is being ended.
    fileprivate var isInUse: Bool {
        if case .inUse? = self as? VolumeError { return true }
        return false
    }
}
