import CArchive
import Glibc

/// The files of an archive, copied into the staging folder under numbers and known here by their
/// paths: so no path of the archive ever names a file on this host.
struct StagedArchive {
    /// One file's contents, verified to be what the digest says.
    struct Content {
        let digest: Digest
        let size: Int
        /// Nil when the store has these bytes as a blob already, which the archive's hold keeps.
        let file: StagedFile?
    }

    /// The archive's path as the operator gave it, for messages.
    let name: String
    private(set) var files: [String: Content] = [:]
    private var links: [String: String] = [:]
    private var entries = 0
    private var bytes = 0
    private let folders: StoreFolders
    /// Blobs that it finds are compared and not copied.
    private let hold: Hold
    private let onStep: @Sendable (ImageStep) -> Void
    private var space: SpaceWatch

    /// Copies a folder or a tar.
    init(
        path: String, folders: StoreFolders, hold: Hold,
        onStep: @escaping @Sendable (ImageStep) -> Void
    ) throws {
        name = printable(path.utf8)
        self.folders = folders
        self.hold = hold
        self.onStep = onStep
        space = SpaceWatch(folders: folders, attempt: "load \(name)")
        let file = try OpenFile(
            path: path, flags: O_RDONLY | O_NONBLOCK, attempt: "open the image archive \(name)")
        switch try file.status(naming: name).st_mode & S_IFMT {
        case S_IFDIR: try stage(folder: file)
        case S_IFREG: try stage(tar: file)
        default:
            throw ImageError(
                .refused,
                "could not load \(name): it is neither a file nor a folder; give the archive's path"
            )
        }
    }

    /// The file at a path, through links inside the archive.
    func content(_ path: String) -> Content? {
        var path = path
        for _ in 0..<8 {
            if let content = files[path] { return content }
            guard let target = links[path] else { return nil }
            path = target
        }
        return nil
    }

    /// The bytes of a small file; nil when there is none.
    func bytes(_ path: String, bytesMax: Int) throws -> [UInt8]? {
        guard let content = content(path) else { return nil }
        return try bytes(of: content, bytesMax: bytesMax, naming: "\(path) in \(name)")
    }

    /// The bytes of a small file.
    func bytes(of content: Content, bytesMax: Int, naming label: String) throws -> [UInt8] {
        guard content.size <= bytesMax else {
            throw ImageError(
                .refused,
                "could not read \(label): it has \(content.size) bytes, and at most \(bytesMax) are "
                    + "possible for it")
        }
        return try open(content).read(offset: 0, maximum: bytesMax, naming: label)
    }

    /// Opens a file's contents.
    func open(_ content: Content) throws -> OpenFile {
        try content.file?.open() ?? folders.openBlob(content.digest)
    }

    // MARK: Copying

    private mutating func stage(tar file: OpenFile) throws {
        let reader = try ArchiveReader(file: file, naming: name)
        while let entry = try reader.next() {
            try count()
            guard entry.kind != .folder else { continue }
            let path = try archivePath(entry.path, of: "entry")
            switch entry.kind {
            case .file:
                try add(path) { buffer in try reader.read(into: buffer) }
            case .symbolicLink:
                try link(path, to: entry.target, from: path.split(separator: "/").dropLast())
            case .hardLink:
                try link(path, to: entry.target, from: [])
            default:
                throw refusal("\"\(path)\" is neither a file nor a folder nor a link")
            }
        }
    }

    private mutating func stage(folder: OpenFile) throws {
        let top = try folder.names(maximum: folders.limits.archiveEntriesMax, naming: name)
        guard top.contains("index.json") || top.contains("manifest.json") else {
            throw unknownLayout()
        }
        var waiting: [(path: String, folder: OpenFile)] = [("", folder)]
        while let (path, folder) = waiting.popLast() {
            let left = folders.limits.archiveEntriesMax - entries + 1
            for child in try folder.names(maximum: left, naming: name) {
                try count()
                let childPath = path.isEmpty ? child : "\(path)/\(child)"
                try stage(child, of: folder, path: childPath, waiting: &waiting)
            }
        }
    }

    private mutating func stage(
        _ child: String, of folder: OpenFile, path: String,
        waiting: inout [(path: String, folder: OpenFile)]
    ) throws {
        var facts = stat()
        guard fstatat(folder.descriptor, child, &facts, AT_SYMLINK_NOFOLLOW) == 0 else {
            throw ImageError(attempt: "examine \(printable(path.utf8)) in \(name)", code: errno)
        }
        let attempt = "open \(printable(path.utf8)) in \(name)"
        switch facts.st_mode & S_IFMT {
        case S_IFDIR:
            guard path.split(separator: "/").count <= 8 else {
                throw refusal("its folders are nested too deep")
            }
            let opened = try OpenFile(
                in: folder, child, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
            waiting.append((path, opened))
        case S_IFREG:
            let file = try OpenFile(
                in: folder, child, flags: O_RDONLY | O_NONBLOCK, attempt: attempt)
            try add(path) { buffer in
                let count = read(file.descriptor, buffer.baseAddress, buffer.count)
                guard count >= 0 else { throw ImageError(attempt: attempt, code: errno) }
                return count
            }
        case S_IFLNK:
            var target = [CChar](repeating: 0, count: Int(PATH_MAX))
            let count = readlinkat(folder.descriptor, child, &target, target.count)
            guard count >= 0 else { throw ImageError(attempt: attempt, code: errno) }
            try link(
                path, to: target.prefix(count).map(UInt8.init(bitPattern:)),
                from: path.split(separator: "/").dropLast())
        default:
            throw refusal(
                "\"\(printable(path.utf8))\" is neither a file nor a folder nor a link")
        }
    }

    /// Copies one file and computes its digest; one that is named for its digest must have it.
    private mutating func add(
        _ path: String, read: (UnsafeMutableRawBufferPointer) throws -> Int
    ) throws {
        onStep(.copying(path: printable(path.utf8)))
        let named = StagedArchive.blobDigest(path)
        let isPresent = named.map { hold.finds(blob: $0) } ?? false
        let file = isPresent ? nil : try folders.makeStagedFile()
        var hasher = DigestHasher()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 17, alignment: 16)
        defer { buffer.deallocate() }
        while case let size = try read(buffer), size > 0 {
            let piece = UnsafeRawBufferPointer(rebasing: buffer[..<size])
            hasher.update(piece)
            bytes += size
            guard
                hasher.size <= folders.limits.blobBytesMax,
                bytes <= folders.limits.archiveBytesMax
            else { throw refusal("\"\(printable(path.utf8))\" makes it too large") }
            try space.willWrite(size)
            try file?.write(piece, naming: "a file in the staging folder")
        }
        file?.seal()
        let size = hasher.size
        let digest = hasher.finish()
        guard named == nil || named == digest else {
            throw refusal(
                "the blob \(path) has the digest \(digest), which is not the one in its name")
        }
        links[path] = nil
        files[path] = Content(digest: digest, size: size, file: file)
    }

    private mutating func link(
        _ path: String, to target: [UInt8], from folder: [Substring]
    ) throws {
        var names = folder.map(String.init)
        guard target.first != UInt8(ascii: "/"), !target.contains(0) else {
            throw refusal("the link \"\(printable(path.utf8))\" is absolute")
        }
        for part in String(decoding: target, as: UTF8.self).split(separator: "/") {
            if part == "." { continue }
            guard part == ".." else {
                names.append(String(part))
                continue
            }
            guard names.popLast() != nil else {
                throw refusal("the link \"\(printable(path.utf8))\" leads out of it")
            }
        }
        files[path] = nil
        links[path] = names.joined(separator: "/")
    }

    private mutating func count() throws {
        entries += 1
        try space.willWrite(4_096)
        guard entries <= folders.limits.archiveEntriesMax else {
            throw refusal("it has more than \(folders.limits.archiveEntriesMax) files")
        }
    }

    /// An entry's path without `./`; refused when it leads out of the archive.
    private func archivePath(_ path: [UInt8], of role: String) throws -> String {
        let checked: LayerPath
        do {
            checked = try LayerPath(path, role: role, limits: folders.limits, layer: name)
        } catch let error as ImageError {
            throw ImageError(
                error.reason,
                error.sentence.replacingPrefix("could not unpack", by: "could not load"))
        }
        guard !checked.names.isEmpty else { throw refusal("an entry has no name") }
        return checked.names.map { name in
            String(decoding: name.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        }.joined(separator: "/")
    }

    /// The digest that a path of the layout promises: `blobs/sha256/<digits>`.
    private static func blobDigest(_ path: String) -> Digest? {
        let prefix = "blobs/sha256/"
        guard path.hasPrefix(prefix) else { return nil }
        return Digest(hexadecimal: path.dropFirst(prefix.count))
    }

    /// The refusal of something that is no image archive.
    func unknownLayout() -> ImageError {
        refusal(
            "it has neither an index.json (OCI image layout) nor a manifest.json (docker save)")
    }

    /// The refusal of this archive.
    func refusal(_ why: String) -> ImageError {
        ImageError(.refused, "could not load \(name): \(why); make the archive again")
    }
}

extension String {
    fileprivate func replacingPrefix(_ prefix: String, by other: String) -> String {
        hasPrefix(prefix) ? other + dropFirst(prefix.count) : self
    }
}
