import CLinux
import ClusterModel
import Glibc
import VolumePlan

extension VolumeStore {
    /// Makes a volume larger, while it is attached or not; fine when it has that size already.
    ///
    /// Throws `attached` where the kernel cannot grow what is mounted; then detach it first.
    @discardableResult
    package func grow(_ name: VolumeName, to bytes: Int) async throws -> VolumeRecord {
        try await alone(with: name) {
            var record = try requireReady(name)
            let size = try checkedResize(record, to: bytes)
            guard size != record.size else { return record }
            try await requireRoom(toGrow: record, to: size)
            record.state = .growing(to: size)
            try save(record)
            do {
                _ = try await finishGrowth(record)
            } catch {
                // The old size holds, and the file or logical volume may be larger than that: no
                // harm, and the next growth begins with it.
                record.state = .ready
                try? save(record, essential: true)
                throw error
            }
            return records[record.id] ?? record
        }
    }

    /// Throws what `grow` would throw before it changes anything.
    package func checkGrowth(_ name: VolumeName, to bytes: Int) async throws {
        try await alone(with: name) {
            let record = try requireReady(name)
            let size = try checkedResize(record, to: bytes)
            if size != record.size { try await requireRoom(toGrow: record, to: size) }
        }
    }

    private func requireRoom(toGrow record: VolumeRecord, to size: Int) async throws {
        let name = record.name
        guard size > record.size else {
            throw VolumeError.badRequest(
                "\(name) has \(Quantity.display(bytes: record.size)) already; to make it "
                    + "smaller, shrink it")
        }
        try await requirePoolSpace(record, attempt: "grow \(name)")
        try requireSpace(
            size - record.size, volumeClass: record.volumeClass, attempt: "grow \(name)")
        try requireGrowable(record)
    }

    /// Brings a growing volume to its new size; says what it did.
    func finishGrowth(_ record: VolumeRecord) async throws -> String {
        guard case .growing(let size) = record.state else { return "" }
        let attempt = "grow \(record.name) to \(Quantity.display(bytes: size))"
        var grown = record
        grown.size = size
        grown.state = .ready
        switch record.volumeClass {
        case .directory:
            try limitDirectory(grown, attempt: attempt)
            try save(grown)
            try await becomeWritable(grown)
        case .loop:
            let file = try openImageFile(record, attempt: attempt)
            checkpoint("extend file")
            if try file.status(attempt: attempt).st_size < off_t(size) {
                guard ftruncate(file.descriptor, off_t(size)) == 0 else {
                    throw VolumeError.system(attempt: attempt, code: errno)
                }
                try file.synchronize(attempt: attempt)
            }
            checkpoint("extended file")
            for number in try LoopDevice.holding(file) {
                let status = clinux_volume_loop_resize(number)
                guard status == 0 else {
                    throw VolumeError.system(attempt: attempt, code: -status)
                }
            }
            try await growFileSystem(record, path: imagePath(record), attempt: attempt)
            try save(grown)
        case .lvm:
            try await extendLogicalVolume(record, to: size, attempt: attempt)
            let device = try await activateLogicalVolume(record, attempt: attempt)
            try await growFileSystem(record, path: device, attempt: attempt)
            try save(grown)
        }
        return "finished growing \(record.name) to \(Quantity.display(bytes: size))"
    }

    /// Grows the file system to all of its file or device.
    private func growFileSystem(
        _ record: VolumeRecord, path: String, attempt: String
    ) async throws {
        var mounted: MountEntry?
        switch try presence(record) {
        case .mounted(let entries): mounted = entries.first
        case .elsewhere(let device, let numbers):
            throw VolumeStore.inUse(record.name, device, numbers)
        case .free: break
        }
        checkpoint("grow file system")
        switch (record.fileSystem, mounted) {
        case (.ext4, let entry?):
            try requireGrowable(record)
            let device =
                record.volumeClass == .lvm ? path : "/dev/loop\(entry.device.dropFirst(2))"
            try await tools.check(["resize2fs", device], attempt: attempt)
        case (.ext4, nil):
            // Without the check, resize2fs refuses. 1: errors were corrected.
            try await tools.check(
                ["e2fsck", "-f", "-p", path], attempt: attempt, accepted: [0, 1])
            try await tools.check(["resize2fs", path], attempt: attempt)
        case (.xfs, let entry?):
            try await tools.check(["xfs_growfs", "-d", entry.mountPoint], attempt: attempt)
        case (.xfs, nil):
            try await mountWork(record, isReadOnly: false)
            do {
                try await tools.check(["xfs_growfs", "-d", workPath(record.id)], attempt: attempt)
            } catch {
                try? await unmountWork(record.id)
                throw error
            }
            try await unmountWork(record.id)
        case (.host, _): break
        }
        checkpoint("grew file system")
    }

    /// Throws when the kernel will not let us grow what is mounted.
    private func requireGrowable(_ record: VolumeRecord) throws(VolumeError) {
        guard record.fileSystem == .ext4, case .mounted = try presence(record),
            !VolumeStore.hasResourceCapability
        else { return }
        throw .attached(
            record.name, attempt: "grow",
            cause: "only a process with CAP_SYS_RESOURCE may grow a mounted ext4, and this agent "
                + "has it not; detach the volume, or make it with xfs")
    }

    /// True when this process has CAP_SYS_RESOURCE, as /proc/self/status says.
    static let hasResourceCapability: Bool = {
        guard
            let file = try? OpenFile("/proc/self/status", flags: O_RDONLY, attempt: "read status"),
            let bytes = try? file.readAll(maximum: 1 << 20, attempt: "read status")
        else { return false }
        let line = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
            .first { $0.hasPrefix("CapEff:") }
        let mask = line.flatMap { UInt64($0.dropFirst(7).filter { !$0.isWhitespace }, radix: 16) }
        return (mask ?? 0) & (1 << 24) != 0
    }()

    /// Makes a volume smaller: its content is copied into a new, smaller one, the copy is compared
    /// with it byte for byte, takes its place, and the old one goes to the trash.
    ///
    /// A `directory` volume only gets a lower limit. Throws `attached` unless the volume is
    /// detached, and `contentTooLarge`, `copyDiffers`; then nothing is changed.
    @discardableResult
    package func shrink(
        _ name: VolumeName, to bytes: Int, progress: VolumeProgressHandler? = nil
    ) async throws -> VolumeRecord {
        try await alone(with: name) {
            let old = try requireReady(name)
            let size = try checkedResize(old, to: bytes)
            guard size != old.size else { return old }
            guard size < old.size else {
                throw VolumeError.badRequest(
                    "\(name) has only \(Quantity.display(bytes: old.size)); volumes grow with the "
                        + "sets that use them: `shoal resize \(name.slot.service) --volume "
                        + "\(name.volume)=\(Quantity.text(bytes: size))`")
            }
            guard old.volumeClass != .directory else {
                return try await lowerLimit(old, to: size)
            }
            guard case .free = try presence(old) else {
                throw VolumeError.attached(
                    name, attempt: "shrink",
                    cause: "its content is copied into a smaller volume; detach it first")
            }
            try await requirePoolSpace(old, attempt: "shrink \(name)")
            try requireSpace(size, volumeClass: old.volumeClass, attempt: "shrink \(name)")
            let new = VolumeRecord(
                id: newID(), name: name, volumeClass: old.volumeClass,
                fileSystem: old.fileSystem, size: size, createdAt: old.createdAt,
                origin: old.id, owner: old.owner, state: .making(.shrink))
            try save(new)
            try await undoingFailure(of: new) {
                do {
                    try await copyVerified(old, to: new, progress: progress)
                } catch {
                    try? await unmountWork(old.id)
                    throw error
                }
                var standing = new
                standing.state = .replacing(old.id)
                try save(standing)
            }
            _ = try await finishReplacement(new: new.id, old: old.id)
            return records[new.id] ?? new
        }
    }

    /// Puts a replaced volume into the trash and lets its successor stand for itself.
    func finishReplacement(new: VolumeID, old: VolumeID) async throws -> String {
        guard var record = records[new] else { return "" }
        if let replaced = records[old], !replaced.state.isTrashed {
            try requireUnused(replaced)
            try await moveToTrash(replaced, reason: .shrunk)
        }
        record.state = .ready
        try save(record, essential: true)
        return "finished shrinking \(record.name); what it was before is in the trash (\(old))"
    }

    private func lowerLimit(_ record: VolumeRecord, to size: Int) async throws -> VolumeRecord {
        let used = try await measure(record).used
        guard used <= size else {
            throw VolumeError.contentTooLarge(record.name, used: used, wanted: size)
        }
        var smaller = record
        smaller.size = size
        try limitDirectory(smaller, attempt: "shrink \(record.name)")
        try save(smaller)
        return smaller
    }

    private func checkedResize(_ record: VolumeRecord, to bytes: Int) throws(VolumeError) -> Int {
        guard record.name.snapshot == nil else {
            throw .badRequest("the snapshot \(record.name) cannot be resized; clone it first")
        }
        guard record.state == .ready else {
            throw .inUse(record.name, by: "an operation that was cut off; run `recover` first")
        }
        return try VolumeStore.wholeSize(
            bytes, name: record.name, fileSystem: record.fileSystem)
    }
}
