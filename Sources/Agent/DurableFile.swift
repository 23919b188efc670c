import Foundation
import Glibc

/// Small files that are there whole or not at all, also after a power cut.
enum DurableFile {
    /// Writes beside the file, flushes, renames over it, and flushes the folder.
    ///
    /// When it throws, the file is as it was and nothing lies beside it; what a crash left there is
    /// overwritten by the next write. Not for two writers of one file at once.
    static func write(_ bytes: [UInt8], to path: String) throws {
        let temporary = path + ".new"
        do {
            try fill(temporary, bytes)
            guard rename(temporary, path) == 0 else { throw failure(path) }
        } catch {
            unlink(temporary)
            throw error
        }
        let end = path.lastIndex(of: "/") ?? path.startIndex
        let folder = open(String(path[..<end]), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { return }
        fsync(folder)
        close(folder)
    }

    private static func fill(_ path: String, _ bytes: [UInt8]) throws {
        let flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC
        let descriptor = open(path, flags, 0o600)
        guard descriptor >= 0 else { throw failure(path) }
        defer { close(descriptor) }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure(path) }
            rest = rest.dropFirst(count)
        }
        guard fsync(descriptor) == 0 else { throw failure(path) }
    }

    private static func failure(_ path: String) -> AgentError {
        let reason = String(cString: strerror(errno))
        return AgentError(
            "cannot write \(path): \(reason)\(errno == ENOSPC ? "; free space on its disk" : "")")
    }
}
