import Glibc

/// Layers that are unpacked in the staging folder and not in their places yet; those that are
/// not kept are removed with this object.
final class UnpackedLayers {
    private let folders: StoreFolders
    private let hold: Hold
    private var staged: [(diffID: Digest, name: String)] = []

    init(folders: StoreFolders, hold: Hold) {
        self.folders = folders
        self.hold = hold
    }

    deinit {
        // What cannot be removed now is removed at the next start.
        for (_, name) in staged { try? folders.removeStaged(name) }
    }

    /// True when this layer is among them.
    func has(_ diffID: Digest) -> Bool { staged.contains { $0.diffID == diffID } }

    /// Makes an empty folder for a layer and fills it.
    func add(_ diffID: Digest, fill: (OpenFile) throws -> Digest) throws -> Digest {
        let name = folders.makeStagedName()
        guard mkdirat(folders.staging.descriptor, name, 0o755) == 0 else {
            throw ImageError(attempt: "make a folder for layer \(diffID)", code: errno)
        }
        staged.append((diffID, name))
        let root = try OpenFile(
            in: folders.staging, name, flags: O_RDONLY | O_DIRECTORY,
            attempt: "open the folder for layer \(diffID)")
        guard fchmod(root.descriptor, 0o755) == 0 else {
            throw ImageError(attempt: "set the mode of layer \(diffID)", code: errno)
        }
        return try fill(root)
    }

    /// Gives the layers their places; they are the hold's until something else uses them.
    func keep(isSynchronized: Bool = false) throws {
        guard !staged.isEmpty else { return }
        if !isSynchronized { try folders.synchronize() }
        while let (diffID, name) = staged.last {
            hold.brings(layer: diffID)
            guard
                renameat(
                    folders.staging.descriptor, name, folders.layers.descriptor,
                    diffID.hexadecimal) == 0
            else { throw ImageError(attempt: "keep layer \(diffID)", code: errno) }
            staged.removeLast()
        }
        try folders.layers.synchronize(naming: "the layer folder")
    }
}
