import CLinux
import Glibc
import VolumePlan

/// One logical volume as lvs(8) lists it.
struct LogicalVolume: Sendable {
    var name: String
    var size: Int
    var allocated: Int
    /// `error` or `queue` for a pool: what writers get when it is full.
    var whenFull: String
}

/// Volumes of class `lvm`: thin logical volumes, named by the volume's identity.
///
/// In the trash they have another name and no device, so that nothing can mount them.
extension VolumeStore {
    private static let prefix = "shoal-"
    private static let trashPrefix = "shoal-trash-"

    private func logicalName(_ record: VolumeRecord, isTrashed: Bool? = nil) -> String {
        let isTrashed = isTrashed ?? record.state.isTrashed
        return (isTrashed ? VolumeStore.trashPrefix : VolumeStore.prefix) + "\(record.id)"
    }

    /// The pool; throws where this machine cannot have one.
    private func thinPool() throws(VolumeError) -> ThinPool {
        let feature = "volumes of class lvm"
        guard let pool = settings.thinPool else {
            throw .kernelLacks(
                feature: feature, cause: "no thin pool is configured",
                advice: "make one with `lvcreate --type thin-pool` and name it in the agent's "
                    + "configuration, or take the class loop")
        }
        let devices = try OpenFile("/proc/devices", flags: O_RDONLY, attempt: "read /proc/devices")
            .readAll(maximum: 1 << 20, attempt: "read /proc/devices")
        guard String(decoding: devices, as: UTF8.self).contains("device-mapper") else {
            throw .kernelLacks(
                feature: feature, cause: "the kernel has no device-mapper",
                advice: "load it with `modprobe dm_thin_pool`, or take the class loop")
        }
        return pool
    }

    /// Runs one of LVM's commands.
    @discardableResult
    private func lvm(_ arguments: [String], attempt: String) async throws -> String {
        var configuration: [String] = []
        if access("/run/udev/control", F_OK) != 0 {
            // Nobody would answer, and LVM would wait for ever.
            configuration.append("activation{udev_sync=0 udev_rules=0}")
        }
        if access("/etc/lvm", W_OK) != 0 { configuration.append("backup{backup=0 archive=0}") }
        let extra =
            configuration.isEmpty ? [] : ["--config", configuration.joined(separator: " ")]
        let command = ["lvm", arguments[0]] + extra + arguments.dropFirst()
        if arguments[0] != "lvs" { logicalListing = nil }
        return try await tools.check(command, attempt: attempt).outputText
    }

    /// The logical volumes of the pool's group that are ours by name.
    private func logicalVolumes(attempt: String) async throws -> [LogicalVolume] {
        try await listGroup(attempt: attempt).filter { $0.name.hasPrefix(VolumeStore.prefix) }
    }

    /// All logical volumes of the pool's group, the pool too.
    ///
    /// While the store recovers nobody else changes them, and they are listed once.
    private func listGroup(attempt: String) async throws -> [LogicalVolume] {
        if !isRecovered, let logicalListing { return logicalListing }
        let pool = try thinPool()
        let text = try await lvm(
            [
                "lvs", "--noheadings", "--nosuffix", "--units", "b", "--separator", "|",
                "-o", "lv_name,lv_size,data_percent,lv_when_full", pool.group,
            ], attempt: attempt)
        let volumes = text.split(separator: "\n").compactMap { line -> LogicalVolume? in
            let fields = line.filter { $0 != " " }
                .split(separator: "|", omittingEmptySubsequences: false).map(String.init)
            guard fields.count == 4, let size = Int(fields[1]) else { return nil }
            let percent = Double(fields[2]) ?? 0
            return LogicalVolume(
                name: fields[0], size: size, allocated: Int(Double(size) / 100 * percent),
                whenFull: fields[3])
        }
        logicalListing = volumes
        return volumes
    }

    private func logicalVolume(
        _ record: VolumeRecord, isTrashed: Bool
    ) async throws -> LogicalVolume? {
        let name = logicalName(record, isTrashed: isTrashed)
        return try await logicalVolumes(attempt: "look for \(record.name)")
            .first { $0.name == name }
    }

    /// Throws unless the pool has room for something new.
    func requirePoolSpace(_ record: VolumeRecord, attempt: String) async throws {
        if record.volumeClass == .lvm { try await requirePoolSpace(attempt: attempt) }
    }

    func requirePoolSpace(attempt: String) async throws {
        let state = try await poolState(attempt: attempt)
        let pool = "\(try thinPool())"
        if state.isMetadataNearlyFull {
            throw VolumeError.poolMetadataFull(
                attempt: attempt, pool: pool, percent: state.metadataPercent)
        }
        if state.isDataNearlyFull {
            throw VolumeError.poolFull(attempt: attempt, pool: pool, percent: state.dataPercent)
        }
    }

    /// How full the pool is; throws when it has failed.
    func poolState(attempt: String) async throws -> PoolState {
        let pool = try thinPool()
        let text = try await lvm(
            [
                "lvs", "--noheadings", "--nosuffix", "--units", "b", "--separator", "|", "-o",
                PoolState.columns, "\(pool)",
            ], attempt: attempt)
        guard let state = PoolState(line: text) else {
            throw VolumeError.kernelLacks(
                feature: "volumes in \(pool)", cause: "it is no thin pool",
                advice: "make one with `lvcreate --type thin-pool`")
        }
        if let failure = state.failure {
            throw VolumeError.tool(
                attempt: attempt,
                cause: "the thin pool \(pool) has failed (\(failure)); stop what uses its "
                    + "volumes, then `vgchange --activate n \(pool.group)`, "
                    + "`lvconvert --repair \(pool)`, and start them again")
        }
        return state
    }

    // MARK: - Making and removing

    /// Makes a thin volume, with an empty file system in it unless something is to be copied in.
    func makeLogicalVolume(
        _ record: VolumeRecord, attempt: String, isEmpty: Bool = false
    ) async throws {
        let pool = try thinPool()
        checkpoint("make logical volume")
        // Refuses a name that is taken. Signatures are looked for by us, before mkfs.
        try await lvm(
            [
                "lvcreate", "-q", "--yes", "--type", "thin", "--virtualsize", "\(record.size)b",
                "--name", logicalName(record), "--thinpool", "\(pool)", "--wipesignatures", "n",
                "--setactivationskip", "n",
            ], attempt: attempt)
        checkpoint("made logical volume")
        let device = try await activateLogicalVolume(record, attempt: attempt)
        guard !isEmpty else { return }
        try await makeFileSystem(record, path: device, attempt: attempt)
    }

    func snapshotLogicalVolume(
        _ origin: VolumeRecord, as copy: VolumeRecord, attempt: String
    ) async throws {
        let pool = try thinPool()
        checkpoint("make thin snapshot")
        try await lvm(
            [
                "lvcreate", "-q", "--yes", "--snapshot", "--name", logicalName(copy),
                "--setactivationskip", "n", "\(pool.group)/\(logicalName(origin))",
            ], attempt: attempt)
        checkpoint("made thin snapshot")
    }

    func removeLogicalVolume(_ record: VolumeRecord) async throws {
        let pool = try thinPool()
        let attempt = "remove the logical volume of \(record.name)"
        let names = [logicalName(record, isTrashed: false), logicalName(record, isTrashed: true)]
        for volume in try await logicalVolumes(attempt: attempt) where names.contains(volume.name) {
            try await lvm(
                ["lvremove", "-q", "--yes", "--force", "\(pool.group)/\(volume.name)"],
                attempt: attempt)
        }
    }

    func extendLogicalVolume(
        _ record: VolumeRecord, to size: Int, attempt: String
    ) async throws {
        let pool = try thinPool()
        guard let volume = try await logicalVolume(record, isTrashed: false) else {
            throw VolumeError.tool(attempt: attempt, cause: "its logical volume is gone")
        }
        guard volume.size < size else { return }
        checkpoint("extend logical volume")
        try await lvm(
            ["lvextend", "-q", "--yes", "--size", "\(size)b", "\(pool.group)/\(volume.name)"],
            attempt: attempt)
        checkpoint("extended logical volume")
    }

    /// Makes sure that the volume has a device, and returns its path.
    func activateLogicalVolume(_ record: VolumeRecord, attempt: String) async throws -> String {
        let pool = try thinPool()
        let path = devicePath(pool, logicalName(record))
        if access(path, F_OK) != 0 {
            try await lvm(
                [
                    "lvchange", "-q", "--yes", "--activate", "y", "--ignoreactivationskip",
                    "\(pool.group)/\(logicalName(record))",
                ], attempt: attempt)
        }
        guard access(path, F_OK) == 0 else {
            throw VolumeError.tool(attempt: attempt, cause: "\(path) did not appear")
        }
        return path
    }

    // MARK: - Trash

    /// Gives the volume the name that its state wants; takes its device away in the trash.
    func settleLogicalVolume(_ record: VolumeRecord) async throws {
        let pool = try thinPool()
        let isTrashed = record.state.isTrashed
        let attempt = "move \(record.name) \(isTrashed ? "into" : "out of") the trash"
        let wrong = logicalName(record, isTrashed: !isTrashed)
        let right = logicalName(record, isTrashed: isTrashed)
        let names = try await logicalVolumes(attempt: attempt).map(\.name)
        if names.contains(wrong) {
            guard !names.contains(right) else {
                throw VolumeError.foreign(
                    path: "\(pool.group)/\(right)", what: "a second volume of one identity")
            }
            checkpoint("rename logical volume")
            try await lvm(["lvrename", "-q", "--yes", pool.group, wrong, right], attempt: attempt)
            checkpoint("renamed logical volume")
        }
        guard isTrashed, access(devicePath(pool, right), F_OK) == 0 else { return }
        // Nor shall it have one after the machine has started again and activated the whole group.
        try await lvm(
            [
                "lvchange", "-q", "--yes", "--setactivationskip", "y", "--activate", "n",
                "\(pool.group)/\(right)",
            ], attempt: attempt)
        checkpoint("deactivated logical volume")
    }

    func isLogicalVolumeMisplaced(_ record: VolumeRecord) async throws -> Bool {
        if try await logicalVolume(record, isTrashed: !record.state.isTrashed) != nil {
            return true
        }
        guard record.state.isTrashed else { return false }
        // A crash came before its device was taken away, or somebody activated it.
        return access(devicePath(try thinPool(), logicalName(record)), F_OK) == 0
    }

    func hasLogicalVolume(_ record: VolumeRecord) async throws -> Bool {
        try await logicalVolume(record, isTrashed: record.state.isTrashed) != nil
    }

    // MARK: - Looking

    func logicalVolumePresence(
        _ record: VolumeRecord, _ table: MountTable
    ) throws(VolumeError) -> VolumePresence {
        guard let pool = settings.thinPool else { return .free }
        let link = devicePath(pool, logicalName(record))
        guard let resolved = realpath(link, nil) else { return .free }
        let path = String(cString: resolved)
        free(resolved)
        var facts = stat()
        guard stat(path, &facts) == 0 else { return .free }
        var major: UInt32 = 0
        var minor: UInt32 = 0
        clinux_volume_device(facts.st_rdev, &major, &minor)
        let device = "\(major):\(minor)"
        guard table.mounts(of: device).isEmpty else {
            return .mounted(table.mounts(of: device))
        }
        // A device that is mounted anywhere, or part of another, cannot be had alone.
        let attempt = "open \(path)"
        do throws(VolumeError) {
            _ = try OpenFile(path, flags: O_RDONLY | O_EXCL, attempt: attempt)
            return .free
        } catch .system(_, let code) where code == EBUSY {
            return .elsewhere(device: path, numbers: [device])
        } catch .system(_, let code) where code == ENXIO || code == ENOENT {
            return .free
        }
    }

    /// What each volume takes of the pool; empty where no volume is of this class.
    func logicalVolumeAllocations() async throws -> [VolumeID: Int] {
        guard records.values.contains(where: { $0.volumeClass == .lvm }) else { return [:] }
        var bytes: [VolumeID: Int] = [:]
        for volume in try await logicalVolumes(attempt: "list logical volumes") {
            if let id = identity(volume) { bytes[id] = volume.allocated }
        }
        return bytes
    }

    /// Sentences about logical volumes that bear our name but have no record.
    func unknownLogicalVolumes(
        _ known: Set<VolumeID>
    ) async -> (places: [String], said: [String]) {
        guard let pool = settings.thinPool else { return ([], []) }
        var places: [String] = []
        var said: [String] = []
        do {
            for volume in try await listGroup(attempt: "list logical volumes") {
                if volume.name == pool.pool, volume.whenFull == "queue" {
                    said.append(
                        "writers will wait for ever when the thin pool \(pool) is full; let "
                            + "them fail with `lvchange --errorwhenfull y \(pool)`")
                }
                guard volume.name.hasPrefix(VolumeStore.prefix) else { continue }
                if let id = identity(volume), known.contains(id) { continue }
                places.append("the logical volume \(pool.group)/\(volume.name)")
            }
        } catch {
            said.append("could not look for logical volumes: \(error)")
        }
        return (places, said)
    }

    private func identity(_ volume: LogicalVolume) -> VolumeID? {
        let isTrashed = volume.name.hasPrefix(VolumeStore.trashPrefix)
        let prefix = isTrashed ? VolumeStore.trashPrefix : VolumeStore.prefix
        return VolumeID(volume.name.dropFirst(prefix.count))
    }

    private func devicePath(_ pool: ThinPool, _ name: String) -> String {
        "/dev/\(pool.group)/\(name)"
    }
}
