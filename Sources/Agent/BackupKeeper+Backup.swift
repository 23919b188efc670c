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
                    throw AgentError(
                        "no other host is there that could keep backups; add one, or name another "
                            + "target than `peers`")
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
            // Who has the volume now tells of its backups; of one that is gone, nobody else does.
            let after = await self.look()
            if let loss = subject.loss(look, after) {
                noteSuccess(subject.name)
                if !made.isEmpty, loss == .deleted { await tell(record) }
                guard problems.isEmpty, made.count == places.count else {
                    throw AgentError(loss.sentence(subject.name))
                }
                return made
            }
            for (place, _) in made where record.copy(at: place)?.isDamaged ?? false {
                problems.append(
                    "\(place.title(look)): the last drill of this repository failed, so that nobody "
                        + "should count on what is in it; back up to another target, or move the "
                        + "repository away so that a new one is begun")
            }
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
                // A host that has seen that the volume is no longer ours lets us remove nothing.
                if place.host != nil, await hasLost(subject, since: look) { break }
                if let host = place.host {
                    switch BackupBlame(error) {
                    case .nobody: break
                    case .repository: note(BackupRefusal(host: host, volume: subject.name))
                    case .host: note(BackupRefusal(host: host, volume: nil))
                    }
                }
                let sentence = "\(place.title(look)): \(error)"
                results.append((place, .failure(AgentError(sentence))))
            }
        }
        return results
    }

    /// True when the volume was deleted or moved away since a look; waits a moment for the log to
    /// tell, which others may know before this host.
    private func hasLost(_ subject: Subject, since look: Look) async -> Bool {
        for attempt in 0..<10 {
            if attempt > 0 { try? await Task.sleep(for: .milliseconds(100)) }
            if subject.loss(look, await self.look()) != nil { return true }
        }
        return false
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
                isStill: source.isStill, to: repository
            ) { now in
                progress(now.view("\(now.phase.rawValue) \(subject.name) for \(title)"))
            }
            let keep = subject.backup.keep
            let retention = BackupRetention(
                last: keep.last, hourly: keep.hourly, daily: keep.daily, weekly: keep.weekly,
                monthly: keep.monthly)
            do {
                _ = try await engine.forget(
                    keeping: retention, tag: tags.ownerText, in: repository,
                    prunes: isPruneDue(repository))
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
        let records = BackupTags.own(try await engine.snapshots(repository), of: owner)
            .map { BackupRecord($0) }
        return BackupCopy(
            target: place.target, host: place.host,
            backups: Array(records.sorted { ($0.time, $0.id) < ($1.time, $1.id) }.suffix(128)))
    }

    /// Lets go of copies of hosts that are not wanted any more but are there to be asked, once as
    /// many others as are wanted have the newest backup; and of those of hosts that were forgotten.
    ///
    /// What an earlier service of the name left in a repository stays.
    private func dropSurplus(
        _ record: inout VolumeBackups, of subject: Subject, _ look: Look
    ) async {
        let name = subject.name
        guard case .peers(let count)? = subject.backup.destination else { return }
        let wanted = Set(places(of: subject, look))
        for copy in record.copies {
            guard let host = copy.host, !wanted.contains(copy.place) else { continue }
            guard look.state.host(host) != nil else {
                record.copies.removeAll { $0.place == copy.place }
                continue
            }
            guard look.alive.contains(host),
                record.isCovered(without: copy.place, by: places(of: subject, look), count: count)
            else { continue }
            do {
                try await repositories.with(copy.place, name, me: look.me, prunes: true) {
                    let ids = BackupTags.own(try await engine.snapshots($0), of: subject.owner)
                        .map(\.id)
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
        [ownerText, "taken=\(takenAt ?? 0)"] + (isPointInTime ? [] : ["live"])
    }

    /// The tag by which backups of one service's volume are told from those of others.
    var ownerText: String { "owner=\(owner.value)" }

    /// Those snapshots of a repository that are of one service's volume.
    static func own(_ snapshots: [BackupSnapshot], of owner: LogIndex) -> [BackupSnapshot] {
        snapshots.filter { BackupTags($0.tags).owner == owner }
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
    ///
    /// A repository that was damaged stays so, its new backups too, until a drill says otherwise or
    /// what was found damaged is no longer in it.
    mutating func take(_ copy: BackupCopy) {
        let damaged = self.copy(at: copy.place)?.backups.filter(\.isDamaged).map(\.id) ?? []
        copies.removeAll { $0.place == copy.place }
        var copy = copy
        for index in copy.backups.indices where damaged.contains(copy.backups[index].id) {
            copy.backups[index].isDamaged = true
        }
        if copy.isDamaged { copy.mark(isDamaged: true) }
        if !copy.backups.isEmpty { copies.append(copy) }
        // The oldest place goes first, should there be more than the log keeps.
        if copies.count > Limits.backupCopies { copies.removeFirst() }
    }

    /// True when so many of the places that are wanted have the newest backup, and none of them is
    /// known to be damaged, that another one can go.
    func isCovered(without place: BackupPlace, by wanted: [BackupPlace], count: Int) -> Bool {
        let sound = wanted.filter { other in
            guard other != place, let copy = copy(at: other) else { return false }
            return fault(of: copy, home: nil) == nil
        }
        return count > 0 && sound.count >= count
    }
}

extension BackupCopy {
    /// Marks what a drill found out: of a damaged one the newest backup, of a sound one none.
    mutating func mark(isDamaged: Bool) {
        if isDamaged, let last = backups.indices.last {
            backups[last].isDamaged = true
        } else {
            for index in backups.indices { backups[index].isDamaged = false }
        }
    }
}

/// Who is to blame when a backup at a host fails.
///
/// Only what the host or its repository says of itself counts. All else may as well be the volume's
/// or this host's doing, and then every host in turn would be passed over for it.
enum BackupBlame: Equatable {
    /// The same place is tried again.
    case nobody
    /// Another place is tried for this volume.
    case repository
    /// Other places are tried for all volumes.
    case host

    init(_ error: any Error) {
        switch error {
        case let refusal as BackupPeerError: self = refusal.blame
        case let error as BackupError:
            self =
                switch error {
                case .targetFull: .host
                case .unreachable, .accessDenied, .wrongPassword, .locked, .damaged: .repository
                default: .nobody
                }
        default: self = .nobody
        }
    }
}

/// What became of a volume while it was backed up.
enum VolumeLoss: Equatable {
    /// Its service was deleted or has fewer sets.
    case deleted
    /// Another host has it now.
    case moved
    /// It is being restored from a backup.
    case replaced

    func sentence(_ name: VolumeName) -> String {
        switch self {
        case .deleted:
            "\(name) was deleted while it was backed up; `shoal volume backups` lists what "
                + "was made before"
        case .moved: "\(name) moved to another host while it was backed up; back it up again"
        case .replaced:
            "\(name) was given up for a backup that is restored in its place; back it up again when "
                + "that is done"
        }
    }
}

extension BackupKeeper.Subject {
    /// What became of the volume between two looks; nil when it is still this host's.
    func loss(_ before: BackupKeeper.Look, _ after: BackupKeeper.Look) -> VolumeLoss? {
        guard loss(before) == nil else { return nil }
        return loss(after)
    }

    private func loss(_ look: BackupKeeper.Look) -> VolumeLoss? {
        guard look.state.service(name.slot.service)?.createdAt == owner,
            let slot = look.state.slot(name.slot)
        else { return .deleted }
        guard slot.volumeHost == look.me else { return .moved }
        return slot.restoration == nil ? nil : .replaced
    }
}

extension BackupProgress {
    /// The progress as volume operations tell it.
    func view(_ doing: String) -> VolumeProgress {
        VolumeProgress(doing: doing, done: done, total: total ?? max(done, 1))
    }
}
