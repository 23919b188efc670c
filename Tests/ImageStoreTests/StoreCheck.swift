import Foundation
import ImageStore
import Testing

/// Images that share layers, and what must hold of a store that has some of them.
struct ImagePool {
    /// Layer n holds the file `layer<n>` with this text.
    static func text(_ layer: Int) -> String { "the text of layer \(layer)" }

    /// Which layers each image has.
    static let layersOf = [[0, 1], [0, 2], [1, 2, 3], [0, 1, 4], [3]]

    let builders: [ImageBuilder]
    let archives: [String]
    private let folder: TestFolder

    /// Writes the archives, in several forms.
    init(in folder: TestFolder) throws {
        self.folder = folder
        builders = ImagePool.layersOf.map { layers in
            ImageBuilder(layers.map { [.file("layer\($0)", ImagePool.text($0))] }, compressed: true)
        }
        archives = try builders.enumerated().map { index, builder in
            index % 2 == 0
                ? try folder.write(folder: "pool\(index)", builder.layout)
                : try folder.write("pool\(index).tar", tar(entries(builder.layout)))
        }
    }

    func manifest(_ index: Int) -> Digest { Digest(of: builders[index].manifest) }

    /// The blobs of an image as a peer would send them.
    func blobs(_ index: Int) -> [[UInt8]] {
        let builder = builders[index]
        return [builder.manifest, builder.configuration] + builder.layers
    }

    /// Sends the blobs of an image to a store, as a peer would: all, or those it lacks.
    func send(_ index: Int, to store: ImageStore, lackingOnly: Bool = false) async throws {
        for bytes in blobs(index) where !lackingOnly || !store.hasBlob(Digest(of: bytes)) {
            let writer = try await store.receive(Digest(of: bytes), expectedSize: bytes.count)
            try await writer.write(bytes)
            try await writer.finish()
        }
    }

    /// True when a root shows every layer of an image.
    func isWhole(root: String, _ index: Int) -> Bool {
        ImagePool.layersOf[index].allSatisfy {
            (try? String(contentsOfFile: "\(root)/layer\($0)", encoding: .utf8))
                == ImagePool.text($0)
        }
    }

    /// Checks that all that is listed is whole; throws when it is not, so that no test goes on to
    /// wait for what is lost.
    func checkListed(_ store: ImageStore) async throws {
        for image in store.images() {
            let index = try #require(
                builders.indices.first { manifest($0) == image.manifestDigest })
            for digest in image.blobDigests {
                let size = try #require(store.blobSize(digest), "\(image.reference) lacks a blob")
                let bytes = try await store.readBlob(digest, offset: 0, maximum: size + 1)
                try #require(Digest(of: bytes) == digest)
            }
            for (layer, number) in zip(image.layers, ImagePool.layersOf[index]) {
                let file = "\(folder.storePath)/layers/\(layer.diffID.hexadecimal)/layer\(number)"
                let text = try? String(contentsOfFile: file, encoding: .utf8)
                try #require(text == ImagePool.text(number), "\(image.reference) lacks a layer")
            }
        }
    }

    /// Checks that all that is listed is whole, and that there is nothing else but the layers of
    /// mounted roots; for a store that has nothing to do.
    func checkAll(_ store: ImageStore, roots: [String: Int] = [:]) async throws {
        try await checkListed(store)
        let images = store.images()
        let blobs = Set(images.flatMap(\.blobDigests).map(\.hexadecimal))
        #expect(names("blobs/sha256") == blobs)
        var layers = Set(images.flatMap(\.layers).map(\.diffID.hexadecimal))
        for index in roots.values {
            layers.formUnion(builders[index].plain.map { Digest(of: $0).hexadecimal })
        }
        #expect(names("layers") == layers)
        #expect(names("staging") == [])
        #expect(names("containers") == Set(roots.keys))
        #expect(store.mountedRoots() == roots.keys.sorted())
        for (id, index) in roots {
            #expect(isWhole(root: "\(store.root)/containers/\(id)/merged", index))
        }
        for link in names("l") {
            let target = try FileManager.default.destinationOfSymbolicLink(
                atPath: "\(folder.storePath)/l/\(link)")
            #expect(layers.contains((target as NSString).lastPathComponent))
        }
    }

    private func names(_ path: String) -> Set<String> {
        let names = try? FileManager.default.contentsOfDirectory(
            atPath: "\(folder.storePath)/\(path)")
        return Set(names ?? [])
    }
}
