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
}
