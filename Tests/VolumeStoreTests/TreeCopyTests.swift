import CLinux
import ClusterModel
import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// Copies of folders as they go from host to host.
@Suite(
    "copies of folders", .serialized,
    .enabled(if: treeObstacle == nil && overlayObstacle == nil))
struct TreeCopyTests {
    /// A volume of class directory with a tree in it, and what a copy of it is to be.
    private struct Pair {
        let fixture: VolumeFixture
        let store: VolumeStore
        let name: VolumeName
        let folder: String
        let original: VolumeOriginal

        init(
            _ fixture: VolumeFixture, _ settings: VolumeStoreSettings? = nil, size: Int = 64
        ) async throws {
            self.fixture = fixture
            store = try await fixture.store(settings)
            name = try volume("web.0/data")
            let record = try await store.create(
                VolumeRequest(name: name, volumeClass: .directory, size: mebibytes(size)))
            folder = await store.contentPath(record)
            original = VolumeOriginal(
                name: try volume("web.1/data"), id: record.id, volumeClass: .directory,
                fileSystem: .host, size: record.size, owner: 7)
        }

        func pass(_ copy: VolumeID, isThorough: Bool = false) async throws -> TreeCopyEnding {
            try await TreePump(store, from: name, to: copy, isThorough: isThorough).run()
        }

        /// Throws at the first difference.
        func compare(_ copy: VolumeID) async throws {
            let path = try await store.settleTree(copy)
            var comparison = try TreeComparison(folder, path, name: name, attempt: "test")
            while try comparison.step() {}
        }
    }

    @Test(
        "everything arrives: links, holes, owners, attributes, sockets, odd names; and goes again")
    func everything() async throws {
        let pair = try await Pair(try VolumeFixture())
        try makeTree(pair.folder)
        let copy = try await pair.store.beginReceiving(pair.original)
        #expect(try await pair.store.beginReceiving(pair.original) == copy, "and once only")
        #expect(try await pair.pass(copy.id).code == 0)
        try await pair.compare(copy.id)
        let path = try await pair.store.settleTree(copy.id)
        var facts = stat()
        try #require(stat("\(path)/sparse", &facts) == 0)
        #expect(facts.st_blocks * 512 < mebibytes(1), "holes stay holes")
        // Kinds change, names go, files shrink.
        let script = """
            cd "\(pair.folder)" && rm -rf deep link 'a b' && mkdir link && mv pipe moved
            echo file > deep && ln -s moved 'a b' && truncate -s 5 plain && chmod 600 empty
            """
        try #require(VolumeFixture.run("sh", "-c", script).code == 0)
        #expect(try await pair.pass(copy.id).code == 0)
        try await pair.compare(copy.id)
        let accepted = try await pair.store.acceptCopy(copy.id)
        #expect(accepted.owner == 7 && accepted.origin == pair.original.id)
        let attached = try await pair.store.attach(pair.original.name).path
        #expect(VolumeFixture.read("\(attached)/plain") == "some ")
        try await pair.store.detach(pair.original.name)
    }

    @Test(
        "what size and time do not tell is found by content, and names come apart that were one file"
    )
    func thorough() async throws {
        let pair = try await Pair(try VolumeFixture())
        try VolumeFixture.write("one file", to: "\(pair.folder)/a")
        try VolumeFixture.write("before", to: "\(pair.folder)/same")
        try #require(link("\(pair.folder)/a", "\(pair.folder)/b") == 0)
        let copy = try await pair.store.beginReceiving(pair.original)
        #expect(try await pair.pass(copy.id).code == 0)
        let script = """
            cd "\(pair.folder)" && cp -p same keep && printf 'after!' > same \
                && touch -r keep same && rm keep && echo other > new && mv new a
            """
        try #require(VolumeFixture.run("sh", "-c", script).code == 0)
        #expect(try await pair.pass(copy.id).code == 0)
        let difference = try await failure { try await pair.compare(copy.id) }
        #expect("\(difference)".contains("differs"))
        #expect(try await pair.pass(copy.id, isThorough: true).code == 0)
        try await pair.compare(copy.id)
    }

    @Test("a hostile sender reaches nothing but the copy")
    func hostileSender() async throws {
        let pair = try await Pair(try VolumeFixture())
        let outside = "\(pair.fixture.folder)/outside"
        for path in [outside, "\(pair.folder)/link"] {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: false)
        }
        try VolumeFixture.write("evil", to: "\(pair.folder)/link/evil")
        let copy = try await pair.store.beginReceiving(pair.original)
        let path = try await pair.store.settleTree(copy.id)
        // As if an earlier pass had brought it.
        try #require(symlink(outside, "\(path)/link") == 0)
        let honest = TreeCopying.sender(of: pair.folder, isThorough: false).dropLast(2)
        for words in [
            ["--keep-dirlinks", "/volume/", "copy::volume/"],
            ["/volume/", "copy::volume/../../../../../..\(outside)/"],
            ["/volume/", "copy::volume/link/"], ["/volume/", "copy::other/"],
            ["--backup", "--backup-dir=\(outside)", "/volume/", "copy::volume/"],
            ["--log-file=\(outside)/log", "/volume/", "copy::volume/"],
            ["--temp-dir=\(outside)", "/volume/", "copy::volume/"],
            // Nor does it get anything to read.
            ["copy::volume/", "/tmp/"],
        ] {
            _ = try await TreePump(pair.store, sender: honest + words, to: copy.id).run()
            let found = try FileManager.default.contentsOfDirectory(atPath: outside)
            #expect(found.isEmpty, "\(words): \(found)")
        }
        let noise = try await TreePump(
            pair.store, sender: ["head", "-c", "1000000", "/dev/urandom"], to: copy.id
        ).run()
        #expect(noise.code == 0 || noise.code > 128)
        // None of it harms an honest pass.
        #expect(try await pair.pass(copy.id).code == 0)
        try await pair.compare(copy.id)
    }

    @Test("a folder that became a link leads a sender nowhere")
    func linkInSource() async throws {
        let pair = try await Pair(try VolumeFixture())
        let secret = "\(pair.fixture.folder)/secret"
        try VolumeFixture.write("secret", to: secret)
        try #require(symlink(pair.fixture.folder, "\(pair.folder)/link") == 0)
        let copy = try await pair.store.beginReceiving(pair.original)
        var sender = TreeCopying.sender(of: pair.folder, isThorough: false)
        // What a race would come to: rsync follows the link.
        sender.insert("--copy-unsafe-links", at: sender.count - 2)
        let ending = try await TreePump(pair.store, sender: sender, to: copy.id).run()
        #expect(ending.code == 23, "\(ending)")
        let path = try await pair.store.settleTree(copy.id)
        #expect(VolumeFixture.read("\(path)/link/secret") == nil)
    }

    @Test("a copy takes at most twice its capacity, and what is larger is told")
    func bounded() async throws {
        let pair = try await Pair(try VolumeFixture(), size: 1)
        let copy = try await pair.store.beginReceiving(pair.original)
        try await pair.store.requireBounded(copy.id)
        let fill = "dd if=/dev/urandom of=\(pair.folder)/fill bs=1M count=3 2> /dev/null"
        try VolumeFixture.run("sh", "-c", fill)
        #expect(try await pair.pass(copy.id).code == 0)
        let larger = try await failure { try await pair.store.requireBounded(copy.id) }
        #expect("\(larger)".contains("more than twice its capacity of 1 MiB"))
        var blocks = pair.original
        blocks.volumeClass = .loop
        blocks.fileSystem = .ext4
        blocks.size = mebibytes(8)
        let other = try await pair.store.beginReceiving(blocks)
        let wrong = try await failure { _ = try await pair.store.startTaking(other.id) }
        #expect("\(wrong)".contains("of class loop: no folder"))
    }

    @Test("the command of a pass ends when nobody holds it any more")
    func abandoned() async throws {
        let pair = try await Pair(try VolumeFixture())
        let copy = try await pair.store.beginReceiving(pair.original)
        for command in [
            try await pair.store.startTaking(copy.id),
            try await pair.store.startGiving(pair.name, isThorough: false),
        ] {
            command.kill(signal: SIGKILL)
            #expect(await command.wait() == 128 + SIGKILL)
        }
        // The kernel ends what they had started, and the lock of the store with it.
        try await pair.store.discardCopy(copy.id)
        #expect(try await pair.store.receivedCopies().isEmpty)
    }

    @Test(
        "with project quota the kernel bounds a copy, and the volume that it becomes",
        .enabled(if: quotaObstacle == nil))
    func quota() async throws {
        let fixture = try VolumeFixture()
        let disk = try TestDisk(fixture, projectQuota: ())
        let pair = try await Pair(fixture, disk.settings(allowsOvercommit: true), size: 8)
        let copy = try await pair.store.beginReceiving(pair.original)
        #expect(copy.project != 0)
        try VolumeFixture.write(String(repeating: "x", count: 5 << 20), to: "\(pair.folder)/file")
        #expect(try await pair.pass(copy.id).code == 0)
        try await pair.compare(copy.id)
        // A sender that goes on for ever.
        let sender = TreeCopying.sender(of: "/usr/bin", isThorough: false)
        let ending = try await TreePump(pair.store, sender: sender, to: copy.id).run()
        #expect(!ending.isThrough && !ending.mayPass, "\(ending)")
        #expect(ending.words.contains("No space left on device"), "\(ending)")
        let kept = try await pair.store.measure(try #require(pair.store.receivedCopies().first))
        #expect(kept.used <= mebibytes(16))
        #expect(try await pair.pass(copy.id).code == 0)
        try await pair.compare(copy.id)
        try await pair.store.acceptCopy(copy.id)
        let path = try await pair.store.attach(pair.original.name).path
        let script = "dd if=/dev/zero of=\(path)/fill bs=64k count=400 conv=fsync"
        let result = try VolumeFixture.run("sh", "-c", script)
        #expect(result.code != 0 && result.output.contains("No space left on device"))
        let usage = try await pair.store.usage(pair.original.name)
        #expect((mebibytes(7)...mebibytes(8)).contains(usage.used))
        try await pair.store.detach(pair.original.name)
    }

    /// A tree with everything that a file system has.
    private func makeTree(_ root: String) throws {
        let script = """
            cd "$1" && printf 'some text' > plain && : > empty && mkdir -p deep/x/y 'a b'
            echo below > deep/x/y/name && ln plain deep/second && ln plain 'third name'
            ln -s deep/x link && ln -s 'nowhere/at all' dangling && mkfifo -m 620 pipe
            mknod device c 1 3 && mknod whiteout c 0 0 && ln pipe 'pipe again' && ln link 'link again'
            truncate -s 64M sparse && printf middle | dd of=sparse bs=1 seek=30000001 conv=notrunc
            head -c 3000000 /dev/urandom > noise
            for name in -rf "$(printf 'new\\nline')" "tab	" "quote\\"'" 'glob*?[a]' 'back\\slash' \\
                ' blank ' é 🐟 .hidden "$(printf 'bytes-\\377\\376')" lost+found; do
                echo "$name" > "./$name"
            done
            ln -s "$(printf 'target-\\377')" odd-target
            cp /bin/true program && chmod 6755 program && chown 1234:4321 empty
            chown -h 5:6 dangling && chmod 1777 deep && chmod 2751 . && chown 77:88 .
            touch -h -d '2009-02-13 23:31:30.123456789' link deep/x plain deep .
            """
        let made = try VolumeFixture.run(["sh", "-ec", script, "sh", root])
        try #require(made.code == 0, "\(made.output)")
        try #require(mknod("\(root)/socket", S_IFSOCK | 0o640, 0) == 0)
        // user::rw-, user:1234:r--, group::r--, mask::r--, other::r--
        var list: [UInt8] = [2, 0, 0, 0]
        for (tag, rights, id) in [(1, 6, -1), (2, 4, 1_234), (4, 4, -1), (16, 4, -1), (32, 4, -1)] {
            list += [UInt8(tag), 0, UInt8(rights), 0]
            list += (0..<4).map { UInt8(truncatingIfNeeded: id >> (8 * $0)) }
        }
        for (file, name, value) in [
            ("plain", "user.note", Array("an attribute".utf8)), ("plain", "user.empty", []),
            ("plain", "trusted.more", [UInt8](repeating: 118, count: 500)),
            ("deep", "user.folder", [0, 255]), (".", "user.top", [1]),
            ("deep", "trusted.overlay.opaque", [121]),
            ("noise", "system.posix_acl_access", list),
            (
                "program", "security.capability",
                [1, 0, 0, 2] + [0, 4] + [UInt8](repeating: 0, count: 14)
            ),
        ] {
            try set(name, value, of: "\(root)/\(file)")
        }
    }

    private func set(_ name: String, _ value: [UInt8], of path: String) throws {
        let file = try OpenFile(path, flags: O_RDONLY, attempt: "test")
        var form = Array(name.utf8) + [0]
        form += (0..<4).map { UInt8(truncatingIfNeeded: value.count >> (24 - 8 * $0)) }
        form += value
        let status = clinux_volume_set_attributes(file.descriptor, form, form.count)
        if status == -EOPNOTSUPP {
            // A tmpfs before Linux 6.6 has no attributes of users.
            print("copies of folders: no attribute \(name) on this file system")
            return
        }
        try #require(status == 0, "\(name) \(status)")
    }
}
