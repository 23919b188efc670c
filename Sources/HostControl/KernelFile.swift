import CLinux
import Glibc

/// The small files and folders through which the kernel is asked and told.
enum KernelFile {
    /// The most bytes that are read of one file.
    static let bytesMax = 8 << 20

    /// The file's text; throws when it cannot be read.
    static func read(_ path: String) throws(HostControlError) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("read", path) }
        defer { close(descriptor) }
        var text: [UInt8] = []
        // Nearly all of these files are a line or two.
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while text.count < bytesMax {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure("read", path) }
            guard count > 0 else { break }
            text += buffer[..<count]
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The file's text; nil when there is no such file.
    static func readIfPresent(_ path: String) throws(HostControlError) -> String? {
        do {
            return try read(path)
        } catch .file(_, _, let code) where code == ENOENT || code == ENODEV {
            return nil
        }
    }

    /// The file's text without the line break at its end; nil when it cannot be read.
    static func line(_ path: String) -> String? {
        guard var text = (try? read(path))?[...] else { return nil }
        while text.last?.isNewline == true { text.removeLast() }
        return String(text)
    }

    /// Writes the text with one system call, as kernel files want it.
    static func write(_ value: String, to path: String) throws(HostControlError) {
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("write `\(value)` to", path) }
        defer { close(descriptor) }
        let bytes = Array(value.utf8)
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
            throw failure("write `\(value)` to", path)
        }
    }

    /// True when the path leads to anything.
    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// True when the file is a mounted namespace and not what an earlier one left behind.
    static func isNamespace(_ path: String) -> Bool { clinux_is_namespace(path) }

    /// Makes the folder; it is fine when it exists.
    static func makeFolder(_ path: String) throws(HostControlError) {
        guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
            throw failure("make the folder", path)
        }
    }

    /// The names in a folder, sorted; empty when there is no such folder.
    static func names(in path: String, foldersOnly: Bool) -> [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let isFolder = entry.pointee.d_type == UInt8(DT_DIR)
            // The bound of d_name is 256 bytes with its NUL, and the kernel always ends it.
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard name != ".", name != "..", isFolder || !foldersOnly else { continue }
            names.append(name)
        }
        return names.sorted()
    }

    /// The full path of a program in PATH; nil when it is not there.
    static func program(_ name: String) -> String? {
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/sbin:/usr/bin:/sbin:/bin"
        return path.split(separator: ":").map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }

    private static func failure(_ operation: String, _ path: String) -> HostControlError {
        .file(operation: operation, path: path, code: errno)
    }
}
