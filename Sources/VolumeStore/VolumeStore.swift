import EventLoop
import Glibc
import VolumePlan

/// The volumes of one host: made, mounted, grown, copied, put into the trash and taken out again.
///
/// Volumes are data. Every change is written to the volume's record before its first step, every
/// step is idempotent, and `recover` finishes or undoes what a crash cut off. Nothing that has no
/// record is ever removed. Operations on one volume take turns; those on different ones overlap.
///
/// The store has a thread of its own, since disks block.
package actor VolumeStore {
    /// The settings.
    package nonisolated let settings: VolumeStoreSettings
    /// The store's folder without symbolic links.
    package nonisolated var path: String { folders.path }

    let loop: EventLoop
    let folders: StoreFolders
    let lock: OpenFile
    let tools: VolumeTools
    /// All records, as they are on disk.
    var records: [VolumeID: VolumeRecord] = [:]
    /// Records that cannot be read; their volumes are left alone.
    var damaged: Set<VolumeID> = []
    var isRecovered = false
    /// The last measurements of `directory` volumes, which have no wall of their own.
    var measured: [VolumeID: VolumeUsage] = [:]
    /// What lvs(8) said while the store recovers.
    var logicalListing: [LogicalVolume]?
    /// What is watched of attached volumes.
    var watched: [VolumeID: WatchedVolume] = [:]
    /// How many errors the store's own file system had met when it was watched first.
    var errorsBelow: Int?
    /// Volumes whose content was not where it belongs when it was last looked for.
    var goneContent: Set<VolumeID> = []
    /// Volumes that are not mounted and whose file system is marked as damaged.
    var markedContent: Set<VolumeID> = []
    /// Where content lies that has no record, as `recover` found it.
    package internal(set) var unrecorded: [String] = []
    /// When the store was opened, on the clock that times are measured by.
    let opened = ContinuousClock().now
    var locks = NameLocks()

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        loop.asUnownedSerialExecutor()
    }

    /// Opens the store's folder and makes it when it is missing; `recover` must follow.
    package init(settings: VolumeStoreSettings) throws {
        let problems = settings.problems()
        guard problems.isEmpty else { throw VolumeError.badSettings(problems) }
        self.settings = settings
        loop = try EventLoop(name: "volumes")
        folders = try StoreFolders(settings: settings)
        lock = try OpenFile(
            in: folders.root, "lock", flags: O_RDWR | O_CREAT, mode: 0o600,
            attempt: "open the lock \(settings.root)/lock")
        tools = VolumeTools(commands: CommandRunner(loop: loop), lock: lock)
    }

    deinit { loop.stop() }

    // MARK: - Looking up

    /// The volume that answers to a name; of two of them, the one that replaces the other.
    func record(named name: VolumeName) -> VolumeRecord? {
        let found = records.values.filter { $0.name == name && $0.state.holdsName }
        return found.first {
            if case .replacing = $0.state { return true }
            return false
        } ?? found.min { $0.id < $1.id }
    }

    /// The volume that answers to a name; throws when there is none, or when it is busy with what
    /// only `recover` can end.
    func requireReady(_ name: VolumeName) throws(VolumeError) -> VolumeRecord {
        guard isRecovered else { throw .notRecovered }
        guard let record = record(named: name) else { throw .notFound(name) }
        return record
    }

    /// Brings a record to the disk and into memory.
    func save(_ record: VolumeRecord, essential: Bool = false) throws(VolumeError) {
        try folders.write(record, essential: essential)
        records[record.id] = record
    }

    /// Removes a record from disk and memory.
    func forget(_ id: VolumeID) throws(VolumeError) {
        try folders.remove(id)
        records[id] = nil
    }

    /// A new identity that no record and no file has.
    func newID() -> VolumeID {
        var random = SystemRandomNumberGenerator()
        while true {
            let id = VolumeID(random: random.next())
            if records[id] == nil, !damaged.contains(id) { return id }
        }
    }

    /// Tells a test what comes next.
    func checkpoint(_ name: String) { settings.checkpoint?(name) }

    // MARK: - Taking turns

    /// Runs the body while no other operation works on any of these volumes.
    func alone<Value>(
        with names: VolumeName..., body: () async throws -> sending Value
    ) async throws -> sending Value {
        guard isRecovered else { throw VolumeError.notRecovered }
        // In order, so that two operations never wait for each other.
        let bases = Set(names.map(\.base)).sorted()
        for base in bases where !locks.take(base) {
            await withCheckedContinuation { locks.wait(for: base, $0) }
        }
        defer { for base in bases { locks.release(base) } }
        return try await body()
    }
}
