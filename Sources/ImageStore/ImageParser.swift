/// Reads a manifest and its configuration into a `StoredImage`, checking everything that can be
/// checked without the layers.
struct ImageParser {
    let limits: ImageLimits
    /// The bytes of a small blob, verified against its digest and bounded.
    let read: (Digest, _ bytesMax: Int) throws -> [UInt8]

    /// Parses the image with this manifest.
    func image(manifest digest: Digest, reference: String) throws -> StoredImage {
        let name = "manifest \(digest)"
        let bytes = try read(digest, limits.manifestBytesMax)
        let document = try decodeDocument(ManifestDocument.self, bytes, naming: name)
        let configDigest = try descriptor(document.config, of: name).0
        try requireImage(document, name: name)
        let configBytes = try read(configDigest, limits.configurationBytesMax)
        guard configBytes.count == document.config.size else {
            throw refusal(
                name,
                "it says the configuration has \(document.config.size) bytes, but it has "
                    + "\(configBytes.count)")
        }
        let configName = "configuration \(configDigest)"
        let config = try decodeDocument(
            ConfigurationDocument.self, configBytes, naming: configName)
        try requirePlatform(config, name: configName)
        let layers = try pair(document.layers, config.rootfs.diffIDs, name: name)
        return StoredImage(
            reference: reference, manifestDigest: digest, configDigest: configDigest,
            layers: layers,
            sizeBytes: bytes.count + configBytes.count + layers.reduce(0) { $0 + $1.sizeBytes },
            configuration: try configuration(config.config, name: configName))
    }

    private func requireImage(_ document: ManifestDocument, name: String) throws {
        let types = [MediaType.configuration, MediaType.dockerConfiguration]
        guard types.contains(document.config.mediaType ?? MediaType.configuration) else {
            throw ImageError(
                .unsupported,
                "could not use \(name): it is not a container image but "
                    + "\(printable((document.config.mediaType ?? "").utf8))")
        }
        guard (1...limits.layersMax).contains(document.layers.count) else {
            throw refusal(
                name,
                "it has \(document.layers.count) layers, and 1 to \(limits.layersMax) are "
                    + "possible")
        }
    }

    private func requirePlatform(_ config: ConfigurationDocument, name: String) throws {
        let os = config.os ?? "linux"
        let architecture = config.architecture ?? Platform.architecture
        guard os == "linux" || os.isEmpty,
            architecture == Platform.architecture || architecture.isEmpty
        else {
            throw ImageError(
                .unsupported,
                "could not use \(name): it is for \(printable(os.utf8))/\(printable(architecture.utf8)), and "
                    + "this host is linux/\(Platform.architecture); build the image for it")
        }
    }

    private func pair(
        _ descriptors: [DescriptorDocument], _ diffIDs: [String], name: String
    ) throws -> [StoredImage.Layer] {
        guard descriptors.count == diffIDs.count else {
            throw refusal(
                name, "it has \(descriptors.count) layers, its configuration \(diffIDs.count)")
        }
        return try zip(descriptors, diffIDs).map { document, text in
            let (digest, size) = try descriptor(document, of: name)
            guard let diffID = Digest(text) else {
                throw refusal(name, "\"\(printable(text.utf8))\" is not a sha256 digest")
            }
            return StoredImage.Layer(
                digest: digest, diffID: diffID,
                mediaType: String((document.mediaType ?? MediaType.layer).prefix(200)),
                sizeBytes: size)
        }
    }

    /// The digest and size of a descriptor, both within their bounds.
    func descriptor(_ document: DescriptorDocument, of name: String) throws -> (Digest, Int) {
        guard let digest = Digest(document.digest) else {
            throw refusal(name, "\"\(printable(document.digest.utf8))\" is not a sha256 digest")
        }
        guard (1...limits.blobBytesMax).contains(document.size) else {
            throw refusal(
                name,
                "blob \(digest) has a size of \(document.size) bytes, and 1 to "
                    + "\(limits.blobBytesMax) are possible")
        }
        return (digest, document.size)
    }

    private func configuration(
        _ process: ConfigurationDocument.Process?, name: String
    ) throws -> ImageConfiguration {
        let environment = process?.environment ?? []
        let texts =
            (process?.entrypoint ?? []) + (process?.command ?? []) + environment
            + [process?.workingFolder, process?.user, process?.stopSignal].compactMap { $0 }
        guard texts.allSatisfy({ !$0.utf8.contains(0) }) else {
            throw refusal(name, "a text in it has a zero byte")
        }
        let folder = process?.workingFolder ?? ""
        let signal = process?.stopSignal ?? ""
        return ImageConfiguration(
            entrypoint: process?.entrypoint ?? [], command: process?.command ?? [],
            environment: environment, workingDirectory: folder.isEmpty ? "/" : folder,
            user: process?.user ?? "", stopSignal: signal.isEmpty ? nil : signal)
    }

    private func refusal(_ name: String, _ why: String) -> ImageError {
        ImageError(.refused, "could not use \(name): \(why); make the image again")
    }
}

/// What this program was built for, in OCI's words.
enum Platform {
    #if arch(x86_64)
        static let architecture = "amd64"
    #elseif arch(arm64)
        static let architecture = "arm64"
    #elseif arch(s390x)
        static let architecture = "s390x"
    #elseif arch(powerpc64le)
        static let architecture = "ppc64le"
    #else
        static let architecture = "riscv64"
    #endif
}
