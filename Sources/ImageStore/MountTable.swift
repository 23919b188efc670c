import Glibc

/// The mounts of this process's mount namespace, as /proc/self/mountinfo lists them.
///
/// Source: proc_pid_mountinfo(5).
struct MountTable {
    /// The mount points of all overlay file systems, the newest last.
    let overlays: [String]

    /// Reads the table.
    static func current() throws -> MountTable {
        let name = "/proc/self/mountinfo"
        let file = try OpenFile(path: name, flags: O_RDONLY, attempt: "read \(name)")
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = read(file.descriptor, &buffer, buffer.count)
            guard count >= 0 else { throw ImageError(attempt: "read \(name)", code: errno) }
            if count == 0 { break }
            bytes += buffer.prefix(count)
        }
        return MountTable(bytes)
    }

    /// Parses a table; lines that are not as documented are left out.
    init(_ bytes: [UInt8]) {
        overlays = bytes.split(separator: UInt8(ascii: "\n")).compactMap { line in
            let fields = line.split(separator: UInt8(ascii: " "))
            guard
                fields.count > 6,
                let dash = fields[6...].firstIndex(where: { $0.elementsEqual("-".utf8) }),
                fields.indices.contains(dash + 1),
                fields[dash + 1].elementsEqual("overlay".utf8)
            else { return nil }
            return MountTable.unescaped(fields[4])
        }
    }

    /// Blanks, tabs, line ends and backslashes are written as a backslash and three octal digits.
    private static func unescaped(_ field: ArraySlice<UInt8>) -> String {
        var text: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            guard
                byte == UInt8(ascii: "\\"), digits.count == 3,
                let code = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
            else {
                text.append(byte)
                continue
            }
            text.append(code)
            rest = rest.dropFirst(3)
        }
        return String(decoding: text, as: UTF8.self)
    }
}
