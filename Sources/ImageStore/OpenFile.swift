import CLinux
import Glibc

/// An open file or folder; closed when the last reference goes.
final class OpenFile: Sendable {
    /// The descriptor; valid as long as this object lives.
    let descriptor: Int32

    /// Takes over a descriptor.
    init(adopting descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// Opens a path from the process's root or working folder.
    convenience init(path: String, flags: Int32, mode: mode_t = 0, attempt: String) throws {
        try self.init(folder: AT_FDCWD, name: path, flags: flags, mode: mode, attempt: attempt)
    }

    /// Opens a name below a folder, never through a symbolic link at its end.
    convenience init(
        in folder: OpenFile, _ name: String, flags: Int32, mode: mode_t = 0, attempt: String
    ) throws {
        try self.init(
            folder: folder.descriptor, name: name, flags: flags | O_NOFOLLOW, mode: mode,
            attempt: attempt)
    }

    private convenience init(
        folder: Int32, name: String, flags: Int32, mode: mode_t, attempt: String
    ) throws {
        let descriptor = clinux_image_open(folder, name, flags, mode)
        guard descriptor >= 0 else { throw ImageError(attempt: attempt, code: -descriptor) }
        self.init(adopting: descriptor)
    }

    deinit {
        close(descriptor)
    }

    /// What stat(2) says of it.
    func status(naming name: String) throws -> stat {
        var facts = stat()
        guard fstat(descriptor, &facts) == 0 else {
            throw ImageError(attempt: "examine \(name)", code: errno)
        }
        return facts
    }

    /// Reads up to `maximum` bytes at an offset; fewer only at the end of the file.
    func read(offset: Int, maximum: Int, naming name: String) throws -> [UInt8] {
        let rest = try Int(status(naming: name).st_size) - offset
        guard rest > 0 else { return [] }
        let size = min(rest, maximum)
        return try [UInt8](unsafeUninitializedCapacity: size) { buffer, filled in
            while filled < size {
                let count = pread(
                    descriptor, buffer.baseAddress.map { $0 + filled }, size - filled,
                    off_t(offset + filled))
                if count < 0, errno == EINTR { continue }
                guard count >= 0 else { throw ImageError(attempt: "read \(name)", code: errno) }
                if count == 0 { break }
                filled += count
            }
        }
    }

    /// Appends all of these bytes.
    func write(_ bytes: UnsafeRawBufferPointer, naming name: String) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = Glibc.write(
                descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw ImageError(attempt: "write \(name)", code: errno) }
            rest = rest.dropFirst(count)
        }
    }

    /// Waits until the disk has it (fsync(2)).
    func synchronize(naming name: String) throws {
        guard fsync(descriptor) == 0 else {
            throw ImageError(attempt: "bring \(name) to the disk", code: errno)
        }
    }

    /// The names in this folder without `.` and `..`, unsorted, as the bytes they are with a zero
    /// at the end; at most `maximum` of them.
    func entries(maximum: Int = .max, naming name: String) throws -> [[CChar]] {
        let copy = clinux_image_open(descriptor, ".", O_RDONLY | O_DIRECTORY, 0)
        guard copy >= 0 else { throw ImageError(attempt: "list \(name)", code: -copy) }
        guard let stream = fdopendir(copy) else {
            let code = errno
            close(copy)
            throw ImageError(attempt: "list \(name)", code: code)
        }
        defer { closedir(stream) }
        var found: [[CChar]] = []
        while found.count < maximum, let entry = readdir(stream) {
            let bytes = withUnsafeBytes(of: &entry.pointee.d_name) { buffer in
                buffer.prefix { $0 != 0 }.map { CChar(bitPattern: $0) }
            }
            let dot = CChar(UInt8(ascii: "."))
            if bytes != [dot], bytes != [dot, dot] { found.append(bytes + [0]) }
        }
        return found
    }

    /// The same names as text, sorted.
    func names(maximum: Int = .max, naming name: String) throws -> [String] {
        try entries(maximum: maximum, naming: name).map {
            String(decoding: $0.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        }.sorted()
    }
}
