import Base
import CLinux
import CSodium
import Glibc
import VolumeStore

/// What a tree of files is: BLAKE2b with 32 bytes over all that a backup has to bring back.
package struct ContentDigest: Hashable, Sendable, CustomStringConvertible {
    /// 64 lower-case hexadecimal digits.
    package let description: String

    /// Reads 64 lower-case hexadecimal digits; nil for anything else.
    package init?(_ text: some StringProtocol) {
        guard text.utf8.count == 64,
            text.utf8.allSatisfy({ 48...57 ~= $0 || 97...102 ~= $0 })
        else { return nil }
        description = String(text)
    }

    fileprivate init(_ bytes: [UInt8]) { description = hexadecimal(bytes) }
}

/// Reads a tree piece by piece and computes its digest.
///
/// In it are names, kinds, modes, owners, times of change, extended attributes, link targets, device
/// numbers, which names are one file, and every byte; in the order of the names' bytes, so that the
/// same tree has the same digest anywhere. Not in it: holes (they read as zeros), access times, how
/// many links a folder has, sockets (a backup has none), and an empty `lost+found` at the top, which
/// belongs to the file system. The same rules as `TreeComparison`; links are never followed.
///
/// A digest for a move leaves nothing out but holes and access times: a backup has no sockets and
/// takes no odd links, a copy on another host has both.
///
/// Memory: the names of the folders on the way, one entry for each file with several names, and two
/// buffers.
package struct TreeDigest {
    /// The most that one step reads, in bytes.
    private static let stepBytes = 1 << 20
    /// A run of zeros of this size, at a multiple of it, is left out, whether it is a hole or not.
    private static let blockBytes = 1 << 16

    /// One folder under way, and its names still to read, last first.
    private struct Level {
        let folder: OpenFile
        let path: String
        var names: [EntryName]
    }

    /// One file under way.
    private struct Contents {
        let file: OpenFile
        let path: String
        let size: Int
        var offset = 0
    }

    /// What a file is, whatever its names.
    private struct FileNumber: Hashable {
        let device: dev_t
        let inode: ino_t
    }

    /// What a digest is compared for.
    package enum Purpose: Hashable, Sendable {
        /// Of what restic can keep.
        case backup
        /// Of everything.
        case move
    }

    private let attempt: String
    private let purpose: Purpose
    private let readsFromDisk: Bool
    private let device: dev_t
    private let hash = BlakeState()
    private var levels: [Level] = []
    private var contents: Contents?
    /// The number, in the order of the walk, of each file with several names.
    private var links: [FileNumber: Int] = [:]
    private var buffer = [UInt8](repeating: 0, count: TreeDigest.stepBytes)
    private var attributes = [UInt8](repeating: 0, count: 4_096)

    /// Bytes of files read so far, holes included.
    package private(set) var bytes = 0
    /// Names seen so far.
    package private(set) var files = 0
    /// Mode, owner, time and attributes of the folder itself.
    package let root: RootFacts

    /// Opens the tree's folder; `attempt` is for errors.
    ///
    /// `readsFromDisk`: what is cached of the files, and was synchronised, is read again.
    package init(
        _ folder: String, for purpose: Purpose = .backup, readsFromDisk: Bool = false,
        attempt: String
    ) throws(BackupError) {
        self.attempt = attempt
        self.purpose = purpose
        self.readsFromDisk = readsFromDisk
        do {
            let open = try OpenFile(folder, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
            let facts = try open.status(attempt: attempt)
            device = facts.st_dev
            let found = try readAttributes(of: open, into: &attributes, attempt: attempt)
            root = RootFacts(facts, attributes: found)
            hash.add(text: purpose == .backup ? "shoal tree 1" : "shoal move 1")
            add(facts)
            hash.add(found)
            var names = try open.entries(attempt: attempt)
            let lostAndFound = EntryName("lost+found")
            if purpose == .backup, let place = names.firstIndex(of: lostAndFound),
                try isEmptyFolder(lostAndFound, in: open)
            {
                names.remove(at: place)
            }
            levels = [Level(folder: open, path: "", names: names.reversed())]
        } catch let error as VolumeError {
            throw .file(error)
        } catch {
            throw .failed(attempt: attempt, cause: "\(error)")
        }
    }

    /// Reads a little more; false when all was read.
    package mutating func step() throws(BackupError) -> Bool {
        do {
            if contents != nil {
                try readMore()
                return true
            }
            guard !levels.isEmpty else { return false }
            let index = levels.count - 1
            guard let entry = levels[index].names.popLast() else {
                levels.removeLast()
                hash.add(number: UInt64(UInt8(ascii: "e")))
                return !levels.isEmpty
            }
            try read(entry, in: levels[index])
            return true
        } catch let error as BackupError {
            throw error
        } catch let error as VolumeError {
            throw .file(error)
        } catch {
            throw .failed(attempt: attempt, cause: "\(error)")
        }
    }

    /// The digest, once `step` said false; the walk must not be used again.
    package func finish() -> ContentDigest { ContentDigest(hash.finish()) }

    private mutating func read(_ entry: EntryName, in level: Level) throws {
        let path = "\(level.path)\(entry.text)"
        guard let facts = try level.folder.status(of: entry, attempt: attempt) else {
            throw BackupError.notKeepable(path: path, cause: "it went away while it was read")
        }
        // Restic leaves sockets out: they are nothing without the process that made them.
        guard facts.st_mode & S_IFMT != S_IFSOCK || purpose == .move else { return }
        // Of folders only: an overlay's files may have other devices' numbers.
        guard facts.st_dev == device || !isFolder(facts.st_mode) else {
            throw BackupError.notKeepable(
                path: path, cause: "another file system is mounted there; unmount it")
        }
        files += 1
        hash.add(name: entry)
        add(facts)
        if !isFolder(facts.st_mode), facts.st_nlink > 1 {
            let number = FileNumber(device: facts.st_dev, inode: facts.st_ino)
            hash.add(number: UInt64(links[number] ?? 0))
            // Its bytes were read under its first name.
            guard links[number] == nil else { return }
            links[number] = files
        }
        switch facts.st_mode & S_IFMT {
        case S_IFDIR:
            let folder = try open(level.folder, entry, O_DIRECTORY)
            hash.add(try readAttributes(of: folder, into: &attributes, attempt: attempt))
            let names = try folder.entries(attempt: attempt)
            levels.append(Level(folder: folder, path: "\(path)/", names: names.reversed()))
        case S_IFREG:
            let file = try open(level.folder, entry, 0)
            // What the disk has is to be read, not what memory remembers of writing it.
            if readsFromDisk { posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_DONTNEED) }
            hash.add(try readAttributes(of: file, into: &attributes, attempt: attempt))
            contents = Contents(file: file, path: path, size: Int(facts.st_size))
        case S_IFLNK:
            let target = try target(of: entry, in: level.folder)
            // Restic before 0.16 would bring back another one.
            guard purpose == .move || String(validating: target, as: UTF8.self) != nil else {
                throw BackupError.notKeepable(
                    path: path, cause: "the link's target is no UTF-8; make the link anew")
            }
            hash.add(target)
        default: hash.add(number: UInt64(facts.st_rdev))
        }
    }

    private func open(_ folder: OpenFile, _ entry: EntryName, _ flags: Int32) throws -> OpenFile {
        try OpenFile(in: folder, entry, flags: O_RDONLY | O_NONBLOCK | flags, attempt: attempt)
    }

    private func isEmptyFolder(_ entry: EntryName, in folder: OpenFile) throws -> Bool {
        guard let facts = try folder.status(of: entry, attempt: attempt), isFolder(facts.st_mode)
        else { return false }
        return try open(folder, entry, O_DIRECTORY).entries(attempt: attempt).isEmpty
    }

    private func target(of entry: EntryName, in folder: OpenFile) throws -> [UInt8] {
        var text = [UInt8](repeating: 0, count: 4_097)
        let count = Int(
            clinux_volume_read_link(folder.descriptor, entry.bytes, &text, text.count))
        guard count >= 0 else {
            throw VolumeError.system(attempt: attempt, code: Int32(-count))
        }
        return Array(text.prefix(count))
    }

    private func add(_ facts: stat) {
        for number in [
            UInt64(facts.st_mode), UInt64(facts.st_uid), UInt64(facts.st_gid),
            isFolder(facts.st_mode) ? 0 : UInt64(facts.st_size),
            UInt64(bitPattern: Int64(facts.st_mtim.tv_sec)), UInt64(facts.st_mtim.tv_nsec),
        ] { hash.add(number: number) }
    }

    /// Reads the next bytes of the file under way; holes are skipped.
    private mutating func readMore() throws {
        guard var file = contents else { return }
        let next = try nextData(file)
        bytes += next - file.offset
        guard next < file.size else {
            hash.add(number: .max)
            contents = nil
            return
        }
        let count = pread(
            file.file.descriptor, &buffer, min(file.size - next, TreeDigest.stepBytes), off_t(next))
        guard count >= 0 else { throw VolumeError.system(attempt: attempt, code: errno) }
        guard count > 0 else {
            throw BackupError.notKeepable(
                path: file.path, cause: "it became shorter while it was read")
        }
        // Whole blocks, or up to the end: a short read would make others of them.
        let usable = next + count == file.size ? count : count - count % TreeDigest.blockBytes
        guard usable > 0 else { throw VolumeError.system(attempt: attempt, code: EIO) }
        for start in stride(from: 0, to: usable, by: TreeDigest.blockBytes) {
            hash.add(
                block: (next + start) / TreeDigest.blockBytes,
                of: buffer, start..<min(start + TreeDigest.blockBytes, usable))
        }
        bytes += usable
        file.offset = next + usable
        contents = file
    }

    /// Where the next bytes are that may be other than zero, at a multiple of a block.
    private func nextData(_ file: Contents) throws -> Int {
        guard file.offset < file.size else { return file.size }
        let data = clinux_volume_next_data(file.file.descriptor, Int64(file.offset))
        guard data >= 0 else {
            guard data == -Int64(ENXIO) else {
                throw VolumeError.system(attempt: attempt, code: Int32(-data))
            }
            return file.size
        }
        return max(Int(data) / TreeDigest.blockBytes * TreeDigest.blockBytes, file.offset)
    }
}

/// The extended attributes of an open file, in the one form that ``RootFacts`` can set again.
func readAttributes(
    of file: OpenFile, into buffer: inout [UInt8], attempt: String
) throws(VolumeError) -> [UInt8] {
    while true {
        let count = clinux_volume_attributes(file.descriptor, &buffer, buffer.count)
        if count >= 0 { return Array(buffer.prefix(Int(count))) }
        guard count == -Int64(ERANGE), buffer.count < 64 << 20 else {
            throw .system(attempt: attempt, code: Int32(-count))
        }
        buffer = [UInt8](repeating: 0, count: buffer.count * 4)
    }
}

/// A BLAKE2b under way.
///
/// On the heap: libsodium wants its state at a multiple of 64.
private final class BlakeState {
    private let memory: UnsafeMutableRawPointer
    private var state: OpaquePointer { OpaquePointer(memory) }

    init() {
        memory = .allocate(byteCount: crypto_generichash_statebytes(), alignment: 64)
        crypto_generichash_init(state, nil, 0, 32)
    }

    deinit { memory.deallocate() }

    func add(number: UInt64) {
        withUnsafeBytes(of: number.littleEndian) { add($0) }
    }

    /// Adds bytes with their count, so that no two lists of them are the same.
    func add(_ bytes: [UInt8]) {
        add(number: UInt64(bytes.count))
        bytes.withUnsafeBytes { add($0) }
    }

    func add(text: String) { add(Array(text.utf8)) }

    func add(name: EntryName) { add(name.bytes.dropLast().map { UInt8(bitPattern: $0) }) }

    /// Adds a block of a file, unless it is all zeros.
    func add(block number: Int, of buffer: [UInt8], _ range: Range<Int>) {
        buffer.withUnsafeBytes { bytes in
            let block = UnsafeRawBufferPointer(rebasing: bytes[range])
            guard let start = block.baseAddress, !isZero(start, block.count) else { return }
            add(number: UInt64(number))
            add(block)
        }
    }

    func finish() -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        crypto_generichash_final(state, &digest, digest.count)
        return digest
    }

    private func add(_ bytes: UnsafeRawBufferPointer) {
        crypto_generichash_update(
            state, bytes.bindMemory(to: UInt8.self).baseAddress,
            UInt64(bytes.count))
    }

    /// All bytes are the first one, and that is zero.
    private func isZero(_ start: UnsafeRawPointer, _ count: Int) -> Bool {
        count == 0
            || start.load(as: UInt8.self) == 0 && memcmp(start, start + 1, count - 1) == 0
    }
}
