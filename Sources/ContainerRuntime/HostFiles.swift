import CLinux
import Glibc

/// Small files of the host: read whole, written atomically, removed.
enum HostFiles {
    /// The largest file this room reads whole.
    static let bytesMax = 1 << 20

    /// The error of the last system call, as text.
    static var lastError: String { String(cString: strerror(errno)) }

    /// The file's bytes; nil when there is none or it cannot be read.
    static func read(_ path: String, bytesMax: Int = HostFiles.bytesMax) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return read(descriptor, bytesMax: bytesMax)
    }

    /// The last bytes of a file; nil when there is none or it cannot be read.
    static func end(of path: String, bytesMax: Int) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let size = lseek(descriptor, 0, SEEK_END)
        lseek(descriptor, max(0, size - off_t(bytesMax)), SEEK_SET)
        return read(descriptor, bytesMax: bytesMax)
    }

    /// What is left to read, up to a bound; nil when it cannot be read or is longer.
    static func read(_ descriptor: Int32, bytesMax: Int) -> [UInt8]? {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { return nil }
            guard count > 0 else { return bytes }
            guard bytes.count + count <= bytesMax else { return nil }
            bytes += buffer[..<count]
        }
    }

    /// The file as text, with what is not UTF-8 replaced; nil as with `read`.
    static func text(_ path: String) -> String? {
        read(path).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Replaces a file in one step, so that a reader sees the old or the new one, never a half.
    ///
    /// Not synced: what these files describe does not outlive the host's power either.
    static func write(_ text: String, to path: String, mode: mode_t = 0o644) throws {
        func fail() -> RuntimeError {
            RuntimeError(
                .host, "write \(path)", cause: lastError,
                advice: "check the space and the rights of that folder")
        }
        // A name of its own: two writers of one file must not take each other's half away.
        let temporary = "\(path).\(UInt32.random(in: .min ... .max)).new"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw fail() }
        fchmod(descriptor, mode)
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                let error = fail()
                close(descriptor)
                unlink(temporary)
                throw error
            }
            bytes = bytes.dropFirst(count)
        }
        close(descriptor)
        guard rename(temporary, path) == 0 else { throw fail() }
    }

    /// Makes a folder and those above it; one that exists is fine.
    static func makeFolder(_ path: String, mode: mode_t = 0o755) throws {
        if mkdir(path, mode) == 0 || errno == EEXIST { return }
        if errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex {
            try makeFolder(String(path[..<slash]), mode: 0o755)
            if mkdir(path, mode) == 0 || errno == EEXIST { return }
        }
        throw RuntimeError(
            .host, "make the folder \(path)", cause: lastError,
            advice: "run the agent as root with a writable data folder")
    }

    /// The names in a folder, sorted; empty when there is none.
    static func names(in folder: String) -> [String] {
        guard let directory = opendir(folder) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// True when something is at that path; a symbolic link counts by itself.
    static func exists(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0
    }

    /// True for a folder; a symbolic link to one is none.
    static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// When the file last changed, in milliseconds since 1970, and its size; nil when there is none.
    static func status(_ path: String) -> (modified: Int64, size: Int)? {
        var status = stat()
        guard lstat(path, &status) == 0 else { return nil }
        let time = status.st_mtim
        return (Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000, Int(status.st_size))
    }

    /// Removes a file or folder with all in it, following no symbolic link and entering no mount.
    ///
    /// A mount point below makes its `rmdir` fail, and is thereby left alone.
    static func removeTree(_ path: String, depth: Int = 0) {
        if unlink(path) == 0 || errno == ENOENT { return }
        guard depth < 8, isFolder(path) else { return }
        for name in names(in: path) { removeTree("\(path)/\(name)", depth: depth + 1) }
        rmdir(path)
    }

    /// Where a program is: itself when it has a slash, else its first place in `PATH`; nil if none.
    static func program(_ name: String) -> String? {
        if name.contains("/") { return access(name, X_OK) == 0 ? name : nil }
        let path = getenv("PATH").map { String(cString: $0) } ?? RuntimeProgram.searchPath
        return path.split(separator: ":").map { "\($0)/\(name)" }
            .first { access($0, X_OK) == 0 }
    }
}

/// The surroundings of the programs that this room runs.
enum RuntimeProgram {
    /// The search path handed to them.
    static let searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    /// A text as one word of sh(1).
    static func quoted(_ text: String) -> String {
        "'"
            + text.split(separator: "'", omittingEmptySubsequences: false).joined(
                separator: "'\\''")
            + "'"
    }
}
