import CLinux
import Glibc
import Synchronization

/// The store's folder and what is where in it: names, locks, renames and removals.
///
/// Everything is reached through descriptors opened at start, so that nobody can slip another
/// folder in between by renaming.
final class StoreFolders: Sendable {
    /// The root's path without symbolic links.
    let path: String
    let limits: ImageLimits
    let root: OpenFile
    let staging: OpenFile
    let blobs: OpenFile
    let layers: OpenFile
    let links: OpenFile
    let containersFolder: OpenFile
    private let lock: OpenFile
    private let counter = Atomic<Int>(0)

    /// Opens or makes the folders and locks them against a second agent.
    init(root path: String, limits: ImageLimits) throws {
        self.limits = limits
        try StoreFolders.makeFolders(path)
        guard let resolved = realpath(path, nil) else {
            throw ImageError(attempt: "open the image folder \(path)", code: errno)
        }
        defer { free(resolved) }
        self.path = String(cString: resolved)
        let attempt = "open the image folder \(path)"
        root = try OpenFile(path: self.path, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        lock = try OpenFile(
            in: root, "lock", flags: O_RDWR | O_CREAT, mode: 0o600, attempt: attempt)
        guard StoreFolders.takeLock(lock.descriptor) else {
            throw ImageError(
                .inUse,
                "could not open the image folder \(path): another agent uses it; stop that agent "
                    + "or give this one a data folder of its own")
        }
        staging = try StoreFolders.subfolder(of: root, "staging", path: path)
        layers = try StoreFolders.subfolder(of: root, "layers", path: path)
        links = try StoreFolders.subfolder(of: root, "l", path: path)
        containersFolder = try StoreFolders.subfolder(of: root, "containers", path: path)
        let algorithms = try StoreFolders.subfolder(of: root, "blobs", path: path)
        blobs = try StoreFolders.subfolder(of: algorithms, "sha256", path: path)
    }

    /// A name in `staging/` that this run has not used.
    func makeStagedName() -> String {
        String(counter.wrappingAdd(1, ordering: .relaxed).newValue, radix: 36)
    }

    /// A new empty file in `staging/`.
    func makeStagedFile() throws -> StagedFile {
        try StagedFile(name: makeStagedName(), in: staging)
    }

    /// Writes a file of the root folder so that after a crash it is the old one or the new one.
    func replaceFile(_ name: String, in folder: OpenFile, with bytes: [UInt8]) throws {
        let staged = try makeStagedFile()
        try bytes.withUnsafeBytes { try staged.write($0, naming: name) }
        try staged.move(to: folder, name)
        try folder.synchronize(naming: "the folder of \(name)")
    }

    /// Brings everything written so far to the disk.
    func synchronize() throws {
        let status = clinux_image_sync(staging.descriptor)
        guard status == 0 else {
            throw ImageError(attempt: "bring images to the disk of \(path)", code: -status)
        }
    }

    /// Throws `.noSpace` when writing this many bytes more would leave less than the reserve.
    func requireFree(_ size: Int, attempt: String) throws {
        let free = clinux_image_free_bytes(staging.descriptor)
        guard free >= 0 else { throw ImageError(attempt: attempt, code: Int32(-free)) }
        guard Int(free) - limits.freeBytesReserve >= size else {
            throw ImageError(
                .noSpace,
                "could not \(attempt): the disk of \(path) has \(free) bytes free, of which "
                    + "\(limits.freeBytesReserve) are a reserve; free some disk space and try again"
            )
        }
    }

    /// Removes what an earlier run left in `staging/`.
    func emptyStaging() throws {
        // The names of this run must not meet those that are there.
        let leftovers = try staging.names(naming: "the staging folder")
        let highest = leftovers.compactMap { Int($0, radix: 36) }.max() ?? 0
        counter.store(max(0, min(highest, Int.max / 2)), ordering: .relaxed)
        for name in leftovers { try removeStaged(name) }
    }

    /// Moves a name of any folder of the store into `staging/`, to be removed there, and returns
    /// the name it has there; nil when it is not there.
    ///
    /// After a crash in between, the next start goes on.
    func withdraw(_ name: String, from folder: OpenFile) throws -> String? {
        let staged = makeStagedName()
        guard renameat(folder.descriptor, name, staging.descriptor, staged) == 0 else {
            if errno == ENOENT { return nil }
            throw ImageError(attempt: "remove \(name)", code: errno)
        }
        return staged
    }

    /// Removes a file or a whole tree from `staging/`, without recursion and without following
    /// links: folders are moved up to `staging/` one by one, so that neither depth nor the length
    /// of paths matters, however a container nested them.
    func removeStaged(_ name: String) throws {
        var waiting = [name]
        while let next = waiting.popLast() {
            if unlinkat(staging.descriptor, next, 0) == 0 || errno == ENOENT { continue }
            guard errno == EISDIR || errno == EPERM else {
                throw ImageError(attempt: "remove \(next) from the staging folder", code: errno)
            }
            if unlinkat(staging.descriptor, next, AT_REMOVEDIR) == 0 { continue }
            let folder = try OpenFile(
                in: staging, next, flags: O_RDONLY | O_DIRECTORY,
                attempt: "remove \(next) from the staging folder")
            waiting.append(next)
            let children = try folder.entries(naming: "a folder to remove")
            for child in children { try removeChild(child, of: folder, waiting: &waiting) }
        }
    }

    private func removeChild(
        _ child: [CChar], of folder: OpenFile, waiting: inout [String]
    ) throws {
        if unlinkat(folder.descriptor, child, 0) == 0 || errno == ENOENT { return }
        guard errno == EISDIR || errno == EPERM else {
            throw ImageError(attempt: "remove a file of a folder to remove", code: errno)
        }
        let staged = makeStagedName()
        guard renameat(folder.descriptor, child, staging.descriptor, staged) == 0 else {
            throw ImageError(attempt: "remove a folder in a folder to remove", code: errno)
        }
        waiting.append(staged)
    }

    /// Takes the folder's lock, if no other process holds it.
    ///
    /// A child that this process or an ended agent is just starting has a copy of the descriptor
    /// between fork and exec, and so holds the lock for a moment more: hence the short patience.
    private static func takeLock(_ descriptor: Int32) -> Bool {
        for _ in 0..<40 {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return true }
            guard errno == EWOULDBLOCK || errno == EINTR else { return false }
            usleep(50_000)
        }
        return false
    }

    private static func makeFolders(_ path: String) throws {
        var made = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            made += (made.isEmpty || made.hasSuffix("/") ? "" : "/") + part
            if mkdir(made, 0o700) != 0, errno != EEXIST {
                throw ImageError(attempt: "make the image folder \(path)", code: errno)
            }
        }
    }

    private static func subfolder(
        of folder: OpenFile, _ name: String, path: String
    ) throws -> OpenFile {
        if mkdirat(folder.descriptor, name, 0o700) != 0, errno != EEXIST {
            throw ImageError(attempt: "make the folder \(name) in \(path)", code: errno)
        }
        return try OpenFile(
            in: folder, name, flags: O_RDONLY | O_DIRECTORY,
            attempt: "open the folder \(name) in \(path)")
    }
}
