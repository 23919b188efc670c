import Foundation
import ImageStore
import Testing

@Suite(.enabled(if: isRoot, "unpacking layers needs root"))
struct ExchangeTests {
    let here: TestFolder
    let there: TestFolder

    init() throws {
        here = try TestFolder()
        there = try TestFolder()
    }

    @Test("a peer adopts an image blob by blob")
    func adoption() async throws {
        let source = try here.store()
        let target = try there.store()
        let builder = ImageBuilder([[.file("a", "x")], [.file("b", "y")]], compressed: true)
        let image = try await source.load(
            archive: ArchiveForm.dockerSave.write(builder, to: here))[0]
        let manifest = try await source.manifestBytes(image.manifestDigest)
        #expect(Digest(of: manifest) == image.manifestDigest)
        for digest in image.blobDigests {
            await #expect(throws: ImageError.self) {
                try await target.adopt(manifest: image.manifestDigest, reference: "demo/web:1")
            }
            try await copy(digest, from: source, to: target, piece: 100)
        }
        let adopted = try await target.adopt(
            manifest: image.manifestDigest, reference: "demo/web:1")
        #expect(adopted == image)
        #expect(target.images() == [image])
        let again = try await target.adopt(
            manifest: image.manifestDigest, reference: "demo/web:1")
        #expect(again == image)
    }

    private func copy(
        _ digest: Digest, from source: ImageStore, to target: ImageStore, piece: Int
    ) async throws {
        let size = try #require(source.blobSize(digest))
        let writer = try await target.receive(digest, expectedSize: size)
        #expect(!target.hasBlob(digest))
        var offset = 0
        while offset < size {
            let bytes = try await source.readBlob(digest, offset: offset, maximum: piece)
            #expect((1...piece).contains(bytes.count))
            try await writer.write(bytes)
            offset += bytes.count
        }
        #expect(try await source.readBlob(digest, offset: size, maximum: piece) == [])
        try await writer.finish()
        #expect(target.hasBlob(digest))
    }

    @Test("a blob that is wrong, short, long or given up leaves nothing")
    func wrongBlobs() async throws {
        let store = try here.store()
        let before = here.listing()
        let bytes: [UInt8] = [1, 2, 3, 4]
        let digest = Digest(of: bytes)
        func refused(_ sent: [UInt8], expecting size: Int) async throws {
            let writer = try await store.receive(digest, expectedSize: size)
            await #expect(throws: ImageError.self) {
                try await writer.write(sent)
                try await writer.finish()
            }
            await #expect(throws: ImageError.self) { try await writer.finish() }
            #expect(here.listing() == before)
        }
        try await refused([1, 2, 3, 5], expecting: 4)
        try await refused([1, 2, 3], expecting: 4)
        try await refused([1, 2, 3, 4, 5], expecting: 4)
        try await refused(bytes, expecting: 3)
        do {
            let writer = try await store.receive(digest, expectedSize: 4)
            try await writer.write([1])
            await writer.abort()
            #expect(here.listing() == before)
        }
        do {
            let writer = try await store.receive(digest, expectedSize: 4)
            try await writer.write([1])
        }
        #expect(here.listing() == before)
        for size in [0, -1, Int.max] {
            await #expect(throws: ImageError.self) {
                try await store.receive(digest, expectedSize: size)
            }
        }
        await #expect(throws: ImageError.self) {
            try await store.readBlob(digest, offset: 0, maximum: 1)
        }
    }

    @Test(
        "a digest is sha256 in lower case, and a reference has one short form",
        arguments: [
            ("sha256:" + String(repeating: "a", count: 64), true),
            ("sha256:" + String(repeating: "A", count: 64), false),
            ("sha256:" + String(repeating: "a", count: 63), false),
            ("sha512:" + String(repeating: "a", count: 64), false),
            ("sha256:../../" + String(repeating: "a", count: 58), false), ("", false),
        ])
    func digests(_ text: String, _ isValid: Bool) {
        #expect((Digest(text)?.description == text) == isValid)
    }
}
