import Base
import Foundation
import ImageStore
import Testing

/// Something an archive must not get away with, and a word of the refusal.
struct Attack: Sendable, CustomTestStringConvertible {
    let name: String
    let layers: [[TarEntry]]
    let word: String

    init(_ name: String, _ entries: [TarEntry], _ word: String) {
        self.name = name
        layers = [[.file("fine")], entries]
        self.word = word
    }

    var testDescription: String { name }

    static let layerAttacks: [Attack] = [
        Attack("leads out", [.file("../../etc/passwd", "x")], "leads out"),
        Attack("leads out later", [.file("a/../../../etc/passwd", "x")], "leads out"),
        Attack("absolute name", [.file("/etc/passwd", "x")], "absolute"),
        Attack(
            "absolute hard link", [.hardLink("a", to: "/etc/passwd")], "hard link target"),
        Attack(
            "hard link leads out", [.hardLink("a", to: "../../../../etc/passwd")], "leads out"),
        Attack("hard link to nothing", [.hardLink("a", to: "b")], "not an earlier file"),
        Attack(
            "hard link through a symbolic link",
            [.link("etc", to: "/etc"), .hardLink("a", to: "etc/passwd")], "not an earlier file"),
        Attack(
            "hard link to a folder", [.folder("b"), .hardLink("a", to: "b")],
            "not an earlier file"),
        Attack(
            "hard link to a deleted file", [.file(".wh.b"), .hardLink("a", to: "b")],
            "not an earlier file"),
        Attack(
            "writes through a symbolic link",
            [.link("tmp", to: "/tmp"), .file("tmp/shoalt-evil", "x")], "symbolic link"),
        Attack(
            "makes a folder through a symbolic link",
            [.link("tmp", to: "/tmp"), .folder("tmp/shoalt-evil")], "symbolic link"),
        Attack(
            "deletes through a symbolic link",
            [.link("tmp", to: "/tmp"), .file("tmp/.wh.file")], "symbolic link"),
        Attack(
            "replaces a folder it is in",
            [.folder("a/b"), .link("a", to: "/tmp"), .file("a/b/c", "x")], "not empty"),
        Attack("below a file", [.file("a"), .file("a/b")], "not a folder"),
        Attack("empty name", [.file("", "x")], "empty name"),
        Attack("root is a file", [.file(".", "x")], "root"),
        Attack("whiteout of nothing", [.file("a/.wh.")], "no name"),
        Attack("whiteout of the parent", [.file("a/.wh...")], "no name"),
        Attack("inside a whiteout", [.file(".wh.a/b")], "inside a whiteout"),
        Attack(
            "name too long", [.file(String(repeating: "n", count: 256))], "more than 255 bytes"),
        Attack(
            "path too long",
            [.file(Array(repeating: "n", count: 2_500).joined(separator: "/"))], "more than 4096"),
        Attack(
            "too deep", [.file(Array(repeating: "n", count: 300).joined(separator: "/"))],
            "256 folders deep"),
        Attack(
            "a device that marks deleted files", [TarEntry(path: "a", type: "3")],
            "deleted files"),
        Attack("symbolic link to nothing", [TarEntry(path: "a", type: "2")], "no usable target"),
    ]
}

@Suite(.enabled(if: isRoot, "unpacking layers needs root"))
struct HostileArchiveTests {
    let folder: TestFolder

    init() throws {
        folder = try TestFolder()
    }

    /// Loads an archive that must be refused, and checks that nothing of it stays.
    private func refused(
        _ archive: String, word: String, reason: ImageError.Reason = .refused,
        naming name: String = "", limits: ImageLimits = ImageLimits()
    ) async throws {
        let store = try folder.store(limits)
        let good = ImageBuilder([[.file("good")]])
        _ = try await store.load(
            archive: folder.write("good.tar", tar(good.dockerSave)), references: ["good"])
        let before = folder.listing()
        let error = await #expect(throws: ImageError.self) {
            try await store.load(archive: archive)
        }
        #expect(error?.reason == reason)
        #expect(error?.sentence.contains(word) == true, "\(error?.sentence ?? "no error")")
        #expect(error?.sentence.contains(name.isEmpty ? word : name) == true)
        #expect(error?.sentence.contains("\n") == false)
        #expect(folder.listing() == before)
        #expect(store.images().map(\.reference) == ["good:latest"])
        #expect(!FileManager.default.fileExists(atPath: "/tmp/shoalt-evil"))
    }

    @Test("a dishonest layer is refused whole", arguments: Attack.layerAttacks)
    func layerAttack(_ attack: Attack) async throws {
        let image = ImageBuilder(attack.layers, compressed: true)
        try await refused(
            folder.write("image.tar", tar(image.dockerSave)), word: attack.word,
            naming: " of image demo/web:1: ")
    }

    @Test(
        "an archive's own entries cannot lead out of it",
        arguments: [
            Attack("entry", [.file("../manifest.json", "x")], "leads out"),
            Attack("absolute", [.file("/manifest.json", "x")], "absolute"),
            Attack("link", [.link("manifest.json", to: "../../etc/passwd")], "leads out"),
            Attack("absolute link", [.link("manifest.json", to: "/etc/passwd")], "absolute"),
            Attack(
                "circle", [.link("manifest.json", to: "a"), .link("a", to: "manifest.json")],
                "neither"),
            Attack("device", [TarEntry(path: "manifest.json", type: "6")], "neither a file"),
            Attack("no JSON", [.file("manifest.json", "{")], "not JSON"),
            Attack("wrong JSON", [.file("manifest.json", #"[{"Config":1}]"#)], "wrong type"),
            Attack(
                "nested JSON", [.file("manifest.json", String(repeating: "[", count: 9_999))],
                "JSON"),
            Attack("no images", [.file("manifest.json", "[]")], "0 images"),
            Attack(
                "missing files",
                [.file("manifest.json", #"[{"Config":"c.json","RepoTags":["a:1"],"Layers":[]}]"#)],
                "c.json"),
            Attack("a page", [.file("index.html", "<html>")], "neither an index.json"),
            Attack("empty", [], "neither an index.json"),
        ])
    func archiveAttack(_ attack: Attack) async throws {
        try await refused(folder.write("image.tar", tar(attack.layers[1])), word: attack.word)
    }

    @Test("blobs that are not what their names say are refused", arguments: 0..<5)
    func digestMismatch(_ which: Int) async throws {
        let image = ImageBuilder([[.file("file", "text")]])
        var layout = image.layout
        let word: String
        switch which {
        case 0...2:
            layout[2 + which].bytes[10] ^= 1
            word = "not the one in its name"
        case 3:
            layout.remove(at: 4)
            word = "is missing"
        default:
            var other = image
            other.plain = [tar([.file("other")])]
            layout = other.layout
            word = "uncompressed it is"
        }
        try await refused(folder.write(folder: "image", layout), word: word)
        try await refused(folder.write("image.tar", tar(entries(layout))), word: word)
    }

    @Test("sizes, platforms and names that do not fit are refused")
    func misfits() async throws {
        var image = ImageBuilder([[.file("file", "text")]])
        image.architecture = "pdp11"
        try await refused(
            folder.write("1.tar", tar(image.dockerSave)), word: "pdp11", reason: .unsupported)
        image.architecture = ImageBuilder.hostArchitecture
        image.reference = "Demo/Web:1"
        try await refused(folder.write("2.tar", tar(image.dockerSave)), word: "lower-case")
        image.reference = nil
        try await refused(folder.write("3.tar", tar(image.dockerSave)), word: "give a name")
        image.reference = "demo/web:1"
        image.process = #""Cmd":["a\u0000b"]"#
        try await refused(folder.write("4.tar", tar(image.dockerSave)), word: "zero byte")
        try await refused("\(folder.path)/none", word: "No such file", reason: .system)
        try await refused("/dev/null", word: "neither a file nor a folder")
        try await refused(folder.path, word: "neither an index.json")
    }

    @Test("what is above a limit is refused")
    func limits() async throws {
        let big = String(repeating: "x", count: 200_000)
        let image = ImageBuilder([[.file("a", big), .file("b", big)], [.file("c")]])
        let archive = try folder.write("image.tar", tar(image.dockerSave))
        func limited(_ change: (inout ImageLimits) -> Void) -> ImageLimits {
            var limits = ImageLimits()
            change(&limits)
            return limits
        }
        try await refused(
            archive, word: "more than 300000 bytes", limits: limited { $0.layerBytesMax = 300_000 })
        try await refused(
            archive, word: "too large", limits: limited { $0.blobBytesMax = 300_000 })
        try await refused(
            archive, word: "too large", limits: limited { $0.archiveBytesMax = 300_000 })
        try await refused(
            archive, word: "more than 3 files", limits: limited { $0.archiveEntriesMax = 3 })
        try await refused(
            archive, word: "more than 1 files", limits: limited { $0.layerEntriesMax = 1 })
        try await refused(archive, word: "2 layers", limits: limited { $0.layersMax = 1 })
    }

    @Test("a disk without the reserve is left alone")
    func diskReserve() async throws {
        let image = ImageBuilder([[.file("file", "text")]])
        var limits = ImageLimits()
        limits.freeBytesReserve = 1 << 60
        let store = try folder.store(limits)
        let archive = try folder.write("image.tar", tar(image.dockerSave))
        let error = await #expect(throws: ImageError.self) {
            try await store.load(archive: archive)
        }
        #expect(error?.reason == .noSpace)
        #expect(store.images() == [])
    }

    @Test("cut short, an archive is refused", arguments: [ArchiveForm.plainTar, .compressedTar])
    func truncated(_ form: ArchiveForm) async throws {
        let image = ImageBuilder([[.file("file", String(repeating: "x", count: 3_000))]])
        let whole = try Array(
            Data(
                contentsOf: URL(
                    fileURLWithPath: form.write(image, to: folder))))
        let store = try folder.store()
        let before = folder.listing()
        var random = RandomSource(seed: 7)
        // The end mark alone may be missing: nothing of the contents is then.
        let contents = whole.count - 1_200
        for _ in 0..<40 {
            let size = Int.random(in: 0..<contents, using: &random)
            let archive = try folder.write("cut", Array(whole.prefix(size)))
            await #expect(throws: ImageError.self) { try await store.load(archive: archive) }
        }
        #expect(folder.listing() == before)
    }

    @Test("random and damaged bytes never do harm")
    func garbage() async throws {
        let image = ImageBuilder(
            [[.folder("a"), .file("a/file", "x"), .hardLink("b", to: "a/file")]], compressed: true)
        let whole = tar(image.dockerSave)
        let store = try folder.store()
        let before = folder.listing()
        var random = RandomSource(seed: 11)
        for round in 0..<120 {
            var bytes = whole
            if round % 2 == 0 {
                bytes = (0..<Int.random(in: 0..<4_000, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
            } else {
                for _ in 0..<Int.random(in: 1...8, using: &random) {
                    bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(
                        in: 0...255, using: &random)
                }
            }
            let archive = try folder.write("garbage", bytes)
            // Damage to padding or to times of the outer tar changes nothing, and may pass.
            if let images = try? await store.load(archive: archive) {
                for image in images { try await store.remove(reference: image.reference) }
            }
        }
        #expect(store.images() == [])
        #expect(
            folder.listing().filter { !$0.hasPrefix("index") && !$0.hasPrefix("oci") }
                == before.filter { !$0.hasPrefix("index") && !$0.hasPrefix("oci") })
    }

    @Test("an image cannot get at another's layer by giving its diffID")
    func borrowedLayer() async throws {
        let secret = ImageBuilder([[.file("secret", "text")]])
        let store = try folder.store()
        _ = try await store.load(
            archive: folder.write("1.tar", tar(secret.dockerSave)), references: ["secret"])
        var thief = ImageBuilder([[.file("other")]])
        thief.plain = secret.plain
        let archive = try folder.write(folder: "2", thief.layout)
        await #expect(throws: ImageError.self) { try await store.load(archive: archive) }
        #expect(store.images().map(\.reference) == ["secret:latest"])
    }
}
