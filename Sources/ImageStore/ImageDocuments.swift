import FoundationEssentials

// The JSON documents of the OCI image specification 1.1 and of `docker save`, as far as the store
// reads them. Unknown keys are ignored, as the specification demands.

/// Points to a blob (descriptor.md).
struct DescriptorDocument: Codable {
    /// A processor and an operating system.
    struct Platform: Codable {
        var architecture: String?
        var os: String?
    }

    var mediaType: String?
    var digest: String
    var size: Int
    var annotations: [String: String]?
    var platform: Platform?
}

/// A list of manifests (image-index.md); also a layout's index.json.
struct IndexDocument: Codable {
    var schemaVersion: Int?
    var mediaType: String?
    var manifests: [DescriptorDocument]
}

/// One image for one platform (manifest.md).
struct ManifestDocument: Codable {
    var schemaVersion: Int?
    var mediaType: String?
    var config: DescriptorDocument
    var layers: [DescriptorDocument]
}

/// What an image runs and which layers it has (config.md).
struct ConfigurationDocument: Codable {
    /// The process.
    struct Process: Codable {
        enum CodingKeys: String, CodingKey {
            case entrypoint = "Entrypoint"
            case command = "Cmd"
            case environment = "Env"
            case workingFolder = "WorkingDir"
            case user = "User"
            case stopSignal = "StopSignal"
        }

        var entrypoint: [String]?
        var command: [String]?
        var environment: [String]?
        var workingFolder: String?
        var user: String?
        var stopSignal: String?
    }

    /// The layers.
    struct RootFileSystem: Codable {
        enum CodingKeys: String, CodingKey {
            case diffIDs = "diff_ids"
        }

        var diffIDs: [String]
    }

    var architecture: String?
    var os: String?
    var config: Process?
    var rootfs: RootFileSystem
}

/// One image of a `docker save` archive: an element of its manifest.json.
struct DockerSaveDocument: Codable {
    enum CodingKeys: String, CodingKey {
        case configuration = "Config"
        case references = "RepoTags"
        case layers = "Layers"
    }

    var configuration: String
    var references: [String]?
    var layers: [String]
}

/// The media types the store writes, and those it must tell apart.
enum MediaType {
    static let index = "application/vnd.oci.image.index.v1+json"
    static let manifest = "application/vnd.oci.image.manifest.v1+json"
    static let configuration = "application/vnd.oci.image.config.v1+json"
    static let layer = "application/vnd.oci.image.layer.v1.tar"
    static let dockerIndex = "application/vnd.docker.distribution.manifest.list.v2+json"
    static let dockerConfiguration = "application/vnd.docker.container.image.v1+json"
}

/// The annotations that name an image.
enum Annotation {
    static let reference = "org.opencontainers.image.ref.name"
    static let containerdName = "io.containerd.image.name"
}

/// Reads a document; the error says which one and what is wrong with it.
func decodeDocument<Document: Decodable>(
    _ type: Document.Type, _ bytes: [UInt8], naming name: String
) throws -> Document {
    do {
        return try JSONDecoder().decode(type, from: Data(bytes))
    } catch let error as DecodingError {
        throw ImageError(
            .refused, "could not understand \(name): \(explanation(error)); make the image again")
    } catch {
        throw ImageError(
            .refused, "could not understand \(name): it is not JSON; make the image again")
    }
}

/// Writes a document so that the same contents give the same bytes on every host.
func encodeDocument(_ document: some Encodable) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return [UInt8](try encoder.encode(document))
}

private func explanation(_ error: DecodingError) -> String {
    func place(_ context: DecodingError.Context, _ last: String? = nil) -> String {
        (context.codingPath.map(\.stringValue) + (last.map { [$0] } ?? []))
            .joined(separator: ".")
    }
    switch error {
    case .keyNotFound(let key, let context):
        return "\(printable(place(context, key.stringValue).utf8)) is missing"
    case .typeMismatch(_, let context), .valueNotFound(_, let context):
        return "\(printable(place(context).utf8)) has the wrong type"
    case .dataCorrupted: return "it is not JSON"
    @unknown default: return "it is not as specified"
    }
}
