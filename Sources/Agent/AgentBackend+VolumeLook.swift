import Base
import ClusterModel
import ClusterState
import ControlAPI
import VolumePlan

/// What this host's copy of the cluster's state says of volumes.
extension AgentBackend.Look {
    /// A volume as listings show it.
    func view(of volume: VolumeReport, on host: HostID) -> VolumeView {
        let isLost = state.host(host)?.status != .active
        return VolumeView(
            volume: volume.title, id: volume.id, service: volume.slot.service,
            host: name(of: host), class: volume.volumeClass.rawValue,
            sizeBytes: volume.sizeBytes, usedBytes: volume.usedBytes,
            state: volume.trashedAt != nil ? "trash" : isLost ? "lost" : state(of: volume),
            trashedAt: volume.trashedAt,
            problem: volume.condition.problem(of: volume.title))
    }

    private func state(of volume: VolumeReport) -> String {
        volume.condition.trouble?.rawValue ?? (volume.condition.isHeld ? "read-only" : "ready")
    }

    /// What is wrong with the volumes of slots on the hosts they run on, one sentence each.
    func volumeProblems() -> [SlotID: [String]] {
        var problems: [SlotID: [String]] = [:]
        for told in state.hostVolumes {
            for volume in told.volumes where !volume.condition.isWell {
                guard volume.trashedAt == nil, volume.snapshot == nil,
                    state.slot(volume.slot)?.volumeHost == told.host,
                    let problem = volume.condition.problem(of: volume.title)
                else { continue }
                problems[volume.slot, default: []].append("volume \(volume.name): \(problem)")
            }
        }
        return problems
    }

    /// All volumes of the cluster that satisfy a condition, with their hosts.
    private func volumes(
        where isWanted: (VolumeReport) -> Bool
    ) -> [(host: HostID, volume: VolumeReport)] {
        state.hostVolumes.flatMap { told in
            told.volumes.filter(isWanted).map { (told.host, $0) }
        }
    }

    /// Everything that answers to an operation's subject.
    private func found(
        _ subject: VolumeOperation.Subject
    ) throws(ControlError) -> [(host: HostID, volume: VolumeReport)] {
        switch subject {
        case .name(let text):
            guard VolumeName(text) != nil else {
                throw ControlError(
                    .invalid, "'\(text.prefix(100))' is no volume",
                    next: "write SLOT/VOLUME such as web.3/data, or web.3/data@LABEL for a snapshot"
                )
            }
            return volumes { $0.title == text && $0.trashedAt == nil }
        case .host: return []
        case .slot: return []
        case .identity(let text):
            guard VolumeID(text) != nil else {
                throw ControlError(
                    .invalid, "'\(text.prefix(100))' is no volume's identity",
                    next: "it has sixteen hexadecimal digits; `shoal volumes` shows it")
            }
            return volumes { $0.id == text }
        }
    }

    /// The host that an operation on this subject runs on: the one that holds it.
    ///
    /// Of several, the one whose copy its slot uses; it refuses where nobody can tell which is meant.
    func holder(of subject: VolumeOperation.Subject) throws(ControlError) -> HostID {
        if case .host(let name) = subject { return try state.host(called: name).id }
        if case .slot(let text) = subject { return try holder(ofSlot: text) }
        let found = try found(subject)
        guard let first = found.first else {
            guard case .name(let text) = subject, let name = VolumeName(text) else {
                throw ControlError(
                    .notFound, "no host holds a volume of this identity",
                    next: "`shoal volumes` lists all, those in the trash too")
            }
            // One that was made a moment ago may not have been told yet.
            if let record = state.slot(name.slot), name.snapshot == nil,
                let host = record.volumeHost ?? record.placement?.host
            {
                return host
            }
            throw ControlError(
                .notFound, "there is no volume \(name)", next: "`shoal volumes` lists them")
        }
        let hosts = found.map(\.host)
        guard hosts.contains(where: { $0 != first.host }) else { return first.host }
        if let used = state.slot(first.volume.slot)?.volumeHost, hosts.contains(used) {
            return used
        }
        let names = hosts.map(name).joined(separator: " and ")
        throw ControlError(
            .refused, "\(names) each hold a volume \(first.volume.title), and no slot uses one",
            next: "ask for the one you mean by its identity, which `shoal volumes` shows")
    }

    /// The host that holds the volumes of `web.3`, or of the slot of `web.3/data`.
    private func holder(ofSlot text: String) throws(ControlError) -> HostID {
        guard let slot = SlotID(String(text.prefix { $0 != "/" })) else {
            throw ControlError(
                .invalid, "'\(text.prefix(100))' is no slot", next: "write SLOT such as web.3")
        }
        guard let record = state.slot(slot) else {
            throw ControlError(
                .notFound, "there is no set \(slot)", next: "`shoal sets` lists them")
        }
        guard let holder = record.volumeHost else {
            throw ControlError(
                .invalid, "\(slot) has no volumes: nothing holds it to a host, or moves with it")
        }
        return holder
    }

    /// What the log says of a volume whose host does not answer.
    func lastKnown(_ subject: VolumeOperation.Subject) -> VolumeOperationResult? {
        guard let found = try? found(subject), let host = try? holder(of: subject),
            let volume = found.first(where: { $0.host == host })?.volume,
            let name = VolumeName(slot: volume.slot, volume: volume.name)
        else { return nil }
        let isTrashed = volume.trashedAt != nil
        let details = VolumeDetails(
            volume: volume.title, id: volume.id, host: self.name(of: host),
            state: isTrashed ? "trash" : "lost", class: volume.volumeClass.rawValue,
            sizeBytes: volume.sizeBytes, usedBytes: volume.usedBytes,
            problem: volume.condition.problem(of: volume.title),
            slot: slot(using: name, owner: volume.owner)?.description,
            trashedAt: volume.trashedAt, snapshots: snapshots(of: name, on: host),
            trash: trash(of: name, on: host))
        return VolumeOperationResult(
            message: "host \(self.name(of: host)) does not answer: as it last told",
            volume: details)
    }

    /// True when this copy shows a volume as an operation left it.
    func shows(_ volume: VolumeDetails) -> Bool {
        let found = volumes { $0.id == volume.id }.map(\.volume)
        guard volume.state != "removed" else { return found.isEmpty }
        guard volume.state != "lost" else { return true }
        return found.contains {
            $0.title == volume.volume && $0.trashedAt == volume.trashedAt
                && $0.sizeBytes == volume.sizeBytes
        }
    }

    /// The slot that a volume made for `owner` belongs to; nil when no slot wants it.
    func slot(using name: VolumeName, owner: LogIndex) -> SlotID? {
        guard owner != .zero, name.snapshot == nil, let record = state.slot(name.slot),
            let service = state.service(name.slot.service), service.createdAt == owner
        else { return nil }
        let placed = record.placement.flatMap { service.spec(revision: $0.revision) }
        let isWanted = [service.spec, placed].contains { spec in
            spec?.volumes.contains { $0.name == name.volume } ?? false
        }
        return isWanted ? name.slot : nil
    }

    /// The names of the hosts that hold a volume of this name, other than in their trash.
    func hosts(holding name: VolumeName) -> [String] {
        let title = name.description
        return volumes { $0.title == title && $0.trashedAt == nil }.map { self.name(of: $0.host) }
    }

    /// The snapshots of a volume on its host, by label.
    func snapshots(of name: VolumeName, on host: HostID) -> [VolumeView] {
        state.volumes(of: host).filter {
            $0.slot == name.slot && $0.name == name.volume && $0.snapshot != nil
                && $0.trashedAt == nil
        }.sorted { $0.title < $1.title }.map { view(of: $0, on: host) }
    }

    /// What lies in a host's trash under a volume's name, the oldest first.
    func trash(of name: VolumeName, on host: HostID) -> [VolumeView] {
        state.volumes(of: host).filter {
            $0.slot == name.slot && $0.name == name.volume && $0.trashedAt != nil
        }.sorted { ($0.trashedAt ?? 0, $0.id) < ($1.trashedAt ?? 0, $1.id) }
            .map { view(of: $0, on: host) }
    }
}
