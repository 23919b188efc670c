import Base
import ClusterModel

/// The backups of volumes, and bringing a slot's volumes back from them.
extension ReplicatedState {
    /// What is known of a volume's backups; nil when it has none.
    package func backups(
        of slot: SlotID, _ name: String, owner: LogIndex
    ) -> VolumeBackups? {
        let key = VolumeBackups.Key(slot: slot, name: name, owner: owner)
        return volumeBackups.position(of: key) { $0.key }.map { volumeBackups[$0] }
    }

    /// Takes in what the host of a volume says of its backups: all of them.
    mutating func report(
        _ backups: VolumeBackups, of id: HostID, _ change: inout Change
    ) throws(CommandRefusal) {
        guard let host = host(id) else {
            throw CommandRefusal(.hostUnknown, "host \(id.short) is not registered")
        }
        if let problem = backups.problem {
            throw CommandRefusal(.invalid, "backups of \(backups.title.bounded): \(problem)")
        }
        if let position = volumeBackups.position(of: backups.key, by: { $0.key }) {
            note(volumeBackups[position], backups, by: host.name, &change)
            volumeBackups[position] = backups
            return
        }
        guard volumeBackups.count < Limits.volumesBackedUp else {
            throw CommandRefusal(
                .tooMany,
                "backups of \(Limits.volumesBackedUp) volumes are known already; forget those of "
                    + "deleted services with `shoal volume forget-backups`")
        }
        note(nil, backups, by: host.name, &change)
        let place = volumeBackups.lowerBound(of: backups.key) { $0.key }
        volumeBackups.insert(backups, at: place)
    }

    /// Events for what is new in a volume's backups.
    private func note(
        _ before: VolumeBackups?, _ after: VolumeBackups, by host: String, _ change: inout Change
    ) {
        for copy in after.copies {
            let known = before?.copies.first { $0.target == copy.target && $0.host == copy.host }
            guard let newest = copy.backups.last, newest.id != known?.backups.last?.id else {
                continue
            }
            let place = copy.host.map { self.host($0)?.name ?? $0.short } ?? copy.target
            change.note(
                .volumeBackedUp, after.title,
                "backup \(newest.id.prefix(8)) to \(place), "
                    + Quantity.display(bytes: newest.sizeBytes)
                    + (newest.isPointInTime ? "" : ", not of one moment: it was written to"))
        }
        if let failure = after.failure, failure != before?.failure {
            change.note(.backupFailed, after.title, "\(host): \(failure.reason)")
        }
        if let drill = after.drill, drill != before?.drill {
            let what =
                drill.problem.isEmpty
                ? "restored and verified in \(drill.durationMilliseconds) ms"
                : "FAILED: \(drill.problem)"
            change.note(
                .backupDrilled, after.title, "drill with backup \(drill.backup.prefix(8)): \(what)")
        }
    }

    /// Forgets a volume's backups; the repositories themselves are left alone.
    mutating func forgetBackups(
        of slot: SlotID, _ name: String, owner: LogIndex, _ change: inout Change
    ) throws(CommandRefusal) {
        let key = VolumeBackups.Key(slot: slot, name: name, owner: owner)
        guard let position = volumeBackups.position(of: key, by: { $0.key }) else {
            throw CommandRefusal(.invalid, "no backups of \(slot)/\(name.bounded) are known")
        }
        if let service = service(slot.service), service.createdAt == owner,
            service.slots.indices.contains(slot.ordinal)
        {
            throw CommandRefusal(
                .invalid,
                "\(slot)/\(name) is in use; only backups of what was deleted can be forgotten")
        }
        let count = volumeBackups[position].copies.reduce(0) { $0 + $1.backups.count }
        volumeBackups.remove(at: position)
        change.note(.volumeBackedUp, "\(slot)/\(name)", "\(count) backups forgotten")
    }

    // MARK: - Restoring

    /// Gives a slot to a host that restores its volumes first.
    ///
    /// From here on the slot is the new host's, whatever the old one holds: when that returns, its
    /// copies get the verdict `stop` and go into its trash. Refused while the old host is alive with
    /// the volumes, unless `replaces`.
    mutating func restore(
        _ id: SlotID, _ wanted: VolumeRestoration, replaces: Bool, _ change: inout Change
    ) throws(CommandRefusal) {
        guard let service = service(id.service) else { throw unknown(service: id.service) }
        guard service.slots.indices.contains(id.ordinal) else {
            throw CommandRefusal(
                .invalid, "service \(id.service) has only \(service.slots.count) sets")
        }
        let record = service.slots[id.ordinal]
        let host = try hostToRestore(on: wanted.host, record, of: service)
        try checkSources(wanted, id, of: service)
        if !replaces, let holder = liveHolder(of: record, owner: service.createdAt) {
            throw CommandRefusal(
                .invalid,
                "\(id) has its volumes on host \(holder), which is alive; --replace puts them into "
                    + "the trash there")
        }
        dropMove(of: id, &change)
        setPlacement(nil, of: id, demand: Resources(), at: change.index)
        var restoration = wanted
        restoration.index = change.index
        restoration.problem = ""
        update(id) {
            $0.volumeHost = wanted.host
            $0.restoration = restoration
            $0.pendingReason = restoration.reason(on: host).bounded
        }
        change.note(
            .volumeRestoring, id.description,
            "\(host) restores \(restoration.summary) and gets the set")
    }

    private func hostToRestore(
        on id: HostID, _ record: SlotRecord, of service: ServiceRecord
    ) throws(CommandRefusal) -> String {
        guard let host = host(id) else {
            throw CommandRefusal(
                .hostUnknown,
                "no host \(id.short) is registered; `shoal hosts` lists the known ones")
        }
        var free = host.free
        if record.placement?.host == id { free = free + record.demand }
        let apart = servicesApart(from: service.name)
        // What is restored takes room as a new volume does; what is on the host already is its own.
        let ledger = VolumeLedger(volumes(of: id))
        var need = VolumeNeed(service.spec.volumes)
        if record.volumeHost == id {
            need.room = ledger.growth(
                of: record.slot, to: service.spec.volumes, owner: service.createdAt)
        }
        let promised =
            hostPosition(id).map { volumesPromised(on: $0, ledger, without: record.slot) }
            ?? VolumeRoom()
        let obstacle = host.obstacle(
            to: service.spec, demand: service.spec.demand, free: free, apart: apart,
            volumes: need, promised: promised)
        if let obstacle {
            throw CommandRefusal(
                .noRoom, "\(record.slot) cannot go to host \(host.name): it \(obstacle.phrase)")
        }
        return host.name
    }

    private func checkSources(
        _ wanted: VolumeRestoration, _ id: SlotID, of service: ServiceRecord
    ) throws(CommandRefusal) {
        let names = service.spec.volumes.map(\.name)
        guard wanted.sources.map(\.volume) == names, !names.isEmpty else {
            throw CommandRefusal(
                .invalid,
                "\(id) has the volumes \(names.joined(separator: ", ")); all of them are restored "
                    + "together")
        }
        for source in wanted.sources where !source.backup.isEmpty {
            let known = backups(of: id, source.volume, owner: service.createdAt)
            guard known?.find(source.backup) != nil else {
                throw CommandRefusal(
                    .invalid,
                    "\(id)/\(source.volume) has no backup '\(source.backup.bounded)'; "
                        + "`shoal volume backups` lists them")
            }
        }
    }

    /// The name of the active host that has the slot's volumes in use; nil when there is none.
    private func liveHolder(of record: SlotRecord, owner: LogIndex) -> String? {
        guard let holder = record.volumeHost, let host = host(holder), host.status == .active,
            record.restoration == nil
        else { return nil }
        let isPlaced = record.placement?.host == holder
        let hasThem = volumes(of: holder).contains {
            $0.slot == record.slot && $0.owner == owner && $0.trashedAt == nil
        }
        return isPlaced || hasThem ? host.name : nil
    }

    /// Takes in how a restoration goes: an empty problem says that it is done.
    mutating func restorationReported(
        _ id: SlotID, index: LogIndex, by reporter: HostID, problem: String,
        _ change: inout Change
    ) throws(CommandRefusal) {
        guard let restoration = slot(id)?.restoration, restoration.index == index,
            restoration.host == reporter
        else {
            throw CommandRefusal(.invalid, "\(id) is not being restored by that order any more")
        }
        guard problem != restoration.problem || problem.isEmpty else { return }
        let name = host(reporter)?.name ?? reporter.short
        guard problem.isEmpty else {
            update(id) {
                $0.restoration?.problem = problem.bounded
                $0.pendingReason = ($0.restoration?.reason(on: name) ?? "").bounded
            }
            return change.note(.volumeRestoring, id.description, "not yet restored: \(problem)")
        }
        update(id) {
            $0.restoration = nil
            $0.pendingReason = ""
            $0.changedAt = change.index
        }
        change.note(
            .volumeRestored, id.description, "\(name) restored \(restoration.summary)")
    }
}

extension VolumeRestoration {
    /// The backups in a few words.
    package var summary: String {
        sources.map { source in
            source.backup.isEmpty
                ? "\(source.volume) (empty)"
                : "\(source.volume) from backup \(source.backup.prefix(8))"
        }.joined(separator: ", ")
    }

    /// Why the slot waits.
    package func reason(on host: String) -> String {
        "waits until host \(host) has restored \(summary)"
            + (problem.isEmpty
                ? ""
                : " (it tries again; `shoal volume restore` with --backup takes another one): "
                    + problem)
    }
}
