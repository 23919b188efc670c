import ImageStore

/// Makes image archives for tests: files by path, in either form.
struct ImageBuilder {
    /// Each layer as it goes into the archive, lowest first.
    var layers: [[UInt8]]
    /// The layers uncompressed, when `layers` are not.
    var plain: [[UInt8]]
    var reference: String? = "demo/web:1"
    var architecture = ImageBuilder.hostArchitecture
    /// More JSON for the configuration's `config`.
    var process = #""Cmd":["/bin/sh"],"Entrypoint":null,"Env":["A=b"],"WorkingDir":"","User":"7:8""#

    init(_ layers: [[TarEntry]], compressed: Bool = false) {
        plain = layers.map { tar($0) }
        self.layers = compressed ? plain.map { gzip($0) } : plain
    }

    var configuration: [UInt8] {
        let diffIDs = plain.map { "\"\(Digest(of: $0))\"" }.joined(separator: ",")
        return Array(
            """
            {"architecture":"\(architecture)","os":"linux","config":{\(process)},\
            "rootfs":{"type":"layers","diff_ids":[\(diffIDs)]}}
            """.utf8)
    }

    var manifest: [UInt8] {
        let descriptors = layers.map {
            descriptor("application/vnd.oci.image.layer.v1.tar", $0)
        }
        return Array(
            """
            {"schemaVersion":2,"config":\
            \(descriptor("application/vnd.oci.image.config.v1+json", configuration)),\
            "layers":[\(descriptors.joined(separator: ","))]}
            """.utf8)
    }

    /// The files of an OCI image layout.
    var layout: [(path: String, bytes: [UInt8])] {
        let name = reference.map {
            #","annotations":{"org.opencontainers.image.ref.name":"\#($0)"}"#
        }
        let entry = descriptor(
            "application/vnd.oci.image.manifest.v1+json", manifest, more: name ?? "")
        return [("oci-layout", Array(#"{"imageLayoutVersion":"1.0.0"}"#.utf8))]
            + [("index.json", Array(#"{"schemaVersion":2,"manifests":[\#(entry)]}"#.utf8))]
            + ([manifest, configuration] + layers).map(ImageBuilder.blob)
    }

    /// The entries of a `docker save` tar of the older form, where a layer that is there twice is
    /// a symbolic link.
    var dockerSave: [TarEntry] {
        var entries: [TarEntry] = []
        var paths: [String] = []
        for (number, layer) in layers.enumerated() {
            let path = "layer\(number)/layer.tar"
            if let first = layers.firstIndex(of: layer), first < number {
                entries.append(.link(path, to: "../layer\(first)/layer.tar"))
            } else {
                entries.append(TarEntry(path: path, content: layer))
            }
            paths.append("\"\(path)\"")
        }
        let config = "\(Digest(of: configuration).hexadecimal).json"
        let tags = reference.map { "[\"\($0)\"]" } ?? "null"
        let manifest = """
            [{"Config":"\(config)","RepoTags":\(tags),"Layers":[\(paths.joined(separator: ","))]}]
            """
        return entries + [
            TarEntry(path: config, content: configuration), .file("manifest.json", manifest),
        ]
    }

    func descriptor(_ type: String, _ bytes: [UInt8], more: String = "") -> String {
        #"{"mediaType":"\#(type)","digest":"\#(Digest(of: bytes))","size":\#(bytes.count)\#(more)}"#
    }

    static func blob(_ bytes: [UInt8]) -> (path: String, bytes: [UInt8]) {
        ("blobs/sha256/\(Digest(of: bytes).hexadecimal)", bytes)
    }

    static var hostArchitecture: String {
        #if arch(arm64)
            "arm64"
        #else
            "amd64"
        #endif
    }
}

/// Files by path as entries of a tar.
func entries(_ files: [(path: String, bytes: [UInt8])]) -> [TarEntry] {
    files.map { TarEntry(path: $0.path, content: $0.bytes) }
}
