import Base
import Glibc

/// A file that holds a secret could not be used: what was attempted on which, and the way out.
package struct SecretFileError: Error, Sendable, CustomStringConvertible {
    /// What was attempted, on which file, why it failed, and what the operator can do.
    package let description: String
}

/// Small files with secrets: mode 0600, written whole or not at all.
enum SecretFile {
    /// Bytes read at most; every secret here is far smaller.
    private static let bytesMax = 4_096

    /// The file's content; nil when there is none.
    ///
    /// Refuses one that others may read.
    static func read(_ path: String) throws(SecretFileError) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw failure("read", path, "check that it is a file this user may read")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw failure("examine", path, "check the file system")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw SecretFileError(
                description: "\(path) can be read by other users: run `chmod 600 \(path)`, and "
                    + "think about who may have read it")
        }
        var buffer = [UInt8](repeating: 0, count: bytesMax)
        let count = Glibc.read(descriptor, &buffer, bytesMax)
        guard count >= 0 else { throw failure("read", path, "check the file system") }
        return Array(buffer.prefix(count))
    }

    /// Replaces the file: written beside it, synced, renamed, the folder synced.
    static func write(_ bytes: [UInt8], to path: String) throws(SecretFileError) {
        let temporary = "\(path).\(hexadecimal(Sodium.random(8)))"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw failure("create", temporary, "check that the folder exists and is writable")
        }
        let isWritten =
            fchmod(descriptor, 0o600) == 0
            && Glibc.write(descriptor, bytes, bytes.count) == bytes.count
            && fsync(descriptor) == 0
        let error = errno
        close(descriptor)
        guard isWritten, rename(temporary, path) == 0 else {
            if !isWritten { errno = error }
            let problem = failure("write", path, "check the free space of its file system")
            unlink(temporary)
            throw problem
        }
        syncFolder(of: path)
    }

    private static func syncFolder(of path: String) {
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        close(descriptor)
    }

    private static func failure(
        _ operation: String, _ path: String, _ nextStep: String
    ) -> SecretFileError {
        let reason = String(cString: strerror(errno))
        return SecretFileError(
            description: "could not \(operation) \(path): \(reason); \(nextStep)")
    }
}
