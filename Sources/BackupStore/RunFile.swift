import Base
import CLinux
import Glibc
import VolumeStore

/// A file that stands for one run of restic: restic inherits its lock, and its process number is in it.
///
/// Restic's own locks in a repository name a host and a process. A lock is known to be dead when the
/// run's file can be locked again, since then no process of that run is left; nobody has to trust a
/// process number that the kernel may have given away again.
final class RunFile: Sendable {
    let file: OpenFile
    private let folder: OpenFile
    private let name: String

    private init(file: OpenFile, folder: OpenFile, name: String) {
        self.file = file
        self.folder = folder
        self.name = name
    }

    /// Makes the file of a new run on a repository.
    static func make(in folder: OpenFile, repository key: String) throws(VolumeError) -> RunFile {
        var random = SystemRandomNumberGenerator()
        let name = "\(key).\(String(random.next(), radix: 16))"
        let attempt = "make the file of a backup's run"
        let file = try OpenFile(
            in: folder, name, flags: O_RDWR | O_CREAT | O_EXCL | O_APPEND, mode: 0o600,
            attempt: attempt)
        let status = clinux_volume_lock(file.descriptor)
        guard status == 0 else { throw .system(attempt: attempt, code: -status) }
        return RunFile(file: file, folder: folder, name: name)
    }

    /// The run ended in order, and left no lock.
    func remove() { unlinkat(folder.descriptor, name, 0) }

    /// The files of runs on a repository whose processes are all gone.
    static func dead(in folder: OpenFile, repository key: String) throws(VolumeError) -> [RunFile] {
        let attempt = "look for backups that were cut off"
        var dead: [RunFile] = []
        for name in try folder.names(attempt: attempt) where name.hasPrefix("\(key).") {
            // It may have ended meanwhile.
            guard
                let file = try? OpenFile(
                    in: folder, name, flags: O_RDWR | O_APPEND, attempt: attempt),
                clinux_volume_lock(file.descriptor) == 0
            else { continue }
            dead.append(RunFile(file: file, folder: folder, name: name))
        }
        return dead
    }

    /// The number that the process had; nil when it never started.
    func process() throws(VolumeError) -> Int32? {
        guard lseek(file.descriptor, 0, SEEK_SET) == 0 else { return nil }
        let bytes = try file.readAll(maximum: 64, attempt: "read the file of a backup's run")
        return Int32(String(decoding: bytes.prefix { $0 != 10 }, as: UTF8.self))
    }
}
