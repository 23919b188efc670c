/// One line of /proc/self/mountinfo.
package struct MountEntry: Hashable, Sendable {
    /// The device as `major:minor`.
    package var device: String
    /// Where it is mounted.
    package var mountPoint: String
    /// The options of this mount alone, such as `ro`.
    package var options: [String]
    /// The kind of file system.
    package var kind: String
    /// The options of the file system, such as `rw` and `upperdir=...`.
    package var fileSystemOptions: [String]
}

/// The mounts of a mount namespace, as the kernel lists them.
///
/// Source: proc_pid_mountinfo(5).
package struct MountTable: Sendable {
    /// The mounts, older ones first.
    package let entries: [MountEntry]

    /// Parses the file; lines that are not as documented are left out.
    package init(_ bytes: [UInt8]) {
        entries = bytes.split(separator: UInt8(ascii: "\n")).compactMap { line in
            let fields = line.split(separator: UInt8(ascii: " ")).map(MountTable.unescaped)
            guard fields.count > 6, let dash = fields[6...].firstIndex(of: "-"),
                fields.indices.contains(dash + 3)
            else { return nil }
            return MountEntry(
                device: fields[2], mountPoint: fields[4],
                options: fields[5].split(separator: ",").map(String.init),
                kind: fields[dash + 1],
                fileSystemOptions: fields[dash + 3].split(separator: ",").map(String.init))
        }
    }

    /// The mount that one sees at a path: the newest there.
    package func mount(at path: String) -> MountEntry? {
        entries.last { $0.mountPoint == path }
    }

    /// All mounts at or below a folder, the newest first.
    package func mounts(below folder: String) -> [MountEntry] {
        entries.reversed().filter { $0.mountPoint.hasPrefix("\(folder)/") }
    }

    /// All mounts of a device (`major:minor`).
    package func mounts(of device: String) -> [MountEntry] {
        entries.filter { $0.device == device }
    }

    /// All overlays that write to this folder.
    package func overlays(writingTo folder: String) -> [MountEntry] {
        entries.filter {
            $0.kind == "overlay" && $0.fileSystemOptions.contains("upperdir=\(folder)")
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
