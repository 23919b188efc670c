import Base
import ClusterModel
import ClusterState
import HostPlan
import VolumePlan
import VolumeStore

/// This host's volumes for its sets: made when a set first needs them, mounted while it is here, put
/// into the trash when the cluster says that no slot wants them any more.
///
/// What it holds is told to the brain whenever it changed, and from there to the cluster.
actor VolumeKeeper {
    let store: VolumeStore
    let log: AgentLog
    /// What this host can promise to volumes, as it was told last; see VolumeKeeper+Room.swift.
    var toldRoom = ToldRoom()
    private let offer: @Sendable (VolumeOffer) -> Void
    private let notify: @Sendable (HostNotice) -> Void
    private let report: @Sendable ([VolumeReport]) -> Void
    private var told: [VolumeReport]?
    /// Bytes in use by volume, as they were told last: small changes are not worth a log entry.
    private var used: [String: Int] = [:]
    /// Why the volumes could not be watched, and measured, last; empty when they could.
    private var trouble = ""
    private var listTrouble = ""

    /// How often volumes are looked at.
    private static let watchInterval = Duration.seconds(1)
    /// Looks between two measurements of what is in use, and two rounds through the trash.
    private static let slowEvery = 30
    /// Looks between two measurements of what can be promised: as often as the machine is read.
    private static let roomEvery = 10
    /// The most places without a record that are named one by one.
    private static let unrecordedMax = 32

    init(
        folder: String, thinPool: ThinPool?, trashSeconds: Int, spaceBytes: Int?,
        log: AgentLog, offer: @escaping @Sendable (VolumeOffer) -> Void,
        notify: @escaping @Sendable (HostNotice) -> Void,
        report: @escaping @Sendable ([VolumeReport]) -> Void
    ) throws {
        store = try VolumeStore(
            settings: VolumeStoreSettings(
                root: folder, thinPool: thinPool, trashSeconds: trashSeconds,
                capacityBytes: spaceBytes))
        self.log = log
        self.offer = offer
        self.notify = notify
        self.report = report
    }

    /// Repairs what an earlier start left, and tells what is here.
    func start() async throws {
        for sentence in try await store.recover() { log.warning("volumes: \(sentence)") }
        do { try await removeWork() } catch {
            log.error("could not remove what a backup or restore left: \(error)")
        }
        await tellUnrecorded()
        // What is wrong still is no news: the first word on the volumes has it already.
        _ = await look()
        await tell()
    }

    /// Tells the cluster what lies here that no record tells of.
    private func tellUnrecorded() async {
        let places = await store.unrecorded
        for place in places.prefix(VolumeKeeper.unrecordedMax) { notify(.unrecorded(place)) }
        let more = places.count - VolumeKeeper.unrecordedMax
        if more > 0 { notify(.unrecorded("\(more) more such files or logical volumes")) }
    }

    // MARK: For sets

    /// Makes, mounts and returns a set's volumes; idempotent.
    ///
    /// A volume that is in the trash and was made for the same service comes back out of it.
    func attach(_ spec: ServiceSpec, of slot: SlotID, owner: LogIndex) async throws
        -> [RuntimeBundle.VolumeMount]
    {
        var mounts: [RuntimeBundle.VolumeMount] = []
        for volume in spec.volumes {
            let name = try name(volume.name, of: slot)
            let record = try await have(name, volume, owner: owner.value)
            if record.size < volume.sizeBytes {
                try await store.grow(name, to: volume.sizeBytes)
            }
            let attached = try await store.attach(
                name,
                options: VolumeMountOptions(
                    isReadOnly: volume.readOnly, forbidsPrograms: volume.noExec))
            mounts.append(
                .init(
                    source: attached.path, destination: volume.mount, isReadOnly: volume.readOnly,
                    forbidsPrograms: volume.noExec))
        }
        if !spec.volumes.isEmpty { await tell() }
        return mounts
    }

    private func have(
        _ name: VolumeName, _ volume: VolumeSpec, owner: UInt64
    ) async throws -> VolumeRecord {
        if let known = try await find(name) {
            if known.owner == owner || known.owner == 0 {
                guard known.volumeClass == volume.volumeClass else {
                    throw AgentError(
                        "the volume \(name) is of class \(known.volumeClass.rawValue) and the "
                            + "service wants \(volume.volumeClass.rawValue): a volume keeps its "
                            + "class; give the new one another name")
                }
                guard volume.fileSystem.map({ $0.rawValue == known.fileSystem.rawValue }) ?? true
                else {
                    throw AgentError(
                        "the volume \(name) has the file system \(known.fileSystem.rawValue) and "
                            + "keeps it; give the new one another name")
                }
                guard known.owner == 0 else { return known }
                log.info("\(name) belonged to nobody: it is this service's now")
                return try await store.adopt(name, owner: owner)
            }
            log.info("\(name) belonged to an earlier service of that name: into the trash")
            try await store.delete(name)
        }
        if let trashed = try await newestInTrash(name, owner: owner) {
            log.info("taking \(name) out of the trash")
            return try await store.restore(trashed.id)
        }
        try await waitForArrival(name, owner: owner)
        if let arrived = try await find(name) { return arrived }
        let damaged = await store.damagedRecords
        guard damaged.isEmpty else {
            throw AgentError(
                "will not make \(name) while the records of volumes \(damaged) cannot be read: "
                    + "one of them may be it; see this host's log")
        }
        return try await store.create(
            VolumeRequest(
                name: name, volumeClass: volume.volumeClass, size: volume.sizeBytes,
                fileSystem: volume.fileSystem.flatMap { FileSystemKind(rawValue: $0.rawValue) },
                owner: owner))
    }

    /// Waits until a copy that has come from another host is the slot's volume.
    ///
    /// An empty one in its place would hide it.
    private func waitForArrival(_ name: VolumeName, owner: UInt64) async throws {
        for _ in 0..<50 {
            let copies = try await store.receivedCopies()
            guard copies.contains(where: { $0.name == name && $0.owner == owner }) else { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw AgentError("the copy of \(name) that came from another host is not ready yet")
    }

    func find(_ name: VolumeName) async throws -> VolumeRecord? {
        do {
            return try await store.find(name)
        } catch VolumeError.notFound {
            return nil
        }
    }

    private func newestInTrash(_ name: VolumeName, owner: UInt64) async throws -> VolumeRecord? {
        func time(_ record: VolumeRecord) -> Int {
            if case .trashed(let at, .deleted) = record.state { return at }
            return -1
        }
        return try await store.list().map(\.record)
            .filter { $0.name == name && $0.owner == owner && time($0) >= 0 }
            .max { time($0) < time($1) }
    }

    /// Gives running sets larger volumes; true when one has grown.
    @discardableResult
    func grow(_ volumes: [VolumeSpec], of slot: SlotID) async throws -> Bool {
        let lacking = try await lacking(volumes, of: slot)
        do {
            for volume in lacking {
                try await store.grow(try name(volume.name, of: slot), to: volume.sizeBytes)
            }
        } catch {
            await tell()
            throw error
        }
        if !lacking.isEmpty { await tell() }
        return !lacking.isEmpty
    }

    /// Throws why one of these volumes cannot grow, as far as that is known beforehand.
    func checkGrowth(_ volumes: [VolumeSpec], of slot: SlotID) async throws {
        for volume in try await lacking(volumes, of: slot) {
            try await store.checkGrowth(try name(volume.name, of: slot), to: volume.sizeBytes)
        }
    }

    /// Those that are smaller than their spec says.
    private func lacking(_ volumes: [VolumeSpec], of slot: SlotID) async throws -> [VolumeSpec] {
        var lacking: [VolumeSpec] = []
        for volume in volumes {
            let record = try await find(try name(volume.name, of: slot))
            if let record, record.size < volume.sizeBytes { lacking.append(volume) }
        }
        return lacking
    }

    /// Where those of a set's volumes are mounted that have a device of their own.
    func deviceFolders(_ spec: ServiceSpec, of slot: SlotID) async throws -> [String] {
        let names = spec.volumes.filter { $0.volumeClass != .directory }.map(\.name)
        guard !names.isEmpty else { return [] }
        return try await store.list(measuring: false).compactMap { status in
            let name = status.record.name
            guard name.slot == slot, name.snapshot == nil, names.contains(name.volume) else {
                return nil
            }
            return status.path
        }
    }

    /// Unmounts what a set had; its containers have ended.
    func detach(_ spec: ServiceSpec, of slot: SlotID) async throws {
        for volume in spec.volumes {
            let name = try name(volume.name, of: slot)
            if try await find(name) != nil { try await store.detach(name) }
        }
    }

    /// Unmounts what sets left that are not here any more: the agent crashed while it ended them.
    func detachRemains(sparing isNeeded: (SlotID) -> Bool) async throws {
        for status in try await store.list()
        where status.path != nil && !isNeeded(status.record.name.slot) {
            log.info("unmounting \(status.record.name), whose set is gone")
            try await store.detach(status.record.name)
        }
    }

    private func name(_ volume: String, of slot: SlotID) throws -> VolumeName {
        guard let name = VolumeName(slot: slot, volume: volume) else {
            throw AgentError("\(slot)/\(volume) is no name for a volume")
        }
        return name
    }

    // MARK: For the cluster

    /// Puts volumes into the trash that no slot wants any more.
    func trash(_ volumes: [VolumeReport], reason: String) async {
        for volume in volumes {
            guard let name = VolumeName(slot: volume.slot, volume: volume.name) else { continue }
            do {
                guard let known = try await find(name), known.id.description == volume.id else {
                    continue
                }
                try await store.delete(name, disowning: volume.owner == .zero)
                log.info("\(name) is in the trash now: \(reason)")
            } catch {
                log.error("could not put \(name) into the trash: \(error)")
            }
        }
        await tell(always: true)
    }

    /// Watches volumes until it is cancelled: soft limits, the trash, what is in use.
    func run() async {
        var round = 0
        while (try? await Task.sleep(for: VolumeKeeper.watchInterval)) != nil {
            round += 1
            if await look() { await tell() }
            if round % VolumeKeeper.roomEvery == 0 { await tellRoom() }
            guard round % VolumeKeeper.slowEvery == 0 else { continue }
            await emptyTrash()
            await tell()
        }
    }

    /// Looks at every volume in use; true when something is new.
    private func look() async -> Bool {
        do {
            let events = try await store.watch()
            for event in events { log.warning("\(event)") }
            trouble = ""
            return !events.isEmpty
        } catch {
            // Once, not every second.
            if trouble != "\(error)" { log.error("could not watch the volumes: \(error)") }
            trouble = "\(error)"
            return false
        }
    }

    /// All volumes; without what they take of a thin pool that does not answer.
    func statuses() async throws -> [VolumeStatus] {
        do {
            let statuses = try await store.list()
            listTrouble = ""
            return statuses
        } catch {
            let statuses = try await store.list(measuring: false)
            if listTrouble != "\(error)" { log.error("could not measure the volumes: \(error)") }
            listTrouble = "\(error)"
            return statuses
        }
    }

    /// Removes what was in the trash for as long as it is kept.
    private func emptyTrash() async {
        do {
            for gone in try await store.purgeExpired() {
                log.info("removed \(gone.name) from the trash for good: its time was up")
            }
        } catch {
            log.error("could not empty the trash of volumes: \(error)")
        }
    }

    /// Tells what is here, if it changed.
    func tell(always: Bool = false) async {
        do {
            let reports = try await reports()
            guard always || reports != told else { return }
            told = reports
            report(reports)
        } catch {
            log.error("could not list the volumes: \(error)")
        }
        await tellRoom()
    }

    /// Hands an offer to the brain.
    func tell(_ offer: VolumeOffer) { self.offer(offer) }

    private func reports() async throws -> [VolumeReport] {
        try await statuses().compactMap { status in
            let record = status.record
            var trashedAt: Int?
            if case .trashed(let at, _) = record.state { trashedAt = at }
            // What is made for backups is gone before it would be worth telling.
            guard VolumeKeeper.isReported(record), !VolumeKeeper.isWork(record.name) else {
                return nil
            }
            return VolumeReport(
                slot: record.name.slot, name: record.name.volume,
                snapshot: record.name.snapshot, id: record.id.description,
                volumeClass: record.volumeClass, sizeBytes: record.size,
                usedBytes: steady(status.allocated, of: record), trashedAt: trashedAt,
                owner: LogIndex(record.owner), condition: status.condition)
        }.sorted { $0.id < $1.id }
    }

    /// What was told before, unless it changed by a twentieth of the volume.
    private func steady(_ bytes: Int?, of record: VolumeRecord) -> Int {
        let id = record.id.description
        guard let bytes else { return used[id] ?? 0 }
        if let known = used[id], abs(known - bytes) < max(1 << 20, record.size / 20) {
            return known
        }
        used[id] = bytes
        return bytes
    }
}
