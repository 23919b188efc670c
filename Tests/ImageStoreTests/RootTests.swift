import Foundation
import ImageStore
import Testing

@Suite(.enabled(if: canMount, "mounting needs root and overlayfs"))
struct RootTests {
    let folder: TestFolder
    let image = ImageBuilder([
        [
            .folder("etc"), .file("etc/old", "old"), .file("etc/kept", "kept"),
            .file("dir/inside", "x"),
        ],
        [.file("etc/.wh.old"), .file("new", "new"), .folder("dir"), .file("dir/.wh..wh..opq")],
    ])

    init() throws {
        folder = try TestFolder()
    }

    private func load(_ store: ImageStore) async throws -> Digest {
        try await store.load(
            archive: ArchiveForm.plainTar.write(image, to: folder))[0].manifestDigest
    }

    private func text(_ path: String) -> String? {
        try? String(contentsOfFile: path, encoding: .utf8)
    }

    @Test("a root shows the layers merged, and what a container writes is its own")
    func merged() async throws {
        let store = try folder.store()
        let manifest = try await load(store)
        let one = try await store.mountRoot(container: "one", image: manifest)
        let two = try await store.mountRoot(container: "two", image: manifest)
        #expect(text("\(one)/etc/kept") == "kept")
        #expect(text("\(one)/etc/old") == nil)
        #expect(text("\(one)/new") == "new")
        #expect(text("\(one)/dir/inside") == nil)
        #expect(folder.status(one).st_mode == S_IFDIR | 0o755)
        try Data("mine".utf8).write(to: URL(fileURLWithPath: "\(one)/etc/kept"))
        #expect(text("\(two)/etc/kept") == "kept")
        #expect(store.mountedRoots() == ["one", "two"])
        #expect(try await store.mountRoot(container: "one", image: manifest) == one)
        #expect(text("\(one)/etc/kept") == "mine")
        try await store.unmountRoot(container: "one")
        try await store.unmountRoot(container: "one")
        try await store.unmountRoot(container: "never-there")
        #expect(store.mountedRoots() == ["two"])
        #expect(store.knownRoots() == ["two"])
        let again = try await store.mountRoot(container: "one", image: manifest)
        #expect(text("\(again)/etc/kept") == "kept")
        try await store.unmountRoot(container: "one")
        try await store.unmountRoot(container: "two")
        #expect(store.mountedRoots() == [])
        #expect(folder.listing().filter { $0.contains("staging/") } == [])
    }

    @Test("callers at the same time share the layers")
    func concurrent() async throws {
        let store = try folder.store()
        let manifest = try await load(store)
        try FileManager.default.removeItem(
            atPath: "\(folder.storePath)/layers/\(Digest(of: image.plain[1]).hexadecimal)")
        try await withThrowingTaskGroup(of: String.self) { group in
            for number in 0..<8 {
                group.addTask {
                    try await store.mountRoot(container: "c\(number / 2)", image: manifest)
                }
            }
            for try await path in group { #expect(text("\(path)/new") == "new") }
        }
        #expect(store.mountedRoots() == ["c0", "c1", "c2", "c3"])
        for id in store.knownRoots() { try await store.unmountRoot(container: id) }
    }

    @Test("a restarted store knows its mounted roots and keeps their layers")
    func restart() async throws {
        let manifest: Digest
        do {
            let store = try folder.store()
            manifest = try await load(store)
            _ = try await store.mountRoot(container: "one", image: manifest)
        }
        let store = try folder.store()
        #expect(store.mountedRoots() == ["one"])
        try await store.remove(reference: "demo/web:1")
        let path = try await store.mountRoot(container: "one", image: manifest)
        #expect(text("\(path)/new") == "new")
        await #expect(throws: ImageError.self) {
            try await store.mountRoot(container: "two", image: manifest)
        }
        try await store.unmountRoot(container: "one")
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: "\(folder.storePath)/layers") == [])
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: "\(folder.storePath)/l") == [])
    }

    @Test("a root in use is not taken away, nor given another image")
    func inUse() async throws {
        let store = try folder.store()
        let manifest = try await load(store)
        let path = try await store.mountRoot(container: "one", image: manifest)
        let other = try await store.load(
            archive: ArchiveForm.dockerSave.write(ImageBuilder([[.file("x")]]), to: folder),
            references: ["other"])[0]
        var reasons: [ImageError.Reason?] = []
        reasons.append(
            await #expect(throws: ImageError.self) {
                try await store.mountRoot(container: "one", image: other.manifestDigest)
            }?.reason)
        let file = try #require(fopen("\(path)/new", "r"))
        reasons.append(
            await #expect(throws: ImageError.self) {
                try await store.unmountRoot(container: "one")
            }?.reason)
        fclose(file)
        #expect(reasons == [.inUse, .inUse])
        try await store.unmountRoot(container: "one")
        for id in ["", ".", "..", "a/b", "../one", String(repeating: "x", count: 129)] {
            await #expect(throws: ImageError.self) {
                try await store.mountRoot(container: id, image: manifest)
            }
        }
    }

    @Test("as many layers as are allowed can be mounted, also when one is there twice")
    func manyLayers() async throws {
        let layers = (0..<127).map { [TarEntry.file("file\($0 % 126)", "x")] }
        let store = try folder.store()
        let loaded = try await store.load(
            archive: folder.write("many.tar", tar(ImageBuilder(layers).dockerSave)))[0]
        let id = String(repeating: "i", count: 128)
        let path = try await store.mountRoot(container: id, image: loaded.manifestDigest)
        #expect(try FileManager.default.contentsOfDirectory(atPath: path).count == 126)
        // What a container writes can be nested deeper than any path may be long.
        var deepest = open(path, O_RDONLY)
        let name = String(repeating: "n", count: 200)
        for _ in 0..<40 {
            #expect(mkdirat(deepest, name, 0o700) == 0)
            let next = openat(deepest, name, O_RDONLY)
            close(deepest)
            deepest = next
        }
        close(deepest)
        try await store.unmountRoot(container: id)
        #expect(store.knownRoots() == [])
    }
}
