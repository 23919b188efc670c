import CLinux
import Glibc

/// A process that has a file open.
package struct FileUser: Hashable, Sendable, CustomStringConvertible {
    /// The process.
    package var process: Int32
    /// Its name, as ps(1) shows it.
    package var name: String
    /// The file, as that process names it.
    package var path: String
    /// The file's number.
    package var inode: UInt64

    package var description: String { "process \(process) (\(name)) with \(path)" }
}

/// Who has which files open, from /proc.
enum OpenFiles {
    /// Processes with open files on a mounted file system (`major:minor`), one entry a file, at most
    /// `maximum`.
    ///
    /// `writersOnly`: only files that may be written to. Found by device, since a container has
    /// other names for its files than we have.
    static func users(ofDevice device: String, writersOnly: Bool, maximum: Int) -> [FileUser] {
        let attempt = "list processes"
        guard let proc = try? OpenFile("/proc", flags: O_RDONLY | O_DIRECTORY, attempt: attempt),
            let names = try? proc.names(attempt: attempt)
        else { return [] }
        var users: [FileUser] = []
        for process in names.compactMap({ Int32($0) }) where users.count < maximum {
            users += files(of: process, device: device, writersOnly: writersOnly)
        }
        return Array(users.prefix(maximum))
    }

    private static func files(
        of process: Int32, device: String, writersOnly: Bool
    ) -> [FileUser] {
        let attempt = "list open files"
        let folder = "/proc/\(process)/fd"
        guard
            let descriptors = try? OpenFile(
                folder, flags: O_RDONLY | O_DIRECTORY, attempt: attempt),
            let names = try? descriptors.names(attempt: attempt)
        else { return [] }
        let links =
            names.map { "\(folder)/\($0)" }
            + (writersOnly ? [] : ["/proc/\(process)/cwd", "/proc/\(process)/root"])
        var users: [FileUser] = []
        for path in links {
            guard let target = link(path), target.hasPrefix("/"),
                let inode = inode(of: path, device: device),
                !writersOnly || isOpenForWriting(path)
            else { continue }
            users.append(
                FileUser(
                    process: process, name: title(of: process), path: target, inode: inode))
        }
        return users
    }

    /// The permissions of such a link are the modes that the file was opened with.
    private static func isOpenForWriting(_ path: String) -> Bool {
        var facts = stat()
        return lstat(path, &facts) == 0 && facts.st_mode & S_IWUSR != 0
    }

    private static func inode(of path: String, device: String) -> UInt64? {
        var major: UInt32 = 0
        var minor: UInt32 = 0
        var inode: UInt64 = 0
        guard clinux_volume_identify(path, &major, &minor, &inode) == 0,
            "\(major):\(minor)" == device
        else { return nil }
        return inode
    }

    private static func link(_ path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 4_096)
        let count = Int(clinux_volume_read_link(AT_FDCWD, path, &buffer, buffer.count))
        return count > 0 ? String(decoding: buffer.prefix(count), as: UTF8.self) : nil
    }

    private static func title(of process: Int32) -> String {
        let attempt = "read a process's name"
        guard
            let file = try? OpenFile("/proc/\(process)/comm", flags: O_RDONLY, attempt: attempt),
            let bytes = try? file.readAll(maximum: 64, attempt: attempt)
        else { return "?" }
        return String(decoding: bytes.prefix { $0 != 10 }, as: UTF8.self)
    }
}
