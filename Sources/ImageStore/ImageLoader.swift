/// A step of work that takes long, named before it is done.
package enum ImageStep: Hashable, Sendable {
    /// A file of an archive is copied and its digest computed.
    case copying(path: String)
    /// A layer is unpacked, or one that is there is compared.
    case unpacking(layer: Digest)
    /// All of it is unpacked and is brought to the disk.
    case synchronizing
    /// Blobs and layers are given their places.
    case placing
    /// Everything is in its place, and the image gets its name.
    case listing
}

/// Does the work that takes long, one piece after another, on a thread of its own: copies and
/// verifies archives, and unpacks.
///
/// No method waits for anything but disks, so the pieces never mix. It alone makes layers. What
/// other threads may take away meanwhile is settled by `Inventory` and a `Hold` per piece.
actor ImageLoader {
    private let folders: StoreFolders
    private let limits: ImageLimits
    private let inventory: Inventory
    private let onStep: @Sendable (ImageStep) -> Void
    private let executor: ThreadExecutor

    nonisolated var unownedExecutor: UnownedSerialExecutor {
        executor.asUnownedSerialExecutor()
    }

    init(inventory: Inventory, onStep: @escaping @Sendable (ImageStep) -> Void) throws {
        folders = inventory.folders
        limits = inventory.folders.limits
        self.inventory = inventory
        self.onStep = onStep
        executor = try ThreadExecutor(name: "images-unpack")
    }

    /// Loads the images of an archive; see `ImageStore.load`.
    func load(archive path: String, references: [String]) throws -> [StoredImage] {
        try holding { hold in
            let archive = try StagedArchive(
                path: path, folders: folders, hold: hold, onStep: onStep)
            let layout = try ImageLayout(archive, folders: folders)
            let images = try parse(layout, references: references)
            let unpacked = try unpackMissing(images, hold) { digest in
                guard let content = layout.content(digest) else { throw layout.missing(digest) }
                return try layout.archive.open(content)
            }
            try place(unpacked, images, from: layout, hold)
            return images
        }
    }

    /// Makes an image of blobs that are here; see `ImageStore.adopt`.
    func adopt(manifest digest: Digest, reference: String) throws -> StoredImage {
        let name = try ImageName.parse(reference).text
        return try holding { hold in
            let image = try ImageCatalog.open(digest, reference: name, folders: folders) {
                hold.keep(blob: $0)
            }
            try placeLayers(of: image, hold)
            onStep(.listing)
            try inventory.list([image])
            return image
        }
    }

    /// Unpacks what is missing of a listed image's layers; they stay if something uses them.
    func restoreLayers(of image: StoredImage) throws {
        try holding { hold in
            image.blobDigests.forEach { hold.keep(blob: $0) }
            try placeLayers(of: image, hold)
        }
    }

    /// Does something with pins of its own, and then removes what only they kept.
    private func holding<Result>(_ body: (Hold) throws -> Result) throws -> Result {
        let hold = Hold(inventory)
        // Best effort: the next start removes what nothing names.
        defer { try? hold.release().remove(from: folders) }
        return try body(hold)
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

    /// Gives what an archive brought its places, durably, and lists the images.
    ///
    /// The order matters: only names are changed after syncfs(2), and the index comes last, so
    /// that a crash leaves whole blobs and layers that nothing names, and never the reverse.
    private func place(
        _ unpacked: UnpackedLayers, _ images: [StoredImage], from layout: ImageLayout, _ hold: Hold
    ) throws {
        let missing = Set(images.flatMap(\.blobDigests)).filter { !hold.finds(blob: $0) }
        let arrived = try missing.map { digest in
            guard let file = layout.content(digest)?.file else { throw layout.missing(digest) }
            return (digest, file)
        }
        onStep(.synchronizing)
        try folders.synchronize()
        onStep(.placing)
        try unpacked.keep(isSynchronized: true)
        for (digest, file) in arrived {
            hold.brings(blob: digest)
            try file.move(to: folders.blobs, digest.hexadecimal, synchronizing: false)
        }
        try folders.blobs.synchronize(naming: "the blob folder")
        onStep(.listing)
        try inventory.list(images)
    }

    /// Unpacks the layers of an image whose blobs are here, and gives them their places durably.
    private func placeLayers(of image: StoredImage, _ hold: Hold) throws {
        let unpacked = try unpackMissing([image], hold) { try folders.openBlob($0) }
        onStep(.synchronizing)
        try unpacked.keep()
    }

    /// Unpacks layers into the staging folder; those that are there already are only verified.
    ///
    /// The blob must be the one that gives the folder even when the folder is there: or an image
    /// could get at the files of any other by giving its diffID.
    private func unpackMissing(
        _ images: [StoredImage], _ hold: Hold, from open: (Digest) throws -> OpenFile
    ) throws -> UnpackedLayers {
        let unpacked = UnpackedLayers(folders: folders, hold: hold)
        var verified = Set(inventory.read { $0.images }.flatMap(\.layers))
        for image in images {
            for layer in image.layers {
                let isThere = hold.finds(layer: layer.diffID) || unpacked.has(layer.diffID)
                if isThere, verified.contains(layer) { continue }
                onStep(.unpacking(layer: layer.digest))
                let name = "layer \(layer.digest) of image \(image.reference)"
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
        }
        return unpacked
    }
}
