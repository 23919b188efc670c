import Base
import CLinux
import CSodium
import Glibc
import Synchronization
import VolumeStore

/// What a request for a file of a repository may end with, beside success.
enum BlobRefusal: Error {
    /// There is no such file or repository.
    case missing
    /// The path, the name or the range is none.
    case improper
    /// The content is not what its name says.
    case wrongContent
    /// It may not be replaced or removed.
    case forbidden
    /// It is larger than allowed.
    case tooLarge
    /// The quota, or the disk, has no room.
    case noRoom
    /// The disk failed.
    case failed(VolumeError)
}

/// Which file of which repository; made of a request's path only when every part is proper.
struct BlobPath: Hashable, Sendable {
    enum Kind: String, CaseIterable, Sendable {
        case config, data, keys, locks, snapshots, index
    }

    /// The two folders of the repository.
    let owner: String
    let repository: String
    /// Nil for the repository itself.
    let kind: Kind?
    /// 64 digits; nil for a folder, and for `config`.
    let name: String?

    /// Reads `/owner/repository/`, and below it `config`, `KIND/` or `KIND/NAME`; nil for all else.
    init?(_ path: String) {
        guard path.utf8.count <= 512, path.hasPrefix("/") else { return nil }
        var parts = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        let isFolder = parts.last == ""
        if isFolder { parts.removeLast() }
        guard (2...4).contains(parts.count), BlobPath.isProper(parts[0]),
            BlobPath.isProper(parts[1])
        else { return nil }
        owner = String(parts[0])
        repository = String(parts[1])
        switch parts.count {
        case 2:
            kind = nil
            name = nil
        case 3:
            guard let kind = Kind(rawValue: String(parts[2])), isFolder == (kind != .config) else {
                return nil
            }
            self.kind = kind
            name = nil
        default:
            guard let kind = Kind(rawValue: String(parts[2])), kind != .config, !isFolder,
                ContentDigest(parts[3]) != nil
            else { return nil }
            self.kind = kind
            name = String(parts[3])
        }
    }

    /// The repository, as it is named to whoever allows pruning.
    var repositoryPath: String { "\(owner)/\(repository)" }

    private static func isProper(_ part: Substring) -> Bool {
        (1...128).contains(part.utf8.count) && part.utf8.first != UInt8(ascii: ".")
            && part.utf8.allSatisfy {
                97...122 ~= $0 || 48...57 ~= $0 || $0 == UInt8(ascii: "-")
                    || $0 == UInt8(ascii: ".")
            }
    }
}

/// The files of peers' repositories in one folder: named by what is in them, whole or not there.
///
/// Its calls block.
final class BlobStore: Sendable {
    /// What an unfinished file's name begins with.
    private static let unfinished = "unfinished-"
    private static let attempt = "keep a peer's backup"
    private static let folderFlags = O_RDONLY | O_DIRECTORY

    private let root: OpenFile
    private let quota: Int
    private let used = Mutex(0)

    /// Opens the folder, removes unfinished files and counts the rest.
    init(folder: String, quota: Int) throws(BackupError) {
        self.quota = quota
        do throws(VolumeError) {
            var made = ""
            for part in folder.split(separator: "/") {
                made += "/" + part
                try makeFolder(made, attempt: BlobStore.attempt)
            }
            root = try OpenFile(made, flags: BlobStore.folderFlags, attempt: BlobStore.attempt)
            let count = try BlobStore.tidy(root, depth: 0)
            used.withLock { $0 = count }
        } catch { throw .file(error) }
    }

    /// Bytes that all repositories take.
    var usedBytes: Int { used.withLock { $0 } }

    /// Takes room of the quota.
    func take(_ bytes: Int) throws(BlobRefusal) {
        let isTaken = used.withLock { used in
            guard used + bytes <= quota else { return false }
            used += bytes
            return true
        }
        guard isTaken else { throw .noRoom }
    }

    /// Gives room of the quota back.
    func give(_ bytes: Int) { used.withLock { $0 -= bytes } }

    /// Makes the folders of a repository.
    func create(_ path: BlobPath) throws(BlobRefusal) {
        try attempting {
            let owner = try subfolder(root, path.owner, makes: true)
            let repository = try subfolder(owner, path.repository, makes: true)
            for kind in BlobPath.Kind.allCases where kind != .config {
                _ = try subfolder(repository, kind.rawValue, makes: true)
            }
            try repository.synchronize(attempt: BlobStore.attempt)
            try owner.synchronize(attempt: BlobStore.attempt)
            try root.synchronize(attempt: BlobStore.attempt)
        }
    }

    /// Opens a file for reading; its size beside it.
    func open(_ path: BlobPath) throws(BlobRefusal) -> (file: OpenFile, size: Int) {
        try attempting {
            let (folder, name) = try place(path, makes: false)
            let file = try OpenFile(
                in: folder, name, flags: O_RDONLY, attempt: BlobStore.attempt)
            return (file, Int(try file.status(attempt: BlobStore.attempt).st_size))
        }
    }

    /// The names and sizes of all files of a kind.
    func list(_ path: BlobPath) throws(BlobRefusal) -> [(name: String, size: Int)] {
        try attempting {
            let top = try kindFolder(path, makes: false)
            var folders = [top]
            if path.kind == .data {
                folders = try top.names(attempt: BlobStore.attempt).map {
                    try subfolder(top, $0, makes: false)
                }
            }
            var found: [(name: String, size: Int)] = []
            for folder in folders {
                for name in try folder.names(attempt: BlobStore.attempt)
                where ContentDigest(name) != nil {
                    guard let facts = try folder.status(of: name, attempt: BlobStore.attempt)
                    else { continue }
                    found.append((name, Int(facts.st_size)))
                }
            }
            return found
        }
    }

    /// Removes a file.
    func remove(_ path: BlobPath) throws(BlobRefusal) {
        let size = try attempting {
            let (folder, name) = try place(path, makes: false)
            guard let facts = try folder.status(of: name, attempt: BlobStore.attempt),
                unlinkat(folder.descriptor, name, 0) == 0
            else { throw VolumeError.system(attempt: BlobStore.attempt, code: ENOENT) }
            try folder.synchronize(attempt: BlobStore.attempt)
            return Int(facts.st_size)
        }
        give(size)
    }

    /// Begins a file; nothing shows of it before it is finished.
    func begin(_ path: BlobPath) throws(BlobRefusal) -> UnfinishedBlob {
        try attempting {
            let (folder, name) = try place(path, makes: true)
            var random = SystemRandomNumberGenerator()
            let own = BlobStore.unfinished + String(random.next(), radix: 16)
            let file = try OpenFile(
                in: folder, own, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600,
                attempt: BlobStore.attempt)
            return UnfinishedBlob(
                store: self, path: path, folder: folder, file: file, ownName: own, name: name)
        }
    }

    // MARK: - Folders

    private func place(
        _ path: BlobPath, makes: Bool
    ) throws(VolumeError) -> (folder: OpenFile, name: String) {
        let folder = try kindFolder(path, makes: false)
        guard let name = path.name else { return (folder, "config") }
        guard path.kind == .data else { return (folder, name) }
        return (try subfolder(folder, String(name.prefix(2)), makes: makes), name)
    }

    /// The folder of the repository, or of one kind of files in it.
    private func kindFolder(_ path: BlobPath, makes: Bool) throws(VolumeError) -> OpenFile {
        let owner = try subfolder(root, path.owner, makes: false)
        let repository = try subfolder(owner, path.repository, makes: false)
        guard let kind = path.kind, kind != .config else { return repository }
        return try subfolder(repository, kind.rawValue, makes: makes)
    }

    private func subfolder(
        _ folder: OpenFile, _ name: String, makes: Bool
    ) throws(VolumeError) -> OpenFile {
        if makes, mkdirat(folder.descriptor, name, 0o700) == 0 {
            try folder.synchronize(attempt: BlobStore.attempt)
        }
        return try OpenFile(
            in: folder, name, flags: BlobStore.folderFlags, attempt: BlobStore.attempt)
    }

    /// Removes unfinished files and counts the bytes of all others, at most five folders deep.
    private static func tidy(_ folder: OpenFile, depth: Int) throws(VolumeError) -> Int {
        var bytes = 0
        for name in try folder.names(attempt: attempt) {
            guard let facts = try folder.status(of: name, attempt: attempt) else { continue }
            if isFolder(facts.st_mode), depth < 5 {
                bytes += try tidy(
                    try OpenFile(in: folder, name, flags: folderFlags, attempt: attempt),
                    depth: depth + 1)
            } else if name.hasPrefix(unfinished) {
                unlinkat(folder.descriptor, name, 0)
            } else if isRegular(facts.st_mode) {
                bytes += Int(facts.st_size)
            }
        }
        return bytes
    }

    private func attempting<Value>(
        _ body: () throws -> Value
    ) throws(BlobRefusal) -> Value {
        do {
            return try body()
        } catch let error as VolumeError {
            throw BlobRefusal(error)
        } catch {
            throw error as? BlobRefusal ?? .missing
        }
    }
}

extension BlobRefusal {
    init(_ error: VolumeError) {
        switch error {
        case .system(_, ENOENT), .system(_, ENOTDIR): self = .missing
        case .system(_, ELOOP): self = .forbidden
        default: self = error.isDiskFull ? .noRoom : .failed(error)
        }
    }
}

/// A file that is being received: gone again unless it is finished.
///
/// Used by one request; its calls block.
final class UnfinishedBlob {
    private let store: BlobStore
    private let path: BlobPath
    private let folder: OpenFile
    private let file: OpenFile
    private let ownName: String
    private let name: String
    private var hash = crypto_hash_sha256_state()
    private var size = 0
    private var isKept = false

    fileprivate init(
        store: BlobStore, path: BlobPath, folder: OpenFile, file: OpenFile, ownName: String,
        name: String
    ) {
        self.store = store
        self.path = path
        self.folder = folder
        self.file = file
        self.ownName = ownName
        self.name = name
        crypto_hash_sha256_init(&hash)
    }

    deinit {
        unlinkat(folder.descriptor, ownName, 0)
        if !isKept { store.give(size) }
    }

    /// Appends bytes.
    func add(_ bytes: [UInt8]) throws(BlobRefusal) {
        try store.take(bytes.count)
        size += bytes.count
        crypto_hash_sha256_update(&hash, bytes, UInt64(bytes.count))
        do throws(VolumeError) {
            try file.writeAll(bytes, attempt: "keep a peer's backup")
        } catch { throw BlobRefusal(error) }
    }

    /// Shows the file under its name, when its content is what the name says and the disk has it.
    ///
    /// One that is there already is not replaced: it has the same content.
    func finish() throws(BlobRefusal) {
        if let wanted = path.name {
            var digest = [UInt8](repeating: 0, count: 32)
            crypto_hash_sha256_final(&hash, &digest)
            guard hexadecimal(digest) == wanted else { throw .wrongContent }
        }
        do throws(VolumeError) {
            try file.synchronize(attempt: "keep a peer's backup")
            if linkat(folder.descriptor, ownName, folder.descriptor, name, 0) == 0 {
                isKept = true
            } else {
                let code = errno
                guard code == EEXIST else {
                    throw .system(attempt: "keep a peer's backup", code: code)
                }
            }
            try folder.synchronize(attempt: "keep a peer's backup")
        } catch { throw BlobRefusal(error) }
        if !isKept, path.kind == .config { throw .forbidden }
    }
}
