import Base
import ClusterModel
import ClusterState
import ControlAPI
import VolumePlan

/// What is told of backups.
extension AgentBackend.Look {
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
                    digest: record.digest, damaged: copy.isDamaged)
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
        let home = home(of: known)
        func title(_ copy: BackupCopy) -> String { copy.host.map(name(of:)) ?? copy.target }
        var counted: [String] = []
        var others: [String] = []
        for copy in known.copies {
            switch known.fault(of: copy, home: home.host, isReachable: isAlive) {
            case nil: counted.append(title(copy))
            case .damaged?: others.append("\(title(copy)) is damaged: its last drill failed")
            case .unreachable?: others.append("\(title(copy)) does not answer")
            case .atHome?: others.append("\(title(copy)) has the volume itself")
            case .older?: others.append("\(title(copy)) has only older ones")
            }
        }
        let figure = VolumeDurability(
            copies: counted.count, hasOwnDisk: home.hasVolume,
            every: backup?.everySeconds ?? VolumeDurability.undrilledSeconds,
            drill: backup?.drillSeconds, restoreOnLoss: backup?.restoreOnLossSeconds,
            restoreSeconds: known.drill.map { $0.durationMilliseconds / 1_000 }
                ?? known.sizeBytes / (20 << 20))
        return DurabilityView(
            copies: counted.count, copiesAt: counted.sorted(), copiesWanted: backup?.copiesWanted,
            notCounted: others.sorted(), disks: figure.disks,
            diskFailuresPerYear: VolumeDurability.diskFailuresPerYear,
            repairSeconds: figure.repairSeconds, lossPerYear: figure.lossPerYear,
            nines: Double(figure.tenthsOfNines) / 10, windowSeconds: newestAge)
    }

    /// The host whose disk the volume is on, and whether the volume is there and answers.
    private func home(of known: VolumeBackups) -> (host: HostID?, hasVolume: Bool) {
        guard state.service(known.slot.service)?.createdAt == known.owner,
            let slot = state.slot(known.slot), let host = slot.volumeHost
        else { return (nil, false) }
        let isThere = state.volumes(of: host).contains {
            $0.slot == known.slot && $0.name == known.name && $0.owner == known.owner
                && $0.trashedAt == nil && $0.snapshot == nil
        }
        return (host, isThere && slot.restoration == nil && isAlive(host))
    }

    func isAlive(_ host: HostID) -> Bool {
        members.contains { $0.id == host && $0.status == .alive }
    }
}

extension BackupSpec {
    /// How many hosts are to keep copies; nil when they go to a target.
    var copiesWanted: Int? {
        if case .peers(let count)? = destination { count } else { nil }
    }
}
