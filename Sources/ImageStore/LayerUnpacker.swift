import CLinux
import Glibc

/// Unpacks one layer into an empty folder, in overlayfs's form.
///
/// libarchive only parses; every file is made here, because its own extraction follows symbolic
/// links of the archive, knows no whiteouts, and keeps no bounds.
final class LayerUnpacker {
    private let tree: LayerTree
    private let limits: ImageLimits
    private let name: String
    private var space: SpaceWatch
    private var entries = 0
    private var bytes: Int64 = 0
    /// Folders' times are set at the end: filling a folder changes its time.
    private var folderTimes: [(path: LayerPath, modified: timespec)] = []

    init(into root: OpenFile, folders: StoreFolders, naming name: String) {
        tree = LayerTree(root: root, layer: name)
        limits = folders.limits
        self.name = name
        space = SpaceWatch(folders: folders, attempt: "unpack \(name)")
    }

    /// Unpacks a blob and returns the diffID that came out; the caller compares it.
    func unpack(_ blob: OpenFile) throws -> Digest {
        let stream = try LayerStream(file: blob, bytesMax: limits.layerBytesMax, naming: name)
        let reader = try ArchiveReader(stream: stream, naming: name)
        while let entry = try reader.next() {
            entries += 1
            guard entries <= limits.layerEntriesMax else {
                throw ImageError(
                    .refused,
                    "could not unpack \(name): it has more than \(limits.layerEntriesMax) files; "
                        + "make a smaller image")
            }
            try space.willWrite(4_096)
            try unpack(entry, from: reader)
        }
        let diffID = try stream.finish()
        for (path, modified) in folderTimes.reversed() {
            // A later entry may have put something else there.
            guard let folder = try tree.existingFolder(path.names[...]) else { continue }
            try setTime(modified, of: folder.descriptor)
        }
        return diffID
    }

    private func unpack(_ entry: ArchiveEntry, from reader: ArchiveReader) throws {
        let path = try LayerPath(entry.path, role: "entry", limits: limits, layer: name)
        guard let last = path.names.last else {
            guard entry.kind == .folder else {
                throw tree.refusal("the layer's root is not a folder in it")
            }
            return try makeFolder(path, entry)
        }
        if let whiteout = path.whiteout {
            let parent = try tree.folder(path.parent)
            switch whiteout {
            case .hide(let hidden): try tree.hide(hidden, in: parent)
            case .opaque: try tree.makeOpaque(parent)
            case .ignored: break
            }
            return
        }
        if entry.kind == .folder {
            return try makeFolder(path, entry)
        }
        if entry.kind == .hardLink {
            return try makeHardLink(path, last, entry)
        }
        let parent = try tree.folder(path.parent)
        try tree.clear(last, in: parent, path: path)
        switch entry.kind {
        case .file: try makeFile(last, in: parent, entry, from: reader, path: path)
        case .symbolicLink: try makeSymbolicLink(last, in: parent, entry, path: path)
        default: try makeNode(last, in: parent, entry, path: path)
        }
    }

    private func makeFolder(_ path: LayerPath, _ entry: ArchiveEntry) throws {
        if let last = path.names.last {
            let parent = try tree.folder(path.parent)
            if let facts = tree.status(last, in: parent), facts.st_mode & S_IFMT != S_IFDIR,
                clinux_image_is_whiteout(facts.st_mode, facts.st_rdev) == 0
            {
                try tree.clear(last, in: parent, path: path)
            }
        }
        let folder = try tree.makeFolder(path)
        try describe(folder.descriptor, as: entry, path: path)
        folderTimes.append((path, entry.modified))
    }

    private func makeFile(
        _ last: [CChar], in parent: OpenFile, _ entry: ArchiveEntry, from reader: ArchiveReader,
        path: LayerPath
    ) throws {
        try account(entry.size, path: path)
        let descriptor = clinux_image_open(
            parent.descriptor, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw tree.failure("make \(path.text)", -descriptor) }
        let file = OpenFile(adopting: descriptor)
        try reader.forEachBlock { bytes, offset in
            guard offset >= 0, Int64(bytes.count) <= entry.size - offset else {
                throw tree.refusal("\"\(path.text)\" has more data than its size says")
            }
            try space.willWrite(bytes.count)
            guard lseek(file.descriptor, off_t(offset), SEEK_SET) >= 0 else {
                throw tree.failure("write \(path.text)", errno)
            }
            try file.write(bytes, naming: "\(path.text) of \(name)")
        }
        guard ftruncate(file.descriptor, off_t(entry.size)) == 0 else {
            throw tree.failure("write \(path.text)", errno)
        }
        try describe(file.descriptor, as: entry, path: path)
        try setTime(entry.modified, of: file.descriptor)
    }

    private func makeHardLink(
        _ path: LayerPath, _ last: [CChar], _ entry: ArchiveEntry
    ) throws {
        let target = try LayerPath(
            entry.target, role: "hard link target", limits: limits, layer: name)
        // The target's folder stays open while the link's own is opened.
        guard
            let targetLast = target.names.last, target.whiteout == nil,
            let targetFolder = try tree.existingFolder(target.parent),
            let facts = tree.status(targetLast, in: targetFolder),
            facts.st_mode & S_IFMT != S_IFDIR,
            clinux_image_is_whiteout(facts.st_mode, facts.st_rdev) == 0
        else {
            throw tree.refusal(
                "the hard link \"\(path.text)\" leads to \"\(target.text)\", which is not an "
                    + "earlier file of this layer")
        }
        let parent = try tree.folder(path.parent)
        if let present = tree.status(last, in: parent), present.st_ino == facts.st_ino { return }
        try tree.clear(last, in: parent, path: path)
        guard
            linkat(targetFolder.descriptor, targetLast, parent.descriptor, last, 0) == 0
        else { throw tree.failure("link \(path.text)", errno) }
    }

    private func makeSymbolicLink(
        _ last: [CChar], in parent: OpenFile, _ entry: ArchiveEntry, path: LayerPath
    ) throws {
        guard (1..<Int(PATH_MAX)).contains(entry.target.count) else {
            throw tree.refusal("the symbolic link \"\(path.text)\" has no usable target")
        }
        let target = entry.target.map { CChar(bitPattern: $0) } + [0]
        guard symlinkat(target, parent.descriptor, last) == 0 else {
            throw tree.failure("make the symbolic link \(path.text)", errno)
        }
        try own(last, in: parent, entry, path: path)
        try setTime(entry.modified, of: last, in: parent)
    }

    private func makeNode(
        _ last: [CChar], in parent: OpenFile, _ entry: ArchiveEntry, path: LayerPath
    ) throws {
        let type: mode_t
        switch entry.kind {
        case .characterDevice: type = S_IFCHR
        case .blockDevice: type = S_IFBLK
        case .pipe: type = S_IFIFO
        default: throw tree.refusal("\"\(path.text)\" is of a kind no image may have")
        }
        let isDevice = entry.kind != .pipe
        guard
            let major = UInt32(exactly: isDevice ? entry.device.major : 0),
            let minor = UInt32(exactly: isDevice ? entry.device.minor : 0),
            entry.kind != .characterDevice || (major, minor) != (0, 0)
        else {
            throw tree.refusal(
                "\"\(path.text)\" has the device number that marks deleted files, or none")
        }
        let status = clinux_image_make_node(
            parent.descriptor, last, type | entry.permissions, major, minor)
        guard status == 0 else { throw tree.failure("make the device \(path.text)", -status) }
        try own(last, in: parent, entry, path: path)
        // Not a symbolic link: it was made one line above, and nobody else writes here.
        guard fchmodat(parent.descriptor, last, entry.permissions, 0) == 0 else {
            throw tree.failure("set the mode of \(path.text)", errno)
        }
        try setTime(entry.modified, of: last, in: parent)
    }
}

/// Owners, modes, attributes, times.
extension LayerUnpacker {
    /// Sets owner, mode and attributes, in this order: a change of owner takes away set-user bits
    /// and file capabilities.
    private func describe(
        _ descriptor: Int32, as entry: ArchiveEntry, path: LayerPath
    ) throws {
        let (user, group) = try owner(entry, path: path)
        guard fchown(descriptor, user, group) == 0 else {
            throw tree.failure("set the owner of \(path.text)", errno)
        }
        guard fchmod(descriptor, entry.permissions) == 0 else {
            throw tree.failure("set the mode of \(path.text)", errno)
        }
        for (attribute, value) in entry.attributes where LayerUnpacker.isKept(attribute) {
            let status = clinux_image_set_attribute(descriptor, attribute, value, value.count)
            guard status == 0 || status == -EOPNOTSUPP else {
                throw tree.failure("set \(printable(attribute.utf8)) of \(path.text)", -status)
            }
        }
    }

    /// True for file capabilities and users' own attributes.
    ///
    /// All others would speak to this host: `trusted` and `user.overlay` to overlayfs, the rest of
    /// `security` to its access control.
    static func isKept(_ attribute: String) -> Bool {
        if attribute == "security.capability" { return true }
        return attribute.hasPrefix("user.") && !attribute.hasPrefix("user.overlay.")
    }

    private func own(
        _ last: [CChar], in parent: OpenFile, _ entry: ArchiveEntry, path: LayerPath
    ) throws {
        let (user, group) = try owner(entry, path: path)
        guard
            fchownat(parent.descriptor, last, user, group, AT_SYMLINK_NOFOLLOW) == 0
        else { throw tree.failure("set the owner of \(path.text)", errno) }
    }

    /// The owner; -1, which means "leave it", is no owner.
    private func owner(_ entry: ArchiveEntry, path: LayerPath) throws -> (uid_t, gid_t) {
        let range = 0..<Int64(uid_t.max)
        guard range.contains(entry.user), range.contains(entry.group) else {
            throw tree.refusal("\"\(path.text)\" has an impossible owner")
        }
        return (uid_t(entry.user), gid_t(entry.group))
    }

    private func setTime(_ modified: timespec, of descriptor: Int32) throws {
        guard futimens(descriptor, [modified, modified]) == 0 else {
            throw tree.failure("set a time", errno)
        }
    }

    private func setTime(
        _ modified: timespec, of last: [CChar], in parent: OpenFile
    ) throws {
        guard
            utimensat(parent.descriptor, last, [modified, modified], AT_SYMLINK_NOFOLLOW) == 0
        else { throw tree.failure("set a time", errno) }
    }

    private func account(_ size: Int64, path: LayerPath) throws {
        guard size >= 0, size <= Int64(limits.layerBytesMax) - bytes else {
            throw ImageError(
                .refused,
                "could not unpack \(name): with \"\(path.text)\" its files have more than "
                    + "\(limits.layerBytesMax) bytes; make a smaller image")
        }
        bytes += size
    }
}
