import FoundationEssentials
import Glibc

/// What the store remembers of a container's root, so that it can go on after a restart.
struct RootRecord: Equatable {
    /// The image's manifest.
    let manifest: Digest
    /// Its unpacked layers; they stay as long as the record does.
    let layers: [Digest]
}

/// Containers' folders and their records.
extension StoreFolders {
    private struct RecordDocument: Codable {
        var manifest: String
        var layers: [String]
    }

    /// The ids of all containers that have a folder, sorted.
    func containers() throws -> [String] {
        try containersFolder.names(naming: "the containers folder")
            .filter(StoreFolders.isContainerID)
    }

    /// True for 1 to 128 letters, digits, `.`, `_` and `-`, not starting with `.`.
    static func isContainerID(_ id: String) -> Bool {
        (1...128).contains(id.utf8.count) && !id.hasPrefix(".")
            && id.utf8.allSatisfy { byte in
                (97...122).contains(byte) || (65...90).contains(byte) || (48...57).contains(byte)
                    || [UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-")].contains(byte)
            }
    }

    /// A container's folder; nil when there is none.
    func containerFolder(_ id: String) throws -> OpenFile? {
        guard faccessat(containersFolder.descriptor, id, F_OK, 0) == 0 else { return nil }
        return try OpenFile(
            in: containersFolder, id, flags: O_RDONLY | O_DIRECTORY,
            attempt: "open the folder of container \(id)")
    }

    /// A container's record; nil when there is no folder or, after a crash, no record in it yet:
    /// the record is written before anything is mounted.
    func rootRecord(_ id: String) throws -> RootRecord? {
        guard let folder = try containerFolder(id) else { return nil }
        guard faccessat(folder.descriptor, "image", F_OK, 0) == 0 else { return nil }
        let name = "the record of container \(id)"
        let file = try OpenFile(in: folder, "image", flags: O_RDONLY, attempt: "open \(name)")
        let bytes = try file.read(offset: 0, maximum: 1 << 20, naming: name)
        let document = try decodeDocument(RecordDocument.self, bytes, naming: name)
        guard let manifest = Digest(document.manifest) else {
            throw ImageError(.refused, "could not understand \(name): it has no manifest digest")
        }
        return RootRecord(manifest: manifest, layers: document.layers.compactMap { Digest($0) })
    }

    /// Writes a container's record.
    func writeRecord(_ record: RootRecord, in folder: OpenFile) throws {
        let document = RecordDocument(
            manifest: record.manifest.description, layers: record.layers.map(\.description))
        try replaceFile("image", in: folder, with: encodeDocument(document))
    }

    /// The unpacked layers that an image or a container's root uses; nil when that cannot be told,
    /// and then none may be removed.
    func layersInUse(_ catalog: ImageCatalog) -> Set<Digest>? {
        var used = Set(catalog.images.flatMap { $0.layers.map(\.diffID) })
        guard let ids = try? containers() else { return nil }
        for id in ids {
            do {
                if let record = try rootRecord(id) { used.formUnion(record.layers) }
            } catch {
                return nil
            }
        }
        return used
    }
}
