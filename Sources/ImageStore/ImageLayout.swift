/// What a staged archive says it holds: manifests with their names, and blobs by digest.
///
/// Both forms end up the same: `docker save` archives get a manifest in OCI form, always the same
/// for the same image, so that every host knows the image by the same digest.
struct ImageLayout {
    /// One image of the archive.
    struct Candidate {
        let manifest: Digest
        let references: [String]
    }

    let limits: ImageLimits
    private(set) var candidates: [Candidate] = []
    private(set) var archive: StagedArchive
    private var generated: [Digest: StagedArchive.Content] = [:]
    private let folders: StoreFolders

    init(_ archive: StagedArchive, folders: StoreFolders) throws {
        self.archive = archive
        self.folders = folders
        limits = folders.limits
        let maximum = limits.manifestBytesMax
        if let bytes = try archive.bytes("index.json", bytesMax: maximum) {
            try readIndex(bytes)
        } else if let bytes = try archive.bytes("manifest.json", bytesMax: maximum) {
            try readDockerSave(bytes)
        } else {
            throw archive.unknownLayout()
        }
        guard (1...limits.archiveImagesMax).contains(candidates.count) else {
            throw archive.refusal(
                "it has \(candidates.count) images for linux/\(Platform.architecture), and 1 to "
                    + "\(limits.archiveImagesMax) are possible")
        }
    }

    /// A blob of the archive; nil when the archive lacks it.
    func content(_ digest: Digest) -> StagedArchive.Content? {
        generated[digest] ?? archive.content("blobs/sha256/\(digest.hexadecimal)")
    }

    /// The bytes of a small blob.
    func bytes(_ digest: Digest, bytesMax: Int) throws -> [UInt8] {
        guard let content = content(digest) else { throw missing(digest) }
        return try archive.bytes(of: content, bytesMax: bytesMax, naming: "blob \(digest)")
    }

    /// The refusal of an archive that lacks a blob.
    func missing(_ digest: Digest) -> ImageError {
        archive.refusal("the blob \(digest) is missing in it")
    }

    // MARK: OCI image layout

    private mutating func readIndex(_ bytes: [UInt8]) throws {
        let name = "index.json in \(archive.name)"
        let index = try decodeDocument(IndexDocument.self, bytes, naming: name)
        // Several manifests of one name are one image for several platforms.
        var groups: [(names: [String], descriptors: [DescriptorDocument])] = []
        for descriptor in index.manifests {
            let names = ImageLayout.names(descriptor)
            if let place = groups.firstIndex(where: { $0.names == names && !names.isEmpty }) {
                groups[place].descriptors.append(descriptor)
            } else {
                groups.append((names, [descriptor]))
            }
        }
        for group in groups {
            guard
                let manifest = try choose(group.descriptors, depth: 0, name: name)
            else { continue }
            candidates.append(Candidate(manifest: manifest, references: group.names))
        }
        if candidates.isEmpty, !index.manifests.isEmpty { throw noPlatform(index.manifests) }
    }

    /// The first manifest for this host, looked for in nested indexes too; nil when there is none.
    private func choose(
        _ descriptors: [DescriptorDocument], depth: Int, name: String
    ) throws -> Digest? {
        guard depth < 4 else { throw archive.refusal("its indexes are nested too deep") }
        for descriptor in descriptors where ImageLayout.isForThisHost(descriptor) {
            guard let digest = Digest(descriptor.digest) else {
                throw archive.refusal(
                    "\"\(printable(descriptor.digest.utf8))\" in it is not a sha256 digest")
            }
            let isIndex =
                descriptor.mediaType == MediaType.index
                || descriptor.mediaType == MediaType.dockerIndex
            guard isIndex else { return digest }
            let nestedName = "index \(digest) in \(archive.name)"
            let nested = try decodeDocument(
                IndexDocument.self, bytes(digest, bytesMax: limits.manifestBytesMax),
                naming: nestedName)
            if let found = try choose(nested.manifests, depth: depth + 1, name: nestedName) {
                return found
            }
            if descriptors.count == 1 { throw noPlatform(nested.manifests) }
        }
        return nil
    }

    private func noPlatform(_ descriptors: [DescriptorDocument]) -> ImageError {
        let found = descriptors.compactMap { descriptor in
            descriptor.platform.map { "\($0.os ?? "?")/\($0.architecture ?? "?")" }
        }
        return ImageError(
            .unsupported,
            "could not load \(archive.name): it has no image for linux/\(Platform.architecture), "
                + "only for \(printable(found.joined(separator: ", ").utf8)); build it for this "
                + "kind of host")
    }

    private static func isForThisHost(_ descriptor: DescriptorDocument) -> Bool {
        guard let platform = descriptor.platform else { return true }
        return platform.os ?? "linux" == "linux"
            && platform.architecture ?? Platform.architecture == Platform.architecture
    }

    /// The full name that containerd and docker write, or the reference name of the layout, unless
    /// that is only a tag.
    private static func names(_ descriptor: DescriptorDocument) -> [String] {
        if let name = descriptor.annotations?[Annotation.containerdName] { return [name] }
        guard let name = descriptor.annotations?[Annotation.reference] else { return [] }
        return name.contains(":") || name.contains("/") ? [name] : []
    }

    // MARK: docker save

    private mutating func readDockerSave(_ bytes: [UInt8]) throws {
        let name = "manifest.json in \(archive.name)"
        let documents = try decodeDocument([DockerSaveDocument].self, bytes, naming: name)
        for document in documents.prefix(limits.archiveImagesMax + 1) {
            let config = try take(document.configuration)
            let layers = try document.layers.prefix(limits.layersMax + 1).map { path in
                let content = try take(path)
                return DescriptorDocument(
                    mediaType: MediaType.layer + (try compression(of: content)),
                    digest: content.digest.description, size: content.size)
            }
            let manifest = ManifestDocument(
                schemaVersion: 2, mediaType: MediaType.manifest,
                config: DescriptorDocument(
                    mediaType: MediaType.configuration, digest: config.digest.description,
                    size: config.size),
                layers: layers)
            candidates.append(
                Candidate(
                    manifest: try keep(encodeDocument(manifest)),
                    references: document.references ?? []))
        }
    }

    /// A file that manifest.json names, now also known as a blob.
    ///
    /// One that is named for its digest must have it.
    private mutating func take(_ path: String) throws -> StagedArchive.Content {
        guard let content = archive.content(path) else {
            throw archive.refusal("\"\(printable(path.utf8))\" is missing in it")
        }
        let file = path.split(separator: "/").last ?? ""
        let stem = file.hasSuffix(".json") ? file.dropLast(5) : file
        if let named = Digest(hexadecimal: stem), named != content.digest {
            throw archive.refusal(
                "\(printable(path.utf8)) has the digest \(content.digest), which is not the one in "
                    + "its name")
        }
        generated[content.digest] = content
        return content
    }

    private func compression(of content: StagedArchive.Content) throws -> String {
        let start = try archive.open(content).read(offset: 0, maximum: 4, naming: "a layer")
        if start.starts(with: [0x1F, 0x8B]) { return "+gzip" }
        if start.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) { return "+zstd" }
        return ""
    }

    private mutating func keep(_ manifest: [UInt8]) throws -> Digest {
        let digest = Digest(of: manifest)
        let file = try folders.makeStagedFile()
        try manifest.withUnsafeBytes { try file.write($0, naming: "a manifest") }
        file.seal()
        generated[digest] = StagedArchive.Content(
            digest: digest, size: manifest.count, file: file)
        return digest
    }
}
