import BackupStore
import Base
import ClusterModel
import ClusterState
import VolumePlan
import VolumeStore

/// Making backups.
extension BackupKeeper {
    /// Makes a backup of a volume at each place from one snapshot, lets go of old ones, and tells
    /// the log.
    ///
    /// A place that fails does not keep the others from theirs; the failure is in the log, and thrown
    /// when no place took one.
    func backUp(
        _ subject: Subject, to places: [BackupPlace], _ look: Look,
        progress: @escaping VolumeProgressHandler = { _ in }
    ) async throws -> [(place: BackupPlace, backup: BackupRecord)] {
        try await alone(with: subject.name) {
            var record = subject.record
            var made: [(place: BackupPlace, backup: BackupRecord)] = []
            var problems: [String] = []
            do {
                guard !places.isEmpty else {
                    throw AgentError("no other host is there that could keep backups")
                }
                try engine.requireRestic()
                let results = try await volumes.withContent(of: subject.name, progress: progress) {
                    await self.store($0, subject, at: places, look, progress: progress)
                }
                for (place, result) in results {
                    switch result {
                    case .success(let copy):
                        record.take(copy)
                        if let newest = copy.backups.last { made.append((place, newest)) }
                    case .failure(let failure): problems.append(failure.description)
                    }
                }
            } catch { problems.append("\(error)") }
            record.failure =
                problems.isEmpty
                ? nil : BackupFailure(time: .now, reason: problems.joined(separator: "; "))
            if problems.isEmpty { noteSuccess(subject.name) } else { noteFailure(subject) }
            await dropSurplus(&record, of: subject, look)
            await tell(record)
            guard !made.isEmpty else { throw AgentError(problems.joined(separator: "; ")) }
            return made
        }
    }

    /// Backs the content up at each place.
    private func store(
        _ source: BackupSource, _ subject: Subject, at places: [BackupPlace], _ look: Look,
        progress: @escaping VolumeProgressHandler
    ) async -> [(BackupPlace, Result<BackupCopy, AgentError>)] {
        var results: [(BackupPlace, Result<BackupCopy, AgentError>)] = []
        for place in places {
            do {
                let copy = try await store(source, subject, at: place, look, progress: progress)
                results.append((place, .success(copy)))
            } catch {
                if let host = place.host, !error.isOfSource { noteRefusal(of: host) }
                let sentence = "\(place.title(look)): \(error)"
                results.append((place, .failure(AgentError(sentence))))
            }
        }
        return results
    }

    private func store(
        _ source: BackupSource, _ subject: Subject, at place: BackupPlace, _ look: Look,
        progress: @escaping VolumeProgressHandler
    ) async throws -> BackupCopy {
        let tags = BackupTags(
            owner: subject.owner, takenAt: source.takenAt, isPointInTime: source.isPointInTime)
        let title = place.title(look)
        return try await repositories.with(place, subject.name, me: look.me, prunes: true) {
            repository in
            _ = try await engine.backup(
                folder: source.path, volumeSize: source.sizeBytes, tags: tags.texts,
                to: repository
            ) { now in
                progress(now.view("\(now.phase.rawValue) \(subject.name) for \(title)"))
            }
            let keep = subject.backup.keep
            let retention = BackupRetention(
                last: keep.last, hourly: keep.hourly, daily: keep.daily, weekly: keep.weekly,
                monthly: keep.monthly)
            do {
                _ = try await engine.forget(
                    keeping: retention, in: repository, prunes: isPruneDue(repository))
            } catch {
                // The backup is made; room is given back the next time.
                log.warning("\(title): \(error)")
            }
            return try await copy(at: place, of: subject.name, owner: subject.owner, repository)
        }
    }

    /// What a repository has of a volume of one service, oldest first.
    func copy(
        at place: BackupPlace, of name: VolumeName, owner: LogIndex, _ repository: BackupRepository
    ) async throws -> BackupCopy {
        let records = try await engine.snapshots(repository).compactMap { snapshot in
            BackupTags(snapshot.tags).owner == owner ? BackupRecord(snapshot) : nil
        }
        return BackupCopy(
            target: place.target, host: place.host,
            backups: Array(records.sorted { ($0.time, $0.id) < ($1.time, $1.id) }.suffix(128)))
    }

    /// Lets go of copies of hosts that are not wanted any more but are there to be asked, and of
    /// those of hosts that were forgotten.
    private func dropSurplus(
        _ record: inout VolumeBackups, of subject: Subject, _ look: Look
    ) async {
        let name = subject.name
        guard case .peers? = subject.backup.destination else { return }
        let wanted = Set(places(of: subject, look))
        for copy in record.copies {
            guard let host = copy.host, !wanted.contains(copy.place) else { continue }
            guard look.state.host(host) != nil else {
                record.copies.removeAll { $0.place == copy.place }
                continue
            }
            guard look.alive.contains(host), record.isCovered(without: copy.place) else {
                continue
            }
            do {
                try await repositories.with(copy.place, name, me: look.me, prunes: true) {
                    let ids = try await engine.snapshots($0).map(\.id)
                    guard !ids.isEmpty else { return }
                    _ = try await engine.forget(ids, in: $0, prunes: true)
                }
                record.copies.removeAll { $0.place == copy.place }
            } catch { log.warning("\(look.name(of: host)) keeps old backups of \(name): \(error)") }
        }
    }

    /// Brings what is known of a volume's backups into the log.
    func tell(_ record: VolumeBackups) async {
        let me = await driver.read { peer, _ in peer.id }
        switch await driver.submit(.reportBackups(host: me, record)) {
        case .done(let outcome, _):
            if case .refused(let refusal) = outcome.result {
                log.error("the backups of \(record.title) are not in the log: \(refusal.message)")
            }
        case .failed(let failure):
            // The next backup tells all of them.
            log.warning(
                "the backups of \(record.title) are not in the log yet: "
                    + failure.controlError.message)
        }
    }
}

/// What a backup says of itself in its repository, beside what the engine keeps.
struct BackupTags: Hashable, Sendable {
    /// The service the volume belonged to.
    var owner = LogIndex.zero
    /// When the content was as it is, in seconds since 1970; nil when nobody said.
    var takenAt: Int?
    /// False when the volume was written to meanwhile.
    var isPointInTime = true

    init(owner: LogIndex, takenAt: Int, isPointInTime: Bool) {
        self.owner = owner
        self.takenAt = takenAt
        self.isPointInTime = isPointInTime
    }

    init(_ texts: [String]) {
        for text in texts {
            let halves = text.split(separator: "=", maxSplits: 1)
            switch (halves.first, halves.last.flatMap { UInt64($0) }) {
            case ("owner", let number?): owner = LogIndex(number)
            case ("taken", let number?): takenAt = Int(clamping: number)
            case ("live", _): isPointInTime = false
            default: break
            }
        }
    }

    var texts: [String] {
        ["owner=\(owner.value)", "taken=\(takenAt ?? 0)"] + (isPointInTime ? [] : ["live"])
    }
}

extension BackupRecord {
    init(_ snapshot: BackupSnapshot) {
        let tags = BackupTags(snapshot.tags)
        let time = tags.takenAt.map { Int64($0) * 1_000 } ?? Int64(snapshot.time * 1_000)
        self.init(
            id: snapshot.id, time: WallTime(milliseconds: time), sizeBytes: snapshot.bytes,
            digest: snapshot.contentDigest?.description ?? "", isPointInTime: tags.isPointInTime)
    }
}

extension VolumeBackups {
    /// Takes in what one place has now; without a backup there is no copy.
    mutating func take(_ copy: BackupCopy) {
        copies.removeAll { $0.place == copy.place }
        if !copy.backups.isEmpty { copies.append(copy) }
        // The oldest place goes first, should there be more than the log keeps.
        if copies.count > Limits.backupCopies { copies.removeFirst() }
    }

    /// True when another place has a backup at least as new as this one's newest.
    func isCovered(without place: BackupPlace) -> Bool {
        let newest = copies.first { $0.place == place }?.newestSeconds ?? 0
        return copies.contains { $0.place != place && $0.newestSeconds ?? 0 >= newest }
    }
}

extension Error {
    /// True when the volume itself was at fault, whatever place it was to go to.
    fileprivate var isOfSource: Bool {
        switch self as? BackupError {
        case .sourceUnreadable, .notKeepable, .file, .cancelled, .resticMissing, .badRequest: true
        default: false
        }
    }
}

extension BackupProgress {
    /// The progress as volume operations tell it.
    func view(_ doing: String) -> VolumeProgress {
        VolumeProgress(doing: doing, done: done, total: total ?? max(done, 1))
    }
}
