import Foundation
import Glibc

/// Small files that are there whole or not at all, also after a power cut.
enum DurableFile {
    /// Writes beside the file, flushes, renames over it, and flushes the folder.
    static func write(_ bytes: [UInt8], to path: String) throws {
        let temporary = path + ".new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure(temporary) }
        defer { close(descriptor) }
        var written = 0
        while written < bytes.count {
            let count = Glibc.write(descriptor, Array(bytes[written...]), bytes.count - written)
            guard count > 0 else { throw failure(temporary) }
            written += count
        }
        guard fsync(descriptor) == 0, rename(temporary, path) == 0 else { throw failure(path) }
        let end = path.lastIndex(of: "/") ?? path.startIndex
        let folder = open(String(path[..<end]), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { return }
        fsync(folder)
        close(folder)
    }

    private static func failure(_ path: String) -> AgentError {
        let reason = String(cString: strerror(errno))
        return AgentError(
            "cannot write \(path): \(reason)\(errno == ENOSPC ? "; free space on its disk" : "")")
    }
}
