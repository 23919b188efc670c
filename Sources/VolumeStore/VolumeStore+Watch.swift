import CLinux
import ClusterModel
import Glibc
import VolumePlan

/// Something about a volume that its owner should know.
package enum VolumeEvent: Hashable, Sendable, CustomStringConvertible {
    /// It is fuller than before: at least 80, 95 or 100 %.
    case filling(VolumeName, VolumeUsage, FillLevel)
    /// It is at capacity, and nobody may write to it any more.
    case readOnly(VolumeName, VolumeUsage)
    /// It is at capacity, but these programs hold files open for writing, which keeps it writable.
    case stillWritten(VolumeName, VolumeUsage, [FileUser])
    /// It may be written to again.
    case writable(VolumeName, VolumeUsage)
    /// Its file system met an error of the disk below it.
    case failing(VolumeName, cause: String)

    package var description: String {
        switch self {
        case .filling(let name, let usage, let level):
            "the volume \(name) is \(level.percent) % full: \(VolumeEvent.text(usage)); "
                + "grow it, or remove files"
        case .readOnly(let name, let usage):
            "the volume \(name) is full (\(VolumeEvent.text(usage))) and read-only now; grow it, "
                + "or allow a clean-up"
        case .stillWritten(let name, let usage, let users):
            "the volume \(name) is full (\(VolumeEvent.text(usage))), but cannot turn read-only "
                + "while files in it are open for writing by "
                + users.map(\.description).joined(separator: ", ")
        case .writable(let name, let usage):
            "the volume \(name) is writable again: \(VolumeEvent.text(usage))"
        case .failing(let name, let cause):
            "the disk under the volume \(name) fails: \(cause); \(VolumeEvent.failureAdvice)"
        }
    }

    /// What to do about a failing disk.
    static let failureAdvice =
        "what was not synchronized may be lost: look into the kernel's log, stop what uses the "
        + "volume, and start it again when the disk is right, which checks the volume"

    private static func text(_ usage: VolumeUsage) -> String {
        "\(Quantity.display(bytes: usage.used)) of \(Quantity.display(bytes: usage.capacity))"
    }
}

/// What the store remembers of an attached volume between two looks at it.
struct WatchedVolume: Sendable {
    var level = FillLevel.normal
    /// The level that the cluster is told.
    var steady = SteadyLevel()
    /// True while it is read-only because it is full.
    var isHeld = false
    /// When a measurement that costs something is due again.
    var due: ContinuousClock.Instant?
    /// When it may be made already, should the disk have filled meanwhile.
    var dueEarly: ContinuousClock.Instant?
    /// Free bytes of the disk when it was measured last.
    var freeThen = 0
    /// Until when it stays writable for a clean-up, although it is full.
    var cleanUpEnd: ContinuousClock.Instant?
    /// Who kept it writable last time, so that it is told once.
    var lastWriters: [FileUser] = []
    /// How its disk fails, so that it is told once; empty while it works.
    var failure = ""
}

extension VolumeStore {
    /// Looks at every attached volume; returns what is new since the last look.
    ///
    /// To be called every second. A full volume without a wall of its own turns read-only during
    /// the call that notices it. Where all files must be looked at to know, that is done as often
    /// as it costs little: at most a tenth of the time, and never more than every second.
    package func watch() async throws -> [VolumeEvent] {
        guard isRecovered else { throw VolumeError.notRecovered }
        var events: [VolumeEvent] = []
        let table = try mountTable()
        let below = try storeFailure(table)
        for record in records.values.sorted(by: { $0.id < $1.id }) {
            guard record.state == .ready, record.name.snapshot == nil,
                let entry = table.mount(at: mountPath(record))
            else {
                // What failed is not well for being unmounted; the next mount shows.
                let failure = watched[record.id]?.failure ?? ""
                watched[record.id] = failure.isEmpty ? nil : WatchedVolume(failure: failure)
                continue
            }
            // Whoever works on it will measure it, too.
            guard locks.take(record.name.base) else { continue }
            defer { locks.release(record.name.base) }
            // One volume that cannot be looked at must not hide the others.
            var failure = VolumeStore.failure(record, entry)
            // A file's own file system may notice nothing while its writes end in memory.
            if failure.isEmpty, record.volumeClass != .lvm { failure = below }
            do {
                events += try await look(at: record, entry)
            } catch {
                failure = "\(error)"
            }
            if !failure.isEmpty, watched[record.id]?.failure != failure {
                events.append(.failing(record.name, cause: failure))
            }
            watched[record.id, default: WatchedVolume()].failure = failure
        }
        watched = watched.filter { records[$0.key] != nil }
        return events
    }

    /// Lets a full volume be written to for a while, so that its owner can remove files.
    package func allowCleanUp(_ name: VolumeName, for duration: Duration) async throws {
        try await alone(with: name) {
            let record = try requireReady(name)
            var state = watched[record.id] ?? WatchedVolume()
            state.cleanUpEnd = ContinuousClock().now + duration
            state.lastWriters = []
            watched[record.id] = state
            try await becomeWritable(record)
        }
    }

    /// How much of a volume is used; of one with a file system of its own that is not attached, what
    /// it takes of the disk.
    package func usage(_ name: VolumeName) async throws -> VolumeUsage {
        try await alone(with: name) {
            let record = try requireReady(name)
            guard record.volumeClass != .directory else { return try await measure(record) }
            return try await usageOfFileSystem(record)
        }
    }

    private func usageOfFileSystem(_ record: VolumeRecord) async throws -> VolumeUsage {
        let attempt = "measure \(record.name)"
        let allocated =
            record.volumeClass == .loop
            ? fileAllocated(record) ?? 0 : try await logicalVolumeAllocations()[record.id] ?? 0
        guard case .mounted(let entries) = try presence(record), let entry = entries.first else {
            return VolumeUsage(used: allocated, capacity: record.size, allocated: allocated)
        }
        let folder = try OpenFile(
            entry.mountPoint, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        let space = try folder.space(attempt: attempt)
        // Everything that cannot be written any more counts, the file system's own as well.
        return VolumeUsage(
            used: max(0, record.size - space.free), capacity: record.size, allocated: allocated)
    }

    private func look(at record: VolumeRecord, _ entry: MountEntry) async throws -> [VolumeEvent] {
        let clock = ContinuousClock()
        var state = watched[record.id] ?? WatchedVolume()
        // After a restart of the agent: only a full volume is held.
        let isReadOnly = entry.fileSystemOptions.contains("ro")
        let isSoft = record.volumeClass == .directory && record.project == 0
        let free = try folders.data.space(attempt: "measure \(path)").free
        if isSoft, !isDue(state, record, free: free, now: clock.now) {
            // Programs may have closed their files since; that costs nothing to find out.
            guard !state.lastWriters.isEmpty, !isReadOnly, let usage = measured[record.id] else {
                return []
            }
            return try await hold(record, entry, usage)
        }
        let start = clock.now
        let usage =
            record.volumeClass == .directory
            ? try await measure(record) : try await usageOfFileSystem(record)
        let cost = start.duration(to: clock.now)
        state.due = start + max(.milliseconds(900), cost * 10)
        state.dueEarly = start + max(.milliseconds(900), cost * 2)
        state.freeThen = free
        let old = state.level
        state.level = old.next(used: usage.used, capacity: usage.capacity)
        state.steady.take(
            state.level, capacity: usage.capacity, at: opened.duration(to: clock.now))
        // An earlier start of the agent may have turned it.
        if isSoft, isReadOnly, state.level == .full, isHeldSinceEarlier(record, entry) {
            state.isHeld = true
        }
        var events: [VolumeEvent] = []
        if state.level > old, !(isSoft && state.level == .full) {
            events.append(.filling(record.name, usage, state.level))
        }
        watched[record.id] = state
        guard isSoft else { return events }
        if state.level == .full {
            let isCleaning = state.cleanUpEnd.map { clock.now < $0 } ?? false
            if !isReadOnly, !isCleaning { events += try await hold(record, entry, usage) }
        } else if isReadOnly, state.isHeld || isHeldSinceEarlier(record, entry) {
            try await becomeWritable(record)
            events.append(.writable(record.name, usage))
        }
        return events
    }

    /// True when a volume must be measured: after a while, or sooner when the disk lost so much free
    /// space that the volume could have come close to its limit.
    private func isDue(
        _ state: WatchedVolume, _ record: VolumeRecord, free: Int, now: ContinuousClock.Instant
    ) -> Bool {
        guard let due = state.due, let early = state.dueEarly, now < due else { return true }
        let room = max(0, record.size - (measured[record.id]?.used ?? 0))
        return now >= early && state.freeThen - free > room / 2
    }

    /// True when the overlay is read-only although its mount is not: so it was held by an earlier
    /// start of the agent, and not asked for.
    private func isHeldSinceEarlier(_ record: VolumeRecord, _ entry: MountEntry) -> Bool {
        !entry.options.contains("ro")
    }

    /// Turns a full volume read-only for everybody.
    private func hold(
        _ record: VolumeRecord, _ entry: MountEntry, _ usage: VolumeUsage
    ) async throws -> [VolumeEvent] {
        let attempt = "make \(record.name) read-only"
        checkpoint("hold")
        var status = remountOverlay(entry, isReadOnly: true)
        if status == -EBUSY {
            let users = OpenFiles.users(ofDevice: entry.device, writersOnly: true, maximum: 256)
            try await seal(record, inodes: users.map(\.inode), attempt: attempt)
            // Whoever got an error may have gone in the meantime.
            status = remountOverlay(entry, isReadOnly: true)
            guard status != -EBUSY else {
                let told = watched[record.id]?.lastWriters
                watched[record.id]?.lastWriters = users
                return told == users ? [] : [.stillWritten(record.name, usage, users)]
            }
        }
        guard status == 0 else { throw VolumeError.system(attempt: attempt, code: -status) }
        watched[record.id]?.isHeld = true
        watched[record.id]?.lastWriters = []
        watched[record.id]?.cleanUpEnd = nil
        return [.readOnly(record.name, usage)]
    }

    /// Lets a volume be written to again; fine when it can be.
    func becomeWritable(_ record: VolumeRecord) async throws {
        let attempt = "make \(record.name) writable"
        guard record.volumeClass == .directory, record.project == 0,
            let entry = try mountTable().mount(at: mountPath(record)), entry.kind == "overlay",
            !entry.options.contains("ro")
        else { return }
        try await unseal(contentPath(record), attempt: attempt)
        let status = remountOverlay(entry, isReadOnly: false)
        guard status == 0 else { throw VolumeError.system(attempt: attempt, code: -status) }
        watched[record.id]?.isHeld = false
        watched[record.id]?.due = nil
    }

    /// Turns the overlay itself, and so every mount of it, and leaves the mount's own options.
    private func remountOverlay(_ entry: MountEntry, isReadOnly: Bool) -> Int32 {
        clinux_volume_reconfigure(entry.mountPoint, isReadOnly ? 1 : 0)
    }
}
