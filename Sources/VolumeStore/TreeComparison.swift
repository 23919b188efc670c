import CLinux
import Glibc
import VolumePlan

/// Compares two trees file by file: names, kinds, owners, modes, times, links, attributes and every
/// byte.
///
/// Symbolic links are compared, never followed.
struct TreeComparison {
    /// The most that one step reads of each side, in bytes.
    private static let stepBytes = 1 << 20

    /// One folder under way: both sides, and the names still to compare, last first.
    private struct Level {
        let left: OpenFile
        let right: OpenFile
        let path: String
        var names: [EntryName]
    }

    /// One file under way.
    private struct Contents {
        let left: OpenFile
        let right: OpenFile
        let path: String
        let size: Int
        var offset = 0
    }

    private let name: VolumeName
    private let attempt: String
    private var levels: [Level] = []
    private var contents: Contents?
    /// Which file of the copy each file with several names became.
    private var links: [ino_t: ino_t] = [:]
    private var leftBuffer = [UInt8](repeating: 0, count: TreeComparison.stepBytes)
    private var rightBuffer = [UInt8](repeating: 0, count: TreeComparison.stepBytes)

    /// Bytes compared so far.
    private(set) var done = 0

    init(_ left: String, _ right: String, name: VolumeName, attempt: String) throws(VolumeError) {
        self.name = name
        self.attempt = attempt
        let left = try OpenFile(left, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        let right = try OpenFile(right, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        try compareFacts(
            try left.status(attempt: attempt), try right.status(attempt: attempt), ".")
        try enter(left, right, path: "")
    }

    /// Compares a little more; false when all was compared and is the same.
    mutating func step() throws(VolumeError) -> Bool {
        if contents != nil {
            try compareMore()
            return true
        }
        guard !levels.isEmpty else { return false }
        let index = levels.count - 1
        guard let entry = levels[index].names.popLast() else {
            levels.removeLast()
            return !levels.isEmpty
        }
        try compare(entry, in: levels[index])
        return true
    }

    private mutating func enter(
        _ left: OpenFile, _ right: OpenFile, path: String
    ) throws(VolumeError) {
        try compareAttributes(left, right, path)
        let names = try left.entries(attempt: attempt)
        let others = try right.entries(attempt: attempt)
        guard names == others else {
            let odd = Set(names).symmetricDifference(others).min()?.text ?? ""
            throw differs("\(path)\(odd)", "only one side has it")
        }
        levels.append(Level(left: left, right: right, path: path, names: names.reversed()))
    }

    private mutating func compare(_ entry: EntryName, in level: Level) throws(VolumeError) {
        let path = "\(level.path)\(entry.text)"
        guard let left = try level.left.status(of: entry, attempt: attempt),
            let right = try level.right.status(of: entry, attempt: attempt)
        else { throw differs(path, "it went away") }
        try compareFacts(left, right, path)
        if !isFolder(left.st_mode), left.st_nlink > 1 {
            if let known = links[left.st_ino] {
                guard known == right.st_ino else { throw differs(path, "it is another link") }
                // Its bytes were compared under its first name.
                return
            }
            links[left.st_ino] = right.st_ino
        }
        switch left.st_mode & S_IFMT {
        case S_IFDIR:
            try enter(
                try open(level.left, entry, O_DIRECTORY), try open(level.right, entry, O_DIRECTORY),
                path: "\(path)/")
        case S_IFREG:
            let (leftFile, rightFile) =
                (try open(level.left, entry, 0), try open(level.right, entry, 0))
            try compareAttributes(leftFile, rightFile, path)
            contents = Contents(
                left: leftFile, right: rightFile, path: path, size: Int(left.st_size))
        case S_IFLNK:
            guard try target(level.left, entry) == target(level.right, entry) else {
                throw differs(path, "the link leads elsewhere")
            }
        default:
            guard left.st_rdev == right.st_rdev else { throw differs(path, "another device") }
        }
    }

    private func open(
        _ folder: OpenFile, _ entry: EntryName, _ flags: Int32
    ) throws(VolumeError) -> OpenFile {
        try OpenFile(in: folder, entry, flags: O_RDONLY | O_NONBLOCK | flags, attempt: attempt)
    }

    private func target(_ folder: OpenFile, _ entry: EntryName) throws(VolumeError) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 4_097)
        let count = Int(
            clinux_volume_read_link(folder.descriptor, entry.bytes, &buffer, buffer.count))
        guard count >= 0 else { throw .system(attempt: attempt, code: Int32(-count)) }
        return Array(buffer.prefix(count))
    }

    private func compareFacts(_ left: stat, _ right: stat, _ path: String) throws(VolumeError) {
        let difference: String? =
            if left.st_mode != right.st_mode {
                "another kind or mode"
            } else if left.st_uid != right.st_uid || left.st_gid != right.st_gid {
                "another owner"
            } else if !isFolder(left.st_mode), left.st_size != right.st_size {
                "another size"
            } else if left.st_mtim.tv_sec != right.st_mtim.tv_sec
                || left.st_mtim.tv_nsec != right.st_mtim.tv_nsec
            {
                "another time of change"
            } else {
                nil
            }
        if let difference { throw differs(path, difference) }
    }

    private func compareAttributes(
        _ left: OpenFile, _ right: OpenFile, _ path: String
    ) throws(VolumeError) {
        let status = clinux_volume_same_attributes(left.descriptor, right.descriptor)
        guard status >= 0 else { throw .system(attempt: attempt, code: -status) }
        if status == 0 { throw differs(path, "other extended attributes") }
    }

    /// Compares the next bytes of the file under way; where both have a hole, nothing is read.
    private mutating func compareMore() throws(VolumeError) {
        guard var file = contents else { return }
        let next = min(
            try nextData(file.left, file.offset, file.size),
            try nextData(file.right, file.offset, file.size))
        guard next < file.size else {
            contents = nil
            return
        }
        let wanted = min(file.size - next, TreeComparison.stepBytes)
        let left = pread(file.left.descriptor, &leftBuffer, wanted, off_t(next))
        guard left > 0 else { throw .system(attempt: attempt, code: left == 0 ? EIO : errno) }
        let right = pread(file.right.descriptor, &rightBuffer, left, off_t(next))
        guard right >= 0 else { throw .system(attempt: attempt, code: errno) }
        guard left == right, leftBuffer.prefix(left) == rightBuffer.prefix(right) else {
            throw differs(file.path, "other bytes near \(next)")
        }
        file.offset = next + left
        done += left
        contents = file
    }

    private func nextData(
        _ file: OpenFile, _ offset: Int, _ size: Int
    ) throws(VolumeError) -> Int {
        guard offset < size else { return size }
        let data = clinux_volume_next_data(file.descriptor, Int64(offset))
        if data >= 0 { return Int(data) }
        guard data == -Int64(ENXIO) else { throw .system(attempt: attempt, code: Int32(-data)) }
        return size
    }

    private func differs(_ path: String, _ cause: String) -> VolumeError {
        .copyDiffers(name, path: String(path.prefix(300)), cause: cause)
    }
}
