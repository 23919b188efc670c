import Base
import ClusterModel
import ClusterState
import ControlAPI
import Scheduling
import VolumePlan
import VolumeStore

/// Backups of volumes, asked at any host.
extension AgentBackend {
    package func backups() async throws -> [VolumeBackupsView] {
        let look = await look()
        let known = look.state.volumeBackups.map { look.view(of: $0) }
        // Those that should have backups and have none yet belong into the list, too.
        let missing = look.state.services.flatMap { service in
            service.slots.flatMap { slot in
                service.spec.volumes.compactMap { volume -> VolumeBackupsView? in
                    guard volume.backup != nil,
                        look.state.backups(of: slot.slot, volume.name, owner: service.createdAt)
                            == nil
                    else { return nil }
                    return look.view(
                        of: VolumeBackups(
                            slot: slot.slot, name: volume.name, owner: service.createdAt,
                            volumeClass: volume.volumeClass, sizeBytes: volume.sizeBytes))
                }
            }
        }
        return (known + missing).sorted { ($0.volume, $0.owner) < ($1.volume, $1.owner) }
    }

    package func backupKey() async throws -> BackupKeyView {
        BackupKeyView(password: backupKeeper.repositories.password, cluster: "\(clusterID)")
    }

    package func forgetBackups(volume: String) async throws -> ApplyResult {
        let look = await look()
        let known = try look.backups(named: volume)
        let index = try await write(
            .forgetBackups(known.slot, volume: known.name, owner: known.owner))
        return ApplyResult(
            service: known.slot.service, revision: 0, index: index.value, outcome: .deleted)
    }

    // MARK: Bringing volumes back

    /// Gives a slot to a host that restores its volumes; returns once that is in the log.
    package func restore(_ request: RestorationRequest) async throws -> RestorationView {
        let look = await look()
        guard let name = VolumeName(request.volume), name.snapshot == nil else {
            throw ControlError(
                .invalid, "'\(request.volume.prefix(100))' is no volume",
                next: "write SLOT/VOLUME such as web.3/data")
        }
        guard let service = look.state.service(name.slot.service),
            let slot = look.state.slot(name.slot)
        else {
            throw ControlError(
                .notFound, "there is no set \(name.slot)",
                next: "bring a deleted service back with `shoal restore \(name.slot.service)`, or "
                    + "restore beside it with --as")
        }
        let sources = try look.sources(for: request, name, of: service)
        let host = try await hostToRestore(request, slot, look)
        let order = VolumeRestoration(host: host, sources: sources)
        let index = try await write(
            .restoreVolumes(name.slot, order, replaces: request.replaces))
        return RestorationView(
            slot: name.slot.description, host: look.name(of: host), index: index.value,
            summary: order.summary)
    }

    private func hostToRestore(
        _ request: RestorationRequest, _ slot: SlotRecord, _ look: Look
    ) async throws -> HostID {
        if let name = request.host { return try look.state.host(called: name).id }
        // Where the volumes are, as long as that host is there.
        if let holder = slot.volumeHost, look.state.host(holder)?.status == .active {
            return holder
        }
        let alive = look.members.filter { $0.status == .alive }.map(\.id).sorted()
        guard let host = Scheduler().hostToRestore(slot.slot, look.state, usable: alive) else {
            throw ControlError(
                .refused, "no host has room for \(slot.slot)",
                next: "make room, or add a host; `shoal hosts` shows what is free")
        }
        return host
    }

    // MARK: Operations

    /// Carries out an operation on backups on this host.
    func performBackup(
        _ operation: VolumeOperation, progress: @escaping VolumeProgressHandler
    ) async throws -> VolumeOperationResult {
        try await waitUntilCurrent()
        let look = await look()
        switch operation {
        case .backup(let volume, let target):
            return try await backUp(try name(volume), to: target, look, progress)
        case .restoreBackup(let volume, let backup, let target, _):
            return try await restoreBeside(
                try name(volume), backup, as: try name(target), look, progress)
        default: throw ControlError(.invalid, "this is no operation on backups")
        }
    }

    /// Answers another agent that keeps backups of a volume here, or reads them.
    func serveBackups(_ volume: String, prunes: Bool, _ channel: PeerChannel) async throws {
        let holder = await look().volumeHost(of: volume)
        try await backupKeeper.repositories.serve(
            volume: volume, prunes: prunes, isHolder: holder == channel.stream.peer.hostID,
            to: channel)
    }

    /// An agent that has just started knows an old log, and would work from that.
    private func waitUntilCurrent() async throws {
        for _ in 0..<200 {
            if await backupKeeper.look().isCurrent { return }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw ControlError(
            .unavailable, "this host has not heard from a leaseholder since its agent started",
            next: "`shoal status` shows how it is; try again when it knows one")
    }

    private func backUp(
        _ name: VolumeName, to target: String?, _ look: Look,
        _ progress: @escaping VolumeProgressHandler
    ) async throws -> VolumeOperationResult {
        let view = await backupKeeper.look()
        let record = try await keeper.volumes.store.find(name)
        let subject = try look.subject(record, to: target)
        let places = await backupKeeper.places(of: subject, view, to: target)
        let made = try await backupKeeper.backUp(
            subject, to: places, view, progress: progress)
        let after = await self.look()
        let problem = after.state.backups(
            of: name.slot, name.volume, owner: subject.owner)?.failure?.reason
        let done = made.map { "\($0.backup.id.prefix(8)) to \($0.place.title(view))" }
        let live = made.contains { !$0.backup.isPointInTime }
        return VolumeOperationResult(
            message: "backed up \(name): \(done.joined(separator: ", "))"
                + (live ? "; not of one moment, for it was written to meanwhile" : "")
                + (problem.map { "; but \($0)" } ?? ""),
            volume: try await keeper.volumes.details(record, look))
    }

    private func restoreBeside(
        _ name: VolumeName, _ backup: String?, as target: VolumeName, _ look: Look,
        _ progress: @escaping VolumeProgressHandler
    ) async throws -> VolumeOperationResult {
        guard look.state.slot(target.slot) == nil || target.slot == name.slot else {
            throw ControlError(
                .refused, "the slot \(target.slot) is there already, with volumes of its own",
                next: "take another name; the slot of a service that does not exist yet gets it")
        }
        if let host = look.hosts(holding: target).first {
            throw ControlError(
                .refused, "host \(host) holds a volume \(target) already",
                next: "take another name with --as, or --replace what is there")
        }
        let known = try look.backups(named: name.description, backup: backup)
        let view = await backupKeeper.look()
        guard let id = backup ?? known.newest(isReachable: { view.alive.contains($0) })?.backup.id
        else { throw ControlError(.notFound, "no backup of \(name) can be reached") }
        let restored = try await backupKeeper.restoreBeside(
            known, backup: id, as: target, view, progress: progress)
        await keeper.volumes.tell(always: true)
        let record = try await keeper.volumes.store.find(target)
        return VolumeOperationResult(
            message: "restored backup \(restored.id.prefix(8)) of \(name) into \(target)",
            volume: try await keeper.volumes.details(record, look))
    }

    private func name(_ text: String) throws -> VolumeName {
        guard let name = VolumeName(text), name.snapshot == nil, !VolumeKeeper.isWork(name) else {
            throw ControlError(
                .invalid, "'\(text.prefix(100))' is no volume",
                next: "write SLOT/VOLUME such as web.3/data")
        }
        return name
    }
}

extension AgentBackend.Look {
    /// What is known of the backups of a volume: of the service there is now, else of the last.
    func backups(named text: String, backup: String? = nil) throws -> VolumeBackups {
        guard let name = VolumeName(text) else {
            throw ControlError(
                .invalid, "'\(text.prefix(100))' is no volume",
                next: "write SLOT/VOLUME such as web.3/data")
        }
        let all = state.volumeBackups.filter { known in
            known.slot == name.slot && known.name == name.volume
                && (backup.map { known.find($0) != nil } ?? true)
        }
        let owner = state.service(name.slot.service)?.createdAt
        guard let found = all.first(where: { $0.owner == owner }) ?? all.last else {
            throw ControlError(
                .notFound,
                backup.map { "\(name) has no backup \($0.prefix(64)), or several begin so" }
                    ?? "there are no backups of \(name)",
                next: "`shoal volume backups` lists all")
        }
        return found
    }

    /// The host that has the volumes of a volume's slot; nil when nobody knows one.
    func volumeHost(of volume: String) -> HostID? {
        VolumeName(volume).flatMap { state.slot($0.slot)?.volumeHost }
    }

    /// Which backup each volume of a slot comes back from.
    func sources(
        for request: RestorationRequest, _ name: VolumeName, of service: ServiceRecord
    ) throws -> [VolumeRestoration.Source] {
        guard service.spec.volumes.contains(where: { $0.name == name.volume }) else {
            throw ControlError(
                .notFound, "the sets of \(service.name) have no volume \(name.volume)")
        }
        return try service.spec.volumes.map { volume in
            let known = state.backups(of: name.slot, volume.name, owner: service.createdAt)
            if volume.name == name.volume, let wanted = request.backup {
                guard let backup = known?.find(wanted)?.backup else {
                    throw ControlError(
                        .notFound,
                        "\(name) has no backup \(wanted.prefix(64)), or several begin so",
                        next: "`shoal volume backups \(name)` lists all")
                }
                return .init(volume: volume.name, backup: backup.id)
            }
            let newest = known?.newest { id in
                members.contains { $0.id == id && $0.status == .alive }
            }
            if let newest { return .init(volume: volume.name, backup: newest.backup.id) }
            guard request.allowsEmpty, volume.name != name.volume else {
                throw ControlError(
                    .refused,
                    "\(name.slot)/\(volume.name) has no backup that can be reached",
                    next: volume.name == name.volume
                        ? "`shoal volume backups` lists all"
                        : "--others-empty lets it begin empty")
            }
            return .init(volume: volume.name, backup: "")
        }
    }

    /// A volume of this host as the keeper of backups takes it.
    func subject(_ record: VolumeRecord, to target: String?) throws -> BackupKeeper.Subject {
        let (name, owner) = (record.name, LogIndex(record.owner))
        if let target {
            let problem =
                BackupDestination(target).map(\.problem)
                ?? "'\(target.prefix(100))' is no target: write peers, peers:3, an absolute path, "
                + "s3:... or rest:..."
            if let problem { throw ControlError(.invalid, problem) }
        }
        guard owner != .zero else {
            throw ControlError(
                .refused, "\(name) belongs to no service, and backups belong to one",
                next: "apply the service whose slot it is for, or make a snapshot of it")
        }
        let spec = state.service(name.slot.service).flatMap { service in
            service.createdAt == owner
                ? service.spec.volumes.first { $0.name == name.volume } : nil
        }
        guard let to = target ?? spec?.backup?.to else {
            throw ControlError(
                .refused, "the service of \(name) does not say where its backups go",
                next: "give --to TARGET, or `backup` in its service file")
        }
        return BackupKeeper.Subject(
            name: name, owner: owner,
            backup: spec?.backup ?? BackupSpec(everySeconds: 86_400, to: to),
            volumeClass: record.volumeClass, sizeBytes: record.size,
            known: state.backups(of: name.slot, name.volume, owner: owner))
    }

    // MARK: Views

    /// The host that an operation runs on; a backup can be restored where nothing of its volume is.
    func holder(of operation: VolumeOperation) throws -> HostID {
        do {
            return try holder(of: operation.subject)
        } catch {
            guard case .restoreBackup(_, _, _, nil) = operation, error.code == .notFound else {
                throw error
            }
            return me
        }
    }

    /// The backups of the volume that a slot uses; nil when there are none and none are wanted.
    func backupsView(of volume: VolumeDetails) -> VolumeBackupsView? {
        guard volume.slot != nil, let name = VolumeName(volume.volume), name.snapshot == nil,
            let owner = state.service(name.slot.service)?.createdAt
        else { return nil }
        if let known = state.backups(of: name.slot, name.volume, owner: owner) {
            return view(of: known)
        }
        guard let spec = spec(of: name.slot, name.volume, owner: owner), spec.backup != nil else {
            return nil
        }
        return view(
            of: VolumeBackups(
                slot: name.slot, name: name.volume, owner: owner, volumeClass: spec.volumeClass,
                sizeBytes: spec.sizeBytes))
    }

    private func spec(of slot: SlotID, _ volume: String, owner: LogIndex) -> VolumeSpec? {
        guard let service = state.service(slot.service), service.createdAt == owner,
            service.slots.indices.contains(slot.ordinal)
        else { return nil }
        return service.spec.volumes.first { $0.name == volume }
    }

    func view(of known: VolumeBackups) -> VolumeBackupsView {
        let spec = spec(of: known.slot, known.name, owner: known.owner)
        let backup = spec?.backup
        let now = WallTime.now
        func age(_ time: WallTime) -> Int {
            Int(max(0, now.milliseconds - time.milliseconds) / 1_000)
        }
        func isAlive(_ host: HostID) -> Bool {
            members.contains { $0.id == host && $0.status == .alive }
        }
        let backups = known.copies.flatMap { copy in
            copy.backups.map { ($0, copy) }
        }.sorted { ($1.0.time, $0.0.id) < ($0.0.time, $1.0.id) }
        return VolumeBackupsView(
            volume: known.title, service: known.slot.service, owner: known.owner.value,
            deleted: spec == nil, sizeBytes: known.sizeBytes, everySeconds: backup?.everySeconds,
            to: backup?.to,
            backups: backups.map { record, copy in
                BackupView(
                    id: record.id, time: record.time.rfc3339, ageSeconds: age(record.time),
                    sizeBytes: record.sizeBytes, place: copy.host.map(name(of:)) ?? copy.target,
                    reachable: copy.host.map(isAlive) ?? true, pointInTime: record.isPointInTime,
                    digest: record.digest)
            },
            drill: known.drill.map {
                BackupDrillView(
                    time: $0.time.rfc3339, backup: $0.backup, ageMilliseconds: $0.ageMilliseconds,
                    durationMilliseconds: $0.durationMilliseconds,
                    problem: $0.problem.isEmpty ? nil : $0.problem)
            },
            failure: known.failure.map {
                BackupFailureView(time: $0.time.rfc3339, reason: $0.reason)
            },
            durability: durability(
                of: known, backup, newestAge: backups.first.map { age($0.0.time) }))
    }

    private func durability(
        of known: VolumeBackups, _ backup: BackupSpec?, newestAge: Int?
    ) -> DurabilityView {
        let copies = known.copies.filter { copy in
            !copy.backups.isEmpty
                && (copy.host.map { host in
                    members.contains { $0.id == host && $0.status == .alive }
                } ?? true)
        }.count
        let figure = VolumeDurability(
            copies: copies, every: backup?.everySeconds ?? VolumeDurability.undrilledSeconds,
            drill: backup?.drillSeconds, restoreOnLoss: backup?.restoreOnLossSeconds,
            restoreSeconds: known.drill.map { $0.durationMilliseconds / 1_000 }
                ?? known.sizeBytes / (20 << 20))
        return DurabilityView(
            copies: copies, diskFailuresPerYear: VolumeDurability.diskFailuresPerYear,
            repairSeconds: figure.repairSeconds, lossPerYear: figure.lossPerYear,
            nines: Double(figure.tenthsOfNines) / 10, windowSeconds: newestAge)
    }
}
