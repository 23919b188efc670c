import CLinux
import Glibc
import VolumePlan

/// What keeps a volume's content, by class: a file, a folder or a logical volume.
///
/// Every function is idempotent; what it finds done, it leaves.
extension VolumeStore {
    /// Makes the empty content of a volume that was just recorded.
    func makeBacking(_ record: VolumeRecord, attempt: String) async throws {
        switch record.volumeClass {
        case .loop:
            let file = try makeImageFile(record, attempt: attempt)
            try await makeFileSystem(record, path: imagePath(record), attempt: attempt)
            checkpoint("synchronize file")
            try file.synchronize(attempt: attempt)
        case .directory: try makeDirectory(record, attempt: attempt)
        case .lvm: try await makeLogicalVolume(record, attempt: attempt)
        }
    }

    /// Removes a volume's content for good; throws `inUse` when somebody still uses it.
    func removeBacking(_ record: VolumeRecord) async throws {
        checkpoint("remove content")
        try requireUnused(record)
        switch record.volumeClass {
        case .loop:
            for folder in [folders.data, folders.trash] {
                try removeImageFile(record, in: folder)
            }
        case .directory: try await removeDirectory(record)
        case .lvm: try await removeLogicalVolume(record)
        }
        checkpoint("removed content")
    }

    /// Brings files and folders where the record's state says: to the trash or out of it.
    func settleBacking(_ record: VolumeRecord) async throws {
        let isTrashed = record.state.isTrashed
        switch record.volumeClass {
        case .loop, .directory:
            let (from, to) =
                isTrashed ? (folders.data, folders.trash) : (folders.trash, folders.data)
            let name = backingName(record)
            let attempt = "move \(name) \(isTrashed ? "into" : "out of") \(path)/trash"
            guard try from.status(of: name, attempt: attempt) != nil else { return }
            if let facts = try to.status(of: name, attempt: attempt) {
                _ = facts
                throw VolumeError.foreign(
                    path: "\(path)/\(isTrashed ? "trash" : "data")/\(name)",
                    what: "a second file of one volume")
            }
            checkpoint("move content")
            guard renameat(from.descriptor, name, to.descriptor, name) == 0 else {
                throw VolumeError.system(attempt: attempt, code: errno)
            }
            try from.synchronize(attempt: attempt)
            try to.synchronize(attempt: attempt)
            checkpoint("moved content")
        case .lvm: try await settleLogicalVolume(record)
        }
    }

    /// The name of a volume's file or folder in `data` or `trash`.
    func backingName(_ record: VolumeRecord) -> String {
        record.volumeClass == .loop ? "\(record.id).image" : "\(record.id)"
    }

    // MARK: - Files of class loop

    /// Where a `loop` volume's file is.
    func imagePath(_ record: VolumeRecord) -> String {
        "\(path)/\(record.state.isTrashed ? "trash" : "data")/\(backingName(record))"
    }

    /// Makes the file that a volume will be in; never one that is there already.
    func makeImageFile(
        _ record: VolumeRecord, attempt: String
    ) throws(VolumeError) -> OpenFile {
        checkpoint("make file")
        let file: OpenFile
        do {
            file = try OpenFile(
                in: folders.data, backingName(record), flags: O_RDWR | O_CREAT | O_EXCL,
                mode: 0o600, attempt: attempt)
        } catch .system(_, let code) where code == EEXIST || code == ELOOP {
            throw .foreign(path: imagePath(record), what: "a file or a symbolic link")
        }
        checkpoint("size file")
        guard ftruncate(file.descriptor, off_t(record.size)) == 0 else {
            throw .system(attempt: attempt, code: errno)
        }
        try folders.data.synchronize(attempt: attempt)
        return file
    }

    /// Opens a `loop` volume's file for use; throws when it is not what the record says.
    func openImageFile(_ record: VolumeRecord, attempt: String) throws(VolumeError) -> OpenFile {
        let folder = record.state.isTrashed ? folders.trash : folders.data
        let file = try OpenFile(
            in: folder, backingName(record), flags: O_RDWR | O_NONBLOCK, attempt: attempt)
        let facts = try file.status(attempt: attempt)
        guard isRegular(facts.st_mode) else {
            throw .foreign(path: imagePath(record), what: "no regular file")
        }
        guard facts.st_size >= off_t(record.size) else {
            throw .tool(
                attempt: attempt,
                cause: "its file \(imagePath(record)) has \(facts.st_size) bytes in place of "
                    + "\(record.size): restore it from a backup")
        }
        return file
    }

    private func removeImageFile(
        _ record: VolumeRecord, in folder: OpenFile
    ) throws(VolumeError) {
        let attempt = "remove the file of \(record.name), \(imagePath(record))"
        guard let facts = try folder.status(of: backingName(record), attempt: attempt) else {
            return
        }
        guard isRegular(facts.st_mode) else {
            throw .foreign(path: imagePath(record), what: "no regular file")
        }
        guard unlinkat(folder.descriptor, backingName(record), 0) == 0 || errno == ENOENT else {
            throw .system(attempt: attempt, code: errno)
        }
        try folder.synchronize(attempt: attempt)
    }

    /// Bytes that a `loop` volume's file takes of the disk; nil when there is no such file.
    func fileAllocated(_ record: VolumeRecord) -> Int? {
        let folder = record.state.isTrashed ? folders.trash : folders.data
        let facts = try? folder.status(of: backingName(record), attempt: "measure")
        return (facts ?? nil).map { Int($0.st_blocks) * 512 }
    }

    // MARK: - File systems

    /// Makes a file system on a file or device that this very operation made.
    func makeFileSystem(_ record: VolumeRecord, path: String, attempt: String) async throws {
        try await requireBlank(path, attempt: attempt)
        checkpoint("make file system")
        let command: [String] =
            switch record.fileSystem {
            // What was never written reads as zeros on a new file or thin volume.
            case .ext4:
                [
                    "mkfs.ext4", "-q", "-F", "-m", "0", "-E",
                    "assume_storage_prezeroed=1,nodiscard", path,
                ]
            case .xfs: ["mkfs.xfs", "-q", "-K", path]
            case .host: []
            }
        guard !command.isEmpty else { return }
        try await tools.check(command, attempt: attempt)
        checkpoint("made file system")
    }

    /// Throws when anything is found on what should be new: blkid(8) knows file systems, partition
    /// tables, RAID and LVM.
    private func requireBlank(_ path: String, attempt: String) async throws {
        let result = try await tools.check(
            ["blkid", "-p", "-o", "full", path], attempt: attempt, accepted: [0, 2, 8])
        guard result.exitCode == 2, result.standardOutput.isEmpty else {
            throw VolumeError.foreign(
                path: path, what: "not empty (\(result.outputText.prefix(200)))")
        }
    }
}
