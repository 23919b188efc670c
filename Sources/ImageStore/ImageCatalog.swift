import Glibc

/// Which images there are and under which references: what index.json says, opened.
struct ImageCatalog {
    /// Sorted by reference, each reference once.
    private(set) var images: [StoredImage] = []
    /// What could not be opened at start, one sentence each.
    private(set) var damages: [String] = []
    /// References whose images could not be opened, with their manifests: they stay in the index.
    private var damaged: [String: Digest] = [:]

    /// True when there was an index and all it names could be opened: what it does not name is
    /// then of no use.
    private(set) var isComplete = false

    init() {}

    /// Reads the index and every manifest and configuration it names.
    init(restoring folders: StoreFolders) throws {
        guard let index = try ImageCatalog.readIndex(folders) else { return }
        for (reference, digest) in index {
            do {
                insert(try ImageCatalog.open(digest, reference: reference, folders: folders))
            } catch let error as ImageError {
                damages.append("image \(reference) cannot be used: \(error)")
                damaged[reference] = digest
            }
        }
        isComplete = damaged.isEmpty
    }

    /// The image of a reference in its short form.
    func image(reference: String) -> StoredImage? {
        images.first { $0.reference == reference }
    }

    /// The image with this manifest under the first of its references.
    func image(manifest digest: Digest) -> StoredImage? {
        images.first { $0.manifestDigest == digest }
    }

    /// Adds an image under its reference.
    ///
    /// Another image that had the reference and no other stays as `name@sha256:…`: a set may still
    /// run it, or go back to it.
    mutating func insert(_ image: StoredImage) {
        let former = self.image(reference: image.reference)
        _ = remove(reference: image.reference)
        if let former, former.manifestDigest != image.manifestDigest,
            self.image(manifest: former.manifestDigest) == nil
        {
            place(former.named(ImageName.displaced(former)))
        }
        place(image)
    }

    /// True when the index of both is the same.
    func hasSameIndex(as other: ImageCatalog) -> Bool {
        images == other.images && damaged == other.damaged
    }

    private mutating func place(_ image: StoredImage) {
        let place = images.firstIndex { $0.reference > image.reference } ?? images.endIndex
        images.insert(image, at: place)
    }

    /// Takes a reference away; false when there is none.
    mutating func remove(reference: String) -> Bool {
        let wasDamaged = damaged.removeValue(forKey: reference) != nil
        if wasDamaged { damages.removeAll { $0.hasPrefix("image \(reference) ") } }
        let count = images.count
        images.removeAll { $0.reference == reference }
        return wasDamaged || images.count != count
    }

    /// Writes index.json, as an OCI image layout has it.
    func write(to folders: StoreFolders) throws {
        var entries = images.map { ($0.reference, $0.manifestDigest) }
        entries += damaged.map { ($0.key, $0.value) }
        let manifests = entries.sorted { $0.0 < $1.0 }.map { reference, digest in
            DescriptorDocument(
                mediaType: MediaType.manifest, digest: digest.description,
                size: folders.blobSize(digest) ?? 0,
                annotations: [Annotation.reference: reference], platform: nil)
        }
        let layout = Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8)
        try folders.replaceFile("oci-layout", in: folders.root, with: layout)
        try folders.replaceFile(
            "index.json", in: folders.root,
            with: encodeDocument(
                IndexDocument(schemaVersion: 2, mediaType: MediaType.index, manifests: manifests)))
    }

    /// Opens an image whose blobs are in the store; tells of each before it looks whether it is.
    static func open(
        _ manifest: Digest, reference: String, folders: StoreFolders,
        willUse: @escaping (Digest) -> Void = { _ in }
    ) throws -> StoredImage {
        let parser = ImageParser(limits: folders.limits) { digest, bytesMax in
            willUse(digest)
            return try folders.wholeBlob(digest, bytesMax: bytesMax)
        }
        let image = try parser.image(manifest: manifest, reference: reference)
        image.layers.forEach { willUse($0.digest) }
        for layer in image.layers where folders.blobSize(layer.digest) != layer.sizeBytes {
            throw ImageError(
                .notFound,
                "could not use manifest \(manifest): the blob \(layer.digest) of "
                    + "\(layer.sizeBytes) bytes is not here; load the image again")
        }
        return image
    }

    private static func readIndex(_ folders: StoreFolders) throws -> [(String, Digest)]? {
        let name = "index.json in \(folders.path)"
        guard faccessat(folders.root.descriptor, "index.json", F_OK, 0) == 0 else { return nil }
        let file = try OpenFile(
            in: folders.root, "index.json", flags: O_RDONLY, attempt: "open \(name)")
        // Our own file: its size is bounded by what was loaded, not by the limits for archives.
        let bytes = try file.read(offset: 0, maximum: 256 << 20, naming: name)
        let index: IndexDocument
        do {
            index = try decodeDocument(IndexDocument.self, bytes, naming: name)
        } catch {
            throw ImageError(
                .refused,
                "could not open the image store: \(name) is damaged; restore it, or move it away "
                    + "and load the images again")
        }
        return index.manifests.compactMap { document in
            guard
                let text = document.annotations?[Annotation.reference],
                let reference = try? ImageName.listed(text),
                let digest = Digest(document.digest)
            else { return nil }
            return (reference, digest)
        }
    }
}
