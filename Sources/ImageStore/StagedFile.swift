import Glibc
import Synchronization

/// A file under `staging/` that is being written; it is removed when the last reference goes,
/// unless it was renamed to where it belongs.
final class StagedFile: Sendable {
    private let folder: OpenFile
    /// Its name in the staging folder.
    private let name: String
    /// Nil once written: an archive may have more files than a process may hold open.
    private let file: Mutex<OpenFile?>

    /// Makes an empty file.
    init(name: String, in folder: OpenFile) throws {
        self.name = name
        self.folder = folder
        file = Mutex(
            try OpenFile(
                in: folder, name, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600,
                attempt: "make a file in the staging folder"))
    }

    deinit {
        unlinkat(folder.descriptor, name, 0)
    }

    /// Appends bytes; not after `seal`.
    func write(_ bytes: UnsafeRawBufferPointer, naming label: String) throws {
        guard let open = file.withLock({ $0 }) else {
            throw ImageError(attempt: "write \(label)", code: EBADF)
        }
        try open.write(bytes, naming: label)
    }

    /// Closes the file, with nothing more to write.
    func seal() {
        file.withLock { $0 = nil }
    }

    /// Opens what was written for reading, at its start.
    func open() throws -> OpenFile {
        try OpenFile(in: folder, name, flags: O_RDONLY, attempt: "read a file in staging")
    }

    /// Gives the file its final name, replacing what had it; first brings it to the disk, unless
    /// the caller does that for all its files.
    func move(
        to target: OpenFile, _ targetName: String, synchronizing: Bool = true
    ) throws {
        if synchronizing { try open().synchronize(naming: targetName) }
        seal()
        guard renameat(folder.descriptor, name, target.descriptor, targetName) == 0 else {
            throw ImageError(attempt: "give \(targetName) its name", code: errno)
        }
    }
}
