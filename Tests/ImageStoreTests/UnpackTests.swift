import Foundation
import ImageStore
import Testing

@Suite(.enabled(if: isRoot, "unpacking layers needs root"))
struct UnpackTests {
    let folder: TestFolder

    init() throws {
        folder = try TestFolder()
    }

    /// Loads an image of one layer and returns the path of the unpacked folder.
    private func unpack(_ entries: [TarEntry]) async throws -> String {
        let image = ImageBuilder([entries])
        _ = try await folder.store().load(
            archive: folder.write("image.tar", tar(image.dockerSave)))
        return "\(folder.storePath)/layers/\(Digest(of: image.plain[0]).hexadecimal)"
    }

    private func mode(_ path: String) -> mode_t { folder.status(path).st_mode }

    @Test("owners, modes and times are those of the layer")
    func metadata() async throws {
        var tool = TarEntry.file("usr/bin/tool", "x", mode: 0o6755)
        (tool.user, tool.group) = (123, 456)
        var link = TarEntry.link("link", to: "/absolute/target")
        (link.user, link.group) = (7, 8)
        var top = TarEntry.folder("./", mode: 0o1777)
        top.user = 9
        let root = try await unpack([
            top, .folder("usr/", mode: 0o700), .folder("usr/bin", mode: 0o2750), tool, link,
            TarEntry(path: "null", type: "3", mode: 0o666, device: (1, 3)),
            TarEntry(path: "disk", type: "4", mode: 0o640, group: 6, device: (8, 300)),
            TarEntry(path: "pipe", type: "6", mode: 0o620), .file("implied/folder/file"),
        ])
        #expect(mode(root) == S_IFDIR | 0o1777)
        #expect(folder.status(root).st_uid == 9)
        #expect(mode("\(root)/usr") == S_IFDIR | 0o700)
        #expect(mode("\(root)/usr/bin") == S_IFDIR | 0o2750)
        #expect(mode("\(root)/implied/folder") == S_IFDIR | 0o755)
        let facts = folder.status("\(root)/usr/bin/tool")
        #expect(facts.st_mode == S_IFREG | 0o6755)
        #expect((facts.st_uid, facts.st_gid) == (123, 456))
        #expect(facts.st_mtim.tv_sec == 1_600_000_000)
        #expect(folder.status("\(root)/usr").st_mtim.tv_sec == 1_600_000_000)
        #expect(folder.status("\(root)/link").st_uid == 7)
        #expect(mode("\(root)/null") == S_IFCHR | 0o666)
        #expect(folder.status("\(root)/null").st_rdev == 1 << 8 | 3)
        #expect(mode("\(root)/disk") == S_IFBLK | 0o640)
        #expect(mode("\(root)/pipe") == S_IFIFO | 0o620)
    }

    @Test("links, names of any bytes, repeated entries and attributes are kept")
    func contents() async throws {
        let combined = "caf\u{65}\u{301}"  // not normalised, and must stay so
        var marked = TarEntry.file("marked", "x")
        marked.extended = [
            ("SCHILY.xattr.user.color", Array("blue".utf8)),
            ("SCHILY.xattr.trusted.overlay.opaque", Array("y".utf8)),
            ("SCHILY.xattr.user.overlay.opaque", Array("y".utf8)),
        ]
        let root = try await unpack([
            .file("a", "one"), .hardLink("b", to: "a"), .hardLink("./c", to: "./a"),
            .link("d", to: "../../outside"), .hardLink("e", to: "d"),
            .file(combined, "x"), .hardLink("accent", to: combined), marked,
            .file("twice", "first"), .file("twice", "second"), .link("was", to: "/etc/passwd"),
            .file("was", "a file"), .folder("kept", mode: 0o700), .file("kept/x"),
            .folder("kept", mode: 0o711), .hardLink("a", to: "b"),
        ])
        #expect(folder.status("\(root)/a").st_ino == folder.status("\(root)/b").st_ino)
        #expect(folder.status("\(root)/a").st_nlink == 3)
        #expect(mode("\(root)/e") & S_IFMT == S_IFLNK)
        let names = try FileManager.default.contentsOfDirectory(atPath: root)
        #expect(names.contains { Array($0.utf8) == Array(combined.utf8) })
        #expect(folder.status("\(root)/accent").st_nlink == 2)
        #expect(try String(contentsOfFile: "\(root)/twice", encoding: .utf8) == "second")
        #expect(try String(contentsOfFile: "\(root)/was", encoding: .utf8) == "a file")
        #expect(mode("\(root)/kept") == S_IFDIR | 0o711)
        #expect(folder.attributeSize("\(root)/marked", "user.color") == 4)
        #expect(folder.attributeSize("\(root)/marked", "trusted.overlay.opaque") == nil)
        #expect(folder.attributeSize("\(root)/marked", "user.overlay.opaque") == nil)
    }

    @Test("whiteouts become overlayfs's marks, whatever the order")
    func whiteouts() async throws {
        let root = try await unpack([
            .file(".wh.gone"), .folder("etc"), .file("etc/.wh..wh..opq"), .file("etc/new"),
            .file(".wh.folder"), .file("folder/new"), .folder("later"), .file(".wh.later"),
            .file(".wh.again"), .file("again", "x"), .file("here", "x"), .file(".wh.here"),
            .file(".wh..wh.plnk", "tool's own"),
        ])
        #expect(mode("\(root)/gone") & S_IFMT == S_IFCHR)
        #expect(folder.status("\(root)/gone").st_rdev == 0)
        for opaque in ["etc", "folder", "later"] {
            #expect(folder.attributeSize("\(root)/\(opaque)", "trusted.overlay.opaque") == 1)
        }
        #expect(mode("\(root)/again") & S_IFMT == S_IFREG)
        #expect(mode("\(root)/here") & S_IFMT == S_IFREG)
        let names = try FileManager.default.contentsOfDirectory(atPath: root)
        #expect(!names.contains { $0.hasPrefix(".wh.") })
    }
}
