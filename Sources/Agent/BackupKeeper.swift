import BackupStore
import Base
import ClusterModel
import ClusterState
import PeerCore
import VolumePlan

/// Backs up the volumes of this host as their services ask, tries their backups out, and restores
/// what the log says this host is to restore.
///
/// What was done is in the repositories and in the log; nothing else is kept. A crash at any point
/// leaves at most a snapshot or a volume made for work, which the next start removes, and data in a
/// repository that the next backup uses or prunes. Backups and drills that are due are made one at a
/// time, the oldest first; what an operator asks for begins at once, but never two works on one
/// volume.
actor BackupKeeper {
    let volumes: VolumeKeeper
    let engine: BackupEngine
    let driver: PeerDriver
    let repositories: BackupRepositories
    let log: AgentLog

    /// Volumes that are worked on.
    private var busy: Set<VolumeName> = []
    /// The work that the schedule began; one at a time.
    private var scheduled: Task<Void, Never>?
    /// True when that was a backup: then a drill comes next, so that backups that take longer than
    /// their period leave drills their turn.
    private var wasBackup = false
    /// Failures in a row of a volume's backups, and when the next attempt may be, in seconds.
    private var failures: [VolumeName: (count: Int, retryAt: Int)] = [:]
    /// Who refused what, until when others are asked instead, in seconds.
    private var refusals: [BackupRefusal: Int] = [:]
    /// Restorations that run or are done here: the order's entry by slot.
    var restorations: [SlotID: LogIndex] = [:]
    /// When each repository was last pruned, in seconds.
    private var pruned: [String: Int] = [:]

    /// How often the log is looked at.
    private static let interval = Duration.seconds(1)
    /// How long a host that refused backups is passed over, in seconds.
    private static let refusalSeconds = 3_600
    /// How often the room of forgotten backups is given back, in seconds.
    private static let pruneSeconds = 86_400

    init(
        volumes: VolumeKeeper, engine: BackupEngine, driver: PeerDriver,
        repositories: BackupRepositories, log: AgentLog
    ) {
        self.volumes = volumes
        self.engine = engine
        self.driver = driver
        self.repositories = repositories
        self.log = log
    }

    /// What this host knows of the cluster.
    struct Look: Sendable {
        let me: HostID
        let state: ReplicatedState
        /// Hosts that gossip sees alive, sorted.
        let alive: [HostID]
        /// True once this host knows what the leaseholder knows.
        let isCurrent: Bool

        func name(of host: HostID) -> String { state.host(host)?.name ?? host.short }
    }

    func look() async -> Look {
        await driver.read { peer, _ in
            Look(
                me: peer.id, state: peer.state, alive: peer.membership.aliveIDs,
                isCurrent: peer.mayActOnState)
        }
    }

    /// Works until it is cancelled.
    func run() async {
        while (try? await Task.sleep(for: BackupKeeper.interval)) != nil {
            let look = await look()
            // An old copy of the log may ask for what has long been done.
            guard look.isCurrent else { continue }
            beginRestorations(look)
            guard scheduled == nil, let work = nextWork(look) else { continue }
            scheduled = Task {
                await self.carryOut(work, look)
                self.scheduled = nil
            }
        }
    }

    // MARK: What is due

    /// A volume of this host that its service wants backed up.
    struct Subject: Sendable {
        let name: VolumeName
        let owner: LogIndex
        let backup: BackupSpec
        let volumeClass: VolumeClass
        let sizeBytes: Int
        let known: VolumeBackups?

        /// What the log is told, before anything new.
        var record: VolumeBackups {
            var record =
                known
                ?? VolumeBackups(
                    slot: name.slot, name: name.volume, owner: owner, volumeClass: volumeClass,
                    sizeBytes: sizeBytes)
            record.sizeBytes = sizeBytes
            return record
        }
    }

    private enum Work: Sendable {
        case backup(Subject, [BackupPlace])
        case drill(Subject)
    }

    /// The volumes of this host that are backed up: those of slots that are here.
    func subjects(_ look: Look) -> [Subject] {
        look.state.volumes(of: look.me).compactMap { volume in
            guard volume.trashedAt == nil, volume.snapshot == nil, volume.owner != .zero,
                let service = look.state.service(volume.slot.service),
                service.createdAt == volume.owner,
                let slot = look.state.slot(volume.slot), slot.volumeHost == look.me,
                slot.restoration == nil,
                let spec = service.spec.volumes.first(where: { $0.name == volume.name }),
                let backup = spec.backup,
                let name = VolumeName(slot: volume.slot, volume: volume.name)
            else { return nil }
            return Subject(
                name: name, owner: volume.owner, backup: backup, volumeClass: volume.volumeClass,
                sizeBytes: volume.sizeBytes,
                known: look.state.backups(of: volume.slot, volume.name, owner: volume.owner))
        }
    }

    /// The volume whose backup is due longest, or one whose drill is; in turn where both are due.
    private func nextWork(_ look: Look) -> Work? {
        let subjects = subjects(look).filter { !busy.contains($0.name) }
        let drill = wasBackup ? nextDrill(subjects, look) : nil
        let work = drill ?? nextBackup(subjects, look) ?? nextDrill(subjects, look)
        if case .backup? = work { wasBackup = true } else if work != nil { wasBackup = false }
        return work
    }

    private func nextBackup(_ subjects: [Subject], _ look: Look) -> Work? {
        let now = seconds()
        let candidates = candidates(look)
        var best: (work: Work, last: Int)?
        for subject in subjects where failures[subject.name].map({ $0.retryAt <= now }) ?? true {
            let due = places(of: subject, look, among: candidates).filter { place in
                BackupSchedule.isDue(
                    now: now, last: subject.known?.copy(at: place)?.newestSeconds,
                    every: subject.backup.everySeconds, volume: subject.name.description)
            }
            guard !due.isEmpty else { continue }
            let last = due.map { subject.known?.copy(at: $0)?.newestSeconds ?? 0 }.min() ?? 0
            if last < best?.last ?? Int.max { best = (.backup(subject, due), last) }
        }
        return best?.work
    }

    private func nextDrill(_ subjects: [Subject], _ look: Look) -> Work? {
        let now = seconds()
        for subject in subjects {
            guard let every = subject.backup.drillSeconds,
                subject.known?.newest(isReachable: { look.alive.contains($0) }) != nil
            else { continue }
            let last = subject.known?.drill.map { Int($0.time.milliseconds / 1_000) }
            let title = "drill \(subject.name)"
            if BackupSchedule.isDue(now: now, last: last, every: every, volume: title) {
                return .drill(subject)
            }
        }
        return nil
    }

    /// Where a volume's backups go now; `candidates` are those of this look, for one who asks for
    /// many volumes.
    func places(
        of subject: Subject, _ look: Look, to: String? = nil,
        among candidates: [BackupHolders.Candidate]? = nil
    ) -> [BackupPlace] {
        let target = to ?? subject.backup.to
        guard case .peers(let copies)? = BackupDestination(target) else {
            return [BackupPlace(target: target, host: nil)]
        }
        let home = BackupHolders.Candidate(
            id: look.me, zone: look.state.host(look.me)?.registration.zone ?? Zone())
        let hosts = candidates ?? self.candidates(look)
        let damaged = subject.known?.copies.filter(\.isDamaged).compactMap(\.host) ?? []
        let chosen = BackupHolders.choose(
            copies, for: subject.name.description, home: home, among: hosts,
            keeping: subject.known?.copies.compactMap(\.host) ?? [],
            avoiding: hosts.map(\.id).filter {
                damaged.contains($0) || refuses($0, subject.name)
            })
        return chosen.map { BackupPlace(target: "peers", host: $0) }
    }

    /// The hosts that may keep backups now.
    private func candidates(_ look: Look) -> [BackupHolders.Candidate] {
        let alive = Set(look.alive)
        return look.state.hosts.filter { $0.status == .active && alive.contains($0.id) }
            .map { BackupHolders.Candidate(id: $0.id, zone: $0.registration.zone) }
    }

    /// True while a host is passed over for a volume's backups, where there are others.
    private func refuses(_ host: HostID, _ name: VolumeName) -> Bool {
        guard !refusals.isEmpty else { return false }
        let now = seconds()
        return [nil, name].contains { refusals[BackupRefusal(host: host, volume: $0)] ?? 0 > now }
    }

    private func carryOut(_ work: Work, _ look: Look) async {
        switch work {
        case .backup(let subject, let places):
            do {
                let made = try await backUp(subject, to: places, look)
                for (place, backup) in made {
                    log.info(
                        "backed up \(subject.name) to \(place.title(look)): \(backup.id.prefix(8))")
                }
            } catch { log.warning("could not back up \(subject.name): \(error)") }
        case .drill(let subject): await drill(subject, look)
        }
    }

    // MARK: Taking turns

    /// Runs the body while nothing else works on a volume's backups.
    func alone<Value: Sendable>(
        with name: VolumeName, _ body: () async throws -> Value
    ) async throws -> Value {
        guard busy.insert(name).inserted else {
            throw AgentError(
                "\(name) is being backed up or restored at this moment; try again when that is done"
            )
        }
        defer { busy.remove(name) }
        return try await body()
    }

    func noteSuccess(_ name: VolumeName) { failures[name] = nil }

    func noteFailure(_ subject: Subject) {
        let count = (failures[subject.name]?.count ?? 0) + 1
        let delay = BackupSchedule.retryDelay(
            failures: count, every: subject.backup.everySeconds)
        failures[subject.name] = (count, seconds() + delay)
    }

    func note(_ refusal: BackupRefusal) {
        let now = seconds()
        refusals = refusals.filter { $0.value > now }
        refusals[refusal] = now + BackupKeeper.refusalSeconds
    }

    /// True when a repository's forgotten backups should give back their room; notes that they do.
    func isPruneDue(_ repository: BackupRepository) -> Bool {
        let now = seconds()
        let key = "\(repository.path) \(repository.target)"
        guard now - (pruned[key] ?? 0) >= BackupKeeper.pruneSeconds else { return false }
        pruned[key] = now
        return true
    }

    nonisolated func seconds() -> Int { Int(WallTime.now.milliseconds / 1_000) }
}

/// That a host takes no backups of a volume, or of any.
struct BackupRefusal: Hashable, Sendable {
    /// The host.
    let host: HostID
    /// The volume whose repository there cannot be used; nil when the host takes no backups at all.
    let volume: VolumeName?
}

/// One repository of a volume: a target, or a host that keeps it.
struct BackupPlace: Hashable, Sendable {
    /// What the log calls the target: `peers`, or as the service file names it.
    var target: String
    /// The host; nil for a target outside the cluster.
    var host: HostID?

    func title(_ look: BackupKeeper.Look) -> String { host.map(look.name(of:)) ?? target }
}

extension VolumeBackups {
    /// What is known of one place.
    func copy(at place: BackupPlace) -> BackupCopy? {
        copies.first { $0.target == place.target && $0.host == place.host }
    }
}

extension BackupCopy {
    /// The newest backup's time in seconds since 1970; nil without one.
    var newestSeconds: Int? { backups.last.map { Int($0.time.milliseconds / 1_000) } }

    var place: BackupPlace { BackupPlace(target: target, host: host) }
}
