import Glibc

extension ImageStore {
    /// Loads the images of an archive: an OCI image layout or the output of `docker save`, as a
    /// folder, a tar, or a tar compressed with gzip, zstd, xz or bzip2.
    ///
    /// `references`, when given, replace the names that the archive gives; it must then hold one
    /// image. All or nothing: on failure nothing of the archive stays. Loading again what is here
    /// changes nothing.
    package func load(
        archive path: String, references: [String] = []
    ) async throws -> [StoredImage] {
        let present = Set(images().flatMap(\.blobDigests))
        let archive = try StagedArchive(path: path, folders: folders, present: present)
        let layout = try ImageLayout(archive, folders: folders)
        let images = try parse(layout, references: references)
        try store(
            images,
            unpackingFrom: { digest in
                guard let content = layout.content(digest) else { throw layout.missing(digest) }
                return try layout.archive.open(content)
            }, keepingFrom: layout)
        return images
    }

    /// Every image under every one of its names.
    private func parse(_ layout: ImageLayout, references: [String]) throws -> [StoredImage] {
        guard references.isEmpty || layout.candidates.count == 1 else {
            throw layout.archive.refusal(
                "it has \(layout.candidates.count) images, so it cannot get the one name "
                    + "\(printable(references.joined(separator: ", ").utf8))")
        }
        let parser = ImageParser(limits: limits) { digest, bytesMax in
            try layout.bytes(digest, bytesMax: bytesMax)
        }
        return try layout.candidates.flatMap { candidate in
            let texts = references.isEmpty ? candidate.references : references
            let names = Set(try texts.map { try ImageName.parse($0).text }).sorted()
            guard let first = names.first else {
                throw ImageError(
                    .refused,
                    "could not load \(layout.archive.name): it does not say what the image "
                        + "\(candidate.manifest) is called; give a name when loading it")
            }
            let image = try parser.image(manifest: candidate.manifest, reference: first)
            for layer in image.layers {
                guard let content = layout.content(layer.digest) else {
                    throw layout.missing(layer.digest)
                }
                guard content.size == layer.sizeBytes else {
                    throw layout.archive.refusal(
                        "the blob \(layer.digest) has \(content.size) bytes, and its manifest says "
                            + "\(layer.sizeBytes)")
                }
            }
            return names.map(image.named)
        }
    }

    /// Unpacks what is not unpacked, then makes everything durable and lists the images.
    ///
    /// The order matters: only names are changed after syncfs(2), and the index comes last, so
    /// that a crash leaves whole blobs and layers that nothing names, and never the reverse.
    func store(
        _ images: [StoredImage], unpackingFrom open: (Digest) throws -> OpenFile,
        keepingFrom layout: ImageLayout?
    ) throws {
        let unpacked = try unpackMissing(images.flatMap(\.layers), from: open)
        guard let layout else {
            try unpacked.keep()
            return try record(images)
        }
        let present = Set(self.images().flatMap(\.blobDigests))
        let arrived = try Set(images.flatMap(\.blobDigests)).subtracting(present).map { digest in
            guard let content = layout.content(digest) else { throw layout.missing(digest) }
            return content
        }
        try folders.synchronize()
        do {
            try unpacked.keep(isSynchronized: true)
            for content in arrived {
                try content.file?.move(
                    to: folders.blobs, content.digest.hexadecimal, synchronizing: false)
            }
            try folders.blobs.synchronize(naming: "the blob folder")
            try record(images)
        } catch {
            // Best effort: the next start removes what nothing names.
            for content in arrived { try? folders.removeBlob(content.digest) }
            try? discardLayers(Set(images.flatMap { $0.layers.map(\.diffID) }))
            throw error
        }
    }

    /// Unpacks layers into the staging folder; those that are there already are only verified.
    ///
    /// The blob must be the one that gives the folder even when the folder is there: or an image
    /// could get at the files of any other by giving its diffID.
    func unpackMissing(
        _ layers: [StoredImage.Layer], from open: (Digest) throws -> OpenFile
    ) throws -> UnpackedLayers {
        let unpacked = UnpackedLayers(folders: folders)
        var verified = Set(images().flatMap(\.layers))
        for layer in layers {
            let name = "layer \(layer.digest)"
            let isThere = folders.hasLayer(layer.diffID) || unpacked.has(layer.diffID)
            if isThere, verified.contains(layer) { continue }
            let found: Digest
            if isThere {
                found = try LayerStream(
                    file: open(layer.digest), bytesMax: limits.layerBytesMax, naming: name
                ).finish()
            } else {
                found = try unpacked.add(layer.diffID) { root in
                    try LayerUnpacker(into: root, folders: folders, naming: name)
                        .unpack(open(layer.digest))
                }
            }
            guard found == layer.diffID else {
                throw ImageError(
                    .refused,
                    "could not unpack \(name): uncompressed it is \(found), and the image's "
                        + "configuration says \(layer.diffID); make the image again")
            }
            verified.insert(layer)
        }
        return unpacked
    }
}

/// Layers that are unpacked in the staging folder and not in their places yet; those that are
/// not kept are removed with this object.
final class UnpackedLayers {
    private let folders: StoreFolders
    private var staged: [(diffID: Digest, name: String)] = []

    init(folders: StoreFolders) {
        self.folders = folders
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

    /// Gives the layers their places.
    func keep(isSynchronized: Bool = false) throws {
        guard !staged.isEmpty else { return }
        if !isSynchronized { try folders.synchronize() }
        while let (diffID, name) = staged.last {
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
