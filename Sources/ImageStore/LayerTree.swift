import CLinux
import Glibc

/// A folder being filled with a layer's entries, which nothing written to it can leave.
///
/// Every step down opens one name with O_NOFOLLOW from a descriptor of the folder above, so a
/// symbolic link in the layer is never followed, whatever the order of entries.
final class LayerTree {
    private let root: OpenFile
    private let layer: String
    /// The folders from the root to where the last entry went: most entries are near the last.
    private var openFolders: [(name: [CChar], folder: OpenFile)] = []

    init(root: OpenFile, layer: String) {
        self.root = root
        self.layer = layer
    }

    /// Opens the folder of this path; makes those that the layer did not mention.
    func folder(_ names: ArraySlice<[CChar]>) throws -> OpenFile {
        var depth = 0
        while depth < openFolders.count, depth < names.count,
            openFolders[depth].name == names[names.startIndex + depth]
        {
            depth += 1
        }
        openFolders.removeSubrange(depth...)
        for name in names.dropFirst(depth) {
            let parent = openFolders.last?.folder ?? root
            openFolders.append((name, try step(into: name, of: parent)))
        }
        return openFolders.last?.folder ?? root
    }

    /// Makes a folder, or keeps the one that is there, and opens it.
    func makeFolder(_ path: LayerPath) throws -> OpenFile {
        try folder(path.names[...])
    }

    /// Opens the folder of this path; nil when a part of it is not there or is not a folder.
    func existingFolder(_ names: ArraySlice<[CChar]>) throws -> OpenFile? {
        var folder = root
        for name in names {
            let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW
            let next = clinux_image_open(folder.descriptor, name, flags, 0)
            guard next >= 0 else {
                if [ENOENT, ENOTDIR, ELOOP].contains(-next) { return nil }
                throw failure("open the folder \(text(name))", -next)
            }
            folder = OpenFile(adopting: next)
        }
        return folder
    }

    /// Makes room for a name: removes a file of an earlier entry of that name.
    func clear(_ name: [CChar], in parent: OpenFile, path: LayerPath) throws {
        guard let facts = status(name, in: parent) else { return }
        let isFolder = facts.st_mode & S_IFMT == S_IFDIR
        if isFolder { openFolders = [] }
        guard unlinkat(parent.descriptor, name, isFolder ? AT_REMOVEDIR : 0) == 0 else {
            throw refusal("\"\(path.text)\" would replace a folder that is not empty")
        }
    }

    /// What is under a name, not followed; nil for nothing.
    func status(_ name: [CChar], in parent: OpenFile) -> stat? {
        var facts = stat()
        guard fstatat(parent.descriptor, name, &facts, AT_SYMLINK_NOFOLLOW) == 0 else {
            return nil
        }
        return facts
    }

    /// Hides a name of the layers below, unless this layer has it itself.
    ///
    /// A layer that has both means: not what is below, but this. For a file that is so anyway; a
    /// folder must be marked, or it would be merged with the one below.
    func hide(_ name: [CChar], in parent: OpenFile) throws {
        if let facts = status(name, in: parent) {
            guard facts.st_mode & S_IFMT == S_IFDIR else { return }
            try makeOpaque(step(into: name, of: parent))
            return
        }
        let status = clinux_image_make_node(parent.descriptor, name, S_IFCHR, 0, 0)
        guard status == 0 else { throw failure("hide a deleted file", -status) }
    }

    /// Marks a folder: nothing of the layers below shows in it.
    ///
    /// Source: the kernel's Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
    /// directories".
    func makeOpaque(_ folder: OpenFile) throws {
        let status = clinux_image_set_attribute(
            folder.descriptor, "trusted.overlay.opaque", "y", 1)
        guard status == 0 else { throw failure("mark a folder as replaced", -status) }
    }

    /// Opens or makes one folder.
    private func step(into name: [CChar], of parent: OpenFile) throws -> OpenFile {
        let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW
        let opened = clinux_image_open(parent.descriptor, name, flags, 0)
        if opened >= 0 { return OpenFile(adopting: opened) }
        var wasHidden = false
        if let facts = status(name, in: parent) {
            guard clinux_image_is_whiteout(facts.st_mode, facts.st_rdev) != 0 else {
                let isLink = facts.st_mode & S_IFMT == S_IFLNK
                throw refusal(
                    "an entry lies below \"\(text(name))\", which is "
                        + (isLink ? "a symbolic link" : "not a folder"))
            }
            wasHidden = true
            guard unlinkat(parent.descriptor, name, 0) == 0 else {
                throw failure("replace a deleted file", errno)
            }
        }
        guard mkdirat(parent.descriptor, name, 0o755) == 0 else {
            throw failure("make the folder \(text(name))", errno)
        }
        let made = clinux_image_open(parent.descriptor, name, flags, 0)
        guard made >= 0 else { throw failure("open the folder \(text(name))", -made) }
        let folder = OpenFile(adopting: made)
        guard fchmod(made, 0o755) == 0 else {
            throw failure("set the mode of \(text(name))", errno)
        }
        if wasHidden { try makeOpaque(folder) }
        return folder
    }

    /// The refusal of a dishonest layer.
    func refusal(_ why: String) -> ImageError {
        ImageError(.refused, "could not unpack \(layer): \(why); do not trust this image")
    }

    /// A system call's failure.
    func failure(_ what: String, _ code: Int32) -> ImageError {
        ImageError(attempt: "unpack \(layer): could not \(what)", code: code)
    }

    private func text(_ name: [CChar]) -> String {
        printable(name.dropLast().map(UInt8.init(bitPattern:)))
    }
}
