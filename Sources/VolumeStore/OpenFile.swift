import CLinux
import Glibc

/// An open file or folder; closed when the last reference goes.
package final class OpenFile: Sendable {
    /// The descriptor; valid as long as this object lives.
    package let descriptor: Int32

    /// Takes over a descriptor that is open.
    package init(adopting descriptor: Int32) { self.descriptor = descriptor }

    /// Opens a path; the last part may not be a symbolic link.
    package convenience init(
        _ path: String, flags: Int32, mode: mode_t = 0, attempt: String
    ) throws(VolumeError) {
        try self.init(folder: AT_FDCWD, path, flags: flags, mode: mode, attempt: attempt)
    }

    /// Opens a name in a folder; it may not be a symbolic link.
    package convenience init(
        in folder: OpenFile, _ name: String, flags: Int32, mode: mode_t = 0, attempt: String
    ) throws(VolumeError) {
        try self.init(
            folder: folder.descriptor, name, flags: flags, mode: mode, attempt: attempt)
    }

    /// Opens a name in a folder; it may not be a symbolic link.
    package convenience init(
        in folder: OpenFile, _ name: EntryName, flags: Int32, attempt: String
    ) throws(VolumeError) {
        let descriptor = clinux_volume_open(folder.descriptor, name.bytes, flags, 0)
        guard descriptor >= 0 else { throw .system(attempt: attempt, code: -descriptor) }
        self.init(adopting: descriptor)
    }

    private convenience init(
        folder: Int32, _ name: String, flags: Int32, mode: mode_t, attempt: String
    ) throws(VolumeError) {
        let descriptor = clinux_volume_open(folder, name, flags, mode)
        guard descriptor >= 0 else { throw .system(attempt: attempt, code: -descriptor) }
        self.init(adopting: descriptor)
    }

    deinit { close(descriptor) }

    /// What stat(2) says of it.
    package func status(attempt: String) throws(VolumeError) -> stat {
        var facts = stat()
        guard fstat(descriptor, &facts) == 0 else { throw .system(attempt: attempt, code: errno) }
        return facts
    }

    /// What lstat(2) says of a name in this folder; nil when there is none.
    package func status(of name: String, attempt: String) throws(VolumeError) -> stat? {
        var facts = stat()
        guard fstatat(descriptor, name, &facts, AT_SYMLINK_NOFOLLOW) == 0 else {
            guard errno == ENOENT else { throw .system(attempt: attempt, code: errno) }
            return nil
        }
        return facts
    }

    /// What lstat(2) says of a name in this folder; nil when there is none.
    package func status(of name: EntryName, attempt: String) throws(VolumeError) -> stat? {
        var facts = stat()
        guard fstatat(descriptor, name.bytes, &facts, AT_SYMLINK_NOFOLLOW) == 0 else {
            guard errno == ENOENT else { throw .system(attempt: attempt, code: errno) }
            return nil
        }
        return facts
    }

    /// Waits until the disk has it (fsync(2)).
    package func synchronize(attempt: String) throws(VolumeError) {
        guard fsync(descriptor) == 0 else { throw .system(attempt: attempt, code: errno) }
    }

    /// All of its bytes, at most `maximum`.
    package func readAll(maximum: Int, attempt: String) throws(VolumeError) -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while bytes.count <= maximum {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .system(attempt: attempt, code: errno) }
            if count == 0 { break }
            bytes += buffer.prefix(count)
        }
        return bytes
    }

    /// Appends all of these bytes.
    package func writeAll(_ bytes: [UInt8], attempt: String) throws(VolumeError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .system(attempt: attempt, code: errno) }
            rest = rest.dropFirst(count)
        }
    }

    /// The names in this folder without `.` and `..`, sorted.
    package func names(attempt: String) throws(VolumeError) -> [String] {
        try entries(attempt: attempt).map(\.text).sorted()
    }

    /// The names in this folder without `.` and `..`, as the bytes they are, sorted.
    package func entries(attempt: String) throws(VolumeError) -> [EntryName] {
        let copy = clinux_volume_open(descriptor, ".", O_RDONLY | O_DIRECTORY, 0)
        guard copy >= 0 else { throw .system(attempt: attempt, code: -copy) }
        guard let stream = fdopendir(copy) else {
            let code = errno
            close(copy)
            throw .system(attempt: attempt, code: code)
        }
        defer { closedir(stream) }
        var names: [EntryName] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { buffer in
                EntryName(bytes: buffer.prefix { $0 != 0 }.map { CChar(bitPattern: $0) } + [0])
            }
            if name.text != ".", name.text != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Free, total and used bytes of the file system that holds it.
    package func space(attempt: String) throws(VolumeError) -> (free: Int, total: Int, used: Int) {
        var free: Int64 = 0
        var total: Int64 = 0
        var used: Int64 = 0
        let status = clinux_volume_space(descriptor, &free, &total, &used)
        guard status == 0 else { throw .system(attempt: attempt, code: -status) }
        return (Int(free), Int(total), Int(used))
    }
}

/// A name in a folder: any bytes but zero and `/`, and often no proper text.
package struct EntryName: Hashable, Comparable, Sendable {
    /// The bytes, with a zero at the end.
    package let bytes: [CChar]

    init(bytes: [CChar]) { self.bytes = bytes }

    /// The name with these bytes; there may be no zero among them.
    package init(_ text: String) { bytes = text.utf8.map { CChar(bitPattern: $0) } + [0] }

    /// The name as text; what is no UTF-8 becomes replacement characters.
    package var text: String {
        String(decoding: bytes.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    package static func < (left: EntryName, right: EntryName) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

/// True for a regular file by its mode.
package func isRegular(_ mode: mode_t) -> Bool { mode & S_IFMT == S_IFREG }

/// True for a folder by its mode.
package func isFolder(_ mode: mode_t) -> Bool { mode & S_IFMT == S_IFDIR }
