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
        if request.replaces { try await requireThere(order, of: service, name.slot) }
        let index = try await write(
            .restoreVolumes(name.slot, order, replaces: request.replaces))
        return RestorationView(
            slot: name.slot.description, host: look.name(of: host), index: index.value,
            summary: order.summary)
    }

    /// Throws when a backup that is to replace a volume is not there: what runs now ends for it.
    ///
    /// Only the host that restores can know that of a folder; another one only asks peers.
    private func requireThere(
        _ order: VolumeRestoration, of service: ServiceRecord, _ slot: SlotID
    ) async throws {
        let look = await backupKeeper.look()
        for source in order.sources where !source.backup.isEmpty {
            guard
                let known = look.state.backups(
                    of: slot, source.volume, owner: service.createdAt),
                let copy = known.find(source.backup)?.copy,
                copy.host != nil || look.me == order.host
            else { continue }
            if copy.isDamaged {
                throw ControlError(
                    .refused,
                    "backup \(source.backup.prefix(8)) of \(known.title) is damaged: the last drill "
                        + "of its repository failed; nothing was changed",
                    next: "`shoal volume backups \(known.title)` lists all")
            }
            if let obstacle = await backupKeeper.obstacle(to: source.backup, of: known, look) {
                throw ControlError(
                    .refused,
                    "backup \(source.backup.prefix(8)) of \(known.title) cannot be restored now, and "
                        + "nothing was changed: \(obstacle)",
                    next: "`shoal volume backups \(known.title)` lists all")
            }
        }
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
                + (problem.map { "; but \($0)" } ?? "")
                + (shortage(made.count, wanted: subject.backup, to: target).map { "; \($0)" } ?? ""),
            volume: try await keeper.volumes.details(record, look))
    }

    /// Says that fewer hosts keep a backup than should; nil when it is as wanted.
    private func shortage(_ made: Int, wanted: BackupSpec, to target: String?) -> String? {
        guard case .peers(let count)? = BackupDestination(target ?? wanted.to), made < count else {
            return nil
        }
        return "these are \(made) of the \(count) copies that are wanted: no more hosts take one"
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
                    throw noBackup(wanted, of: name, now: service)
                }
                return .init(volume: volume.name, backup: backup.id)
            }
            let newest = known?.newest(isReachable: isAlive)
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

    /// Why a backup cannot come back in a volume's place: there is none, or it is another service's.
    private func noBackup(
        _ wanted: String, of name: VolumeName, now service: ServiceRecord
    ) -> ControlError {
        let isEarlier = state.volumeBackups.contains { known in
            known.slot == name.slot && known.name == name.volume
                && known.owner != service.createdAt && known.find(wanted) != nil
        }
        guard isEarlier else {
            return ControlError(
                .notFound, "\(name) has no backup \(wanted.prefix(64)), or several begin so",
                next: "`shoal volume backups \(name)` lists all")
        }
        return ControlError(
            .refused,
            "backup \(wanted.prefix(8)) is of an earlier service \(service.name), which was deleted; "
                + "it does not go in the place of this one's volume",
            next: "`shoal volume restore \(name) --backup \(wanted.prefix(8)) --as NEW.0/"
                + "\(name.volume)` brings it back beside it")
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
}
