import Foundation
import ImageStore
import Testing

/// The forms of archives that a load must read.
enum ArchiveForm: String, CaseIterable, Sendable {
    case folder, plainTar, compressedTar, dockerSave, compressedDockerSave

    /// Writes the archive and returns its path.
    func write(_ image: ImageBuilder, to folder: TestFolder) throws -> String {
        switch self {
        case .folder: try folder.write(folder: "image", image.layout)
        case .plainTar: try folder.write("image.tar", tar(entries(image.layout)))
        case .compressedTar: try folder.write("image.tgz", gzip(tar(entries(image.layout))))
        case .dockerSave: try folder.write("image.tar", tar(image.dockerSave))
        case .compressedDockerSave: try folder.write("image.tgz", gzip(tar(image.dockerSave)))
        }
    }
}

@Suite(.enabled(if: isRoot, "unpacking layers needs root"))
struct LoadTests {
    let folder: TestFolder
    let image = ImageBuilder(
        [
            [.folder("bin"), .file("bin/sh", "#!", mode: 0o4755)], [.file("etc/motd", "hello")],
            [.folder("bin"), .file("bin/sh", "#!", mode: 0o4755)],
        ], compressed: true)

    init() throws {
        folder = try TestFolder()
    }

    @Test("every form of archive gives the same image", arguments: ArchiveForm.allCases)
    func everyForm(_ form: ArchiveForm) async throws {
        let store = try folder.store()
        let loaded = try await store.load(archive: form.write(image, to: folder))
        #expect(loaded.map(\.reference) == ["demo/web:1"])
        let stored = try #require(store.image(reference: "docker.io/demo/web:1"))
        #expect(store.images() == [stored])
        #expect(stored.layers.map(\.diffID) == image.plain.map { Digest(of: $0) })
        #expect(stored.layers.map(\.digest) == image.layers.map { Digest(of: $0) })
        #expect(stored.configDigest == Digest(of: image.configuration))
        #expect(
            stored.configuration
                == ImageConfiguration(
                    entrypoint: [], command: ["/bin/sh"], environment: ["A=b"],
                    workingDirectory: "/", user: "7:8", stopSignal: nil))
        for digest in stored.blobDigests {
            let size = try #require(store.blobSize(digest))
            let bytes = try await store.readBlob(digest, offset: 0, maximum: size + 1)
            #expect(Digest(of: bytes) == digest)
        }
        #expect(store.image(manifest: stored.manifestDigest) == stored)
        #expect(store.image(reference: "x@\(stored.manifestDigest)") == stored)
        #expect(
            try FileManager.default.contentsOfDirectory(
                atPath: "\(folder.storePath)/staging") == [])
    }

    /// The compressors of this machine that libarchive can undo.
    static let compressors = ["zstd", "xz", "bzip2"].filter {
        FileManager.default.fileExists(atPath: "/usr/bin/\($0)")
            || FileManager.default.fileExists(atPath: "/bin/\($0)")
    }

    @Test("other compressions are read, for archives and for layers", arguments: compressors)
    func compression(_ program: String) async throws {
        func compressed(_ bytes: [UInt8]) throws -> [UInt8] {
            let path = try folder.write("plain", bytes)
            let process = try Process.run(
                URL(fileURLWithPath: "/usr/bin/env"), arguments: [program, "-k", "-f", path])
            process.waitUntilExit()
            let suffix = ["zstd": "zst", "bzip2": "bz2"][program] ?? program
            return try Array(Data(contentsOf: URL(fileURLWithPath: "\(path).\(suffix)")))
        }
        var packed = image
        packed.layers = try packed.plain.map(compressed)
        let archive = try folder.write("image", compressed(tar(packed.dockerSave)))
        let loaded = try await folder.store().load(archive: archive)
        #expect(loaded[0].layers.map(\.diffID) == image.plain.map { Digest(of: $0) })
        #expect(program != "zstd" || loaded[0].layers[0].mediaType.hasSuffix("+zstd"))
    }

    @Test("two hosts give a docker save archive the same manifest, and restarts keep images")
    func sameManifestEverywhere() async throws {
        let archive = try folder.write("image.tar", tar(image.dockerSave))
        let other = try TestFolder()
        let here = try await folder.store().load(archive: archive)
        let there = try await other.store().load(archive: archive)
        #expect(here == there)
        #expect(try folder.store().images() == here)
    }

    @Test("loading twice changes nothing", arguments: [ArchiveForm.folder, .dockerSave])
    func loadingTwice(_ form: ArchiveForm) async throws {
        let archive = try form.write(image, to: folder)
        let store = try folder.store()
        let first = try await store.load(archive: archive)
        let before = folder.listing()
        #expect(try await store.load(archive: archive) == first)
        #expect(folder.listing() == before)
    }

    @Test("tags move, an image without a name stays reachable, the last name takes it away")
    func tagsAndRemoval() async throws {
        let store = try folder.store()
        let first = try await store.load(archive: ArchiveForm.plainTar.write(image, to: folder))[0]
        try await store.tag(reference: "demo/web", manifest: first.manifestDigest)
        #expect(store.images().map(\.reference) == ["demo/web:1", "demo/web:latest"])
        let newer = ImageBuilder([[.file("new")]])
        let second = try await store.load(
            archive: ArchiveForm.folder.write(newer, to: folder), references: ["demo/web:1"])[0]
        try await store.remove(reference: "demo/web:latest")
        #expect(store.images() == [second])
        #expect(!store.hasBlob(first.manifestDigest))
        let third = ImageBuilder([[.file("third")]])
        _ = try await store.load(archive: ArchiveForm.plainTar.write(third, to: folder))
        #expect(store.image(manifest: second.manifestDigest) != nil)
        #expect(
            store.images().map(\.reference)
                == ["demo/web:1", "demo/web@\(second.manifestDigest)"])
    }

    @Test("an index for several platforms gives this host's image")
    func nestedIndex() async throws {
        var other = image
        other.architecture = "pdp11"
        let builder = image
        func entry(_ image: ImageBuilder) -> String {
            builder.descriptor(
                "application/vnd.oci.image.manifest.v1+json", image.manifest,
                more: #","platform":{"os":"linux","architecture":"\#(image.architecture)"}"#)
        }
        let nested = Array(#"{"manifests":[\#(entry(other)),\#(entry(image))]}"#.utf8)
        let name = #","annotations":{"io.containerd.image.name":"docker.io/library/web:2"}"#
        let index = image.descriptor(
            "application/vnd.oci.image.index.v1+json", nested, more: name)
        var files = image.layout.filter { $0.path != "index.json" }
        files.append(("index.json", Array(#"{"manifests":[\#(index)]}"#.utf8)))
        files.append(ImageBuilder.blob(nested))
        let archive = try folder.write("image.tar", tar(entries(files)))
        let loaded = try await folder.store().load(archive: archive)
        #expect(loaded.map(\.reference) == ["web:2"])
        #expect(loaded[0].manifestDigest == Digest(of: image.manifest))
    }

    @Test("a start removes what a crash left half-written, and what nothing names")
    func startCleans() async throws {
        _ = try await folder.store().load(archive: ArchiveForm.plainTar.write(image, to: folder))
        let before = folder.listing()
        _ = try folder.write("store/staging/5/deep/file", [1])
        _ = try folder.write("store/staging/zz", [1, 2])
        _ = try folder.write("store/blobs/sha256/\(Digest(of: [9]).hexadecimal)", [9])
        _ = try folder.write("store/layers/\(Digest(of: [9]).hexadecimal)/file", [9])
        let store = try folder.store()
        #expect(folder.listing() == before)
        #expect(throws: ImageError.self) { try folder.store() }
        #expect(store.images().count == 1)
    }
}
