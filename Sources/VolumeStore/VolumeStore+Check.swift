import CLinux
import Glibc
import VolumePlan

/// File systems that met an error are not mounted as if nothing had been.
extension VolumeStore {
    /// Checks an ext4 that the kernel has marked as damaged, and repairs what can be repaired without
    /// a decision; nobody may have it mounted.
    ///
    /// The kernel would mount it with a line in its log, and go on with what is damaged. xfs needs no
    /// such mark: the kernel refuses what it finds damaged.
    func repairMarked(_ record: VolumeRecord, path: String, attempt: String) async throws {
        guard record.fileSystem == .ext4, try VolumeStore.isMarked(path, attempt: attempt) else {
            return
        }
        checkpoint("check file system")
        let result = try await tools.run(["e2fsck", "-f", "-p", path], attempt: attempt)
        // 1: errors were corrected.
        guard [0, 1].contains(result.exitCode) else {
            throw VolumeError.tool(
                attempt: attempt,
                cause: "its file system is damaged, and `e2fsck -p` will not repair it by itself "
                    + "(\(VolumeTools.lastWords(result))); restore a backup, or clone it and try "
                    + "`e2fsck -f` on the clone")
        }
        checkpoint("checked file system")
    }

    /// True when the superblock of an ext4 says that errors were found: bit 2 of `s_state`, as
    /// ext4(5) of the kernel's documentation has it.
    static func isMarked(_ path: String, attempt: String) throws(VolumeError) -> Bool {
        // LVM's paths are links, which are not followed otherwise.
        guard let resolved = realpath(path, nil) else {
            throw .system(attempt: attempt, code: errno)
        }
        defer { free(resolved) }
        let file = try OpenFile(String(cString: resolved), flags: O_RDONLY, attempt: attempt)
        var bytes = [UInt8](repeating: 0, count: 64)
        guard pread(file.descriptor, &bytes, bytes.count, 1_024) == bytes.count else {
            return false
        }
        return bytes[0x38] == 0x53 && bytes[0x39] == 0xEF && bytes[0x3A] & 2 != 0
    }

    // MARK: - While it is mounted

    /// What the kernel says of a volume's file system that met an error; empty when it is well.
    static func failure(_ record: VolumeRecord, _ entry: MountEntry) -> String {
        guard record.volumeClass != .directory, !entry.options.contains("ro"),
            hasStopped(entry) || errorCount(entry) > 0
        else { return "" }
        return "its file system met an error and is read-only now"
    }

    /// The same of the file system that the store itself is on, since the store began to watch.
    func storeFailure(_ table: MountTable) throws(VolumeError) -> String {
        let facts = try folders.data.status(attempt: "look at \(path)/data")
        var major: UInt32 = 0
        var minor: UInt32 = 0
        clinux_volume_device(facts.st_dev, &major, &minor)
        guard let entry = table.mounts(of: "\(major):\(minor)").first else { return "" }
        // Errors of years ago are still counted where nobody checked the file system since.
        let count = VolumeStore.errorCount(entry)
        let known = errorsBelow ?? count
        errorsBelow = known
        guard VolumeStore.hasStopped(entry) || count > known else { return "" }
        return "the file system under \(path) met an error"
    }

    /// True for a file system that the kernel made read-only, where it says so among the options.
    static func hasStopped(_ entry: MountEntry) -> Bool {
        ["ro", "emergency_ro", "shutdown"].contains { entry.fileSystemOptions.contains($0) }
    }

    /// How many errors an ext4 met since it was last checked.
    ///
    /// Many kernels since 2024 no longer list an ext4 that an error made read-only as `ro`.
    private static func errorCount(_ entry: MountEntry) -> Int {
        guard entry.kind == "ext4", let resolved = realpath("/sys/dev/block/\(entry.device)", nil)
        else { return 0 }
        defer { free(resolved) }
        guard let name = String(cString: resolved).split(separator: "/").last,
            let file = try? OpenFile(
                "/sys/fs/ext4/\(name)/errors_count", flags: O_RDONLY, attempt: "count errors"),
            let bytes = try? file.readAll(maximum: 4_096, attempt: "count errors")
        else { return 0 }
        let digits = String(decoding: bytes, as: UTF8.self).prefix { $0.isNumber }
        return Int(digits) ?? 0
    }
}
