import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// Full disks, damaged records, links and files that somebody else put in the way.
@Suite("in the way", .serialized, .enabled(if: mountObstacle == nil && VictimOrder.own == nil))
struct HostileTests {
    private func request(
        _ name: String = "web.0/data", size: Int = mebibytes(16)
    ) throws -> VolumeRequest {
        VolumeRequest(name: try volume(name), volumeClass: .loop, size: size)
    }

    @Test("a damaged record is told, and its volume is neither used nor removed")
    func damagedRecord() async throws {
        let fixture = try VolumeFixture()
        var record: VolumeRecord?
        do { record = try await fixture.store().create(request()) }
        let id = try #require(record).id
        let path = "\(fixture.root)/records/\(id).record"
        let text = try #require(VolumeFixture.read(path))
        let damages = [
            "", "garbage", String(text.dropLast(5)),
            text.replacingOccurrences(of: "size 16777216", with: "size 16777217"),
            text.replacingOccurrences(of: "record 1", with: "record 2"),
            String(repeating: "x", count: 100_000),
        ]
        for damage in damages {
            try VolumeFixture.write(damage, to: path)
            let files = fixture.files()
            let store = try VolumeStore(settings: fixture.settings())
            let said = try await store.recover()
            #expect(said.count == 1 && said[0].contains(path), "\(said)")
            #expect(fixture.files() == files)
            #expect(try await store.list().isEmpty)
            // Its name is free for another, with another identity.
            let other = try await store.create(request())
            #expect(other.id != id)
            try await store.delete(other.name)
            try await store.purge([other.id])
        }
        try VolumeFixture.write(text, to: path)
        let store = try await fixture.store()
        #expect(try await store.find(volume("web.0/data")).id == id)
    }

    @Test("files without a record are told and left alone")
    func unknownFiles() async throws {
        let fixture = try VolumeFixture()
        do { _ = try await fixture.store().create(request()) }
        let foreign = [
            "data/0123456789abcdef.image", "data/letter", "trash/old", "records/note.txt",
            "working/strange",
        ]
        for name in foreign { try VolumeFixture.write("mine", to: "\(fixture.root)/\(name)") }
        let store = try VolumeStore(settings: fixture.settings())
        let said = try await store.recover()
        #expect(said.count == foreign.count, "\(said)")
        let places = await store.unrecorded
        #expect(
            places.sorted()
                == foreign.filter { !$0.hasPrefix("records") }.map { "\(store.path)/\($0)" }
                .sorted())
        for name in foreign {
            #expect(said.contains { $0.contains("/\(name),") }, "\(name)")
            #expect(VolumeFixture.read("\(fixture.root)/\(name)") == "mine")
        }
    }

    @Test("links in place of folders, files and mount points are refused, and nothing is followed")
    func links() async throws {
        let fixture = try VolumeFixture()
        var record: VolumeRecord?
        do { record = try await fixture.store().create(request()) }
        let id = try #require(record).id
        let files = FileManager.default
        let victim = "\(fixture.folder)/victim"
        try VolumeFixture.write("untouched", to: victim)
        let outside = "\(fixture.folder)/outside"
        try files.createDirectory(atPath: outside, withIntermediateDirectories: false)

        // In place of a folder of the store.
        try files.moveItem(atPath: "\(fixture.root)/trash", toPath: "\(fixture.folder)/trash")
        try files.createSymbolicLink(
            atPath: "\(fixture.root)/trash", withDestinationPath: outside)
        let refusal = try await failure { _ = try VolumeStore(settings: fixture.settings()) }
        guard case .foreign = refusal else { throw refusal }
        try files.removeItem(atPath: "\(fixture.root)/trash")
        try files.moveItem(atPath: "\(fixture.folder)/trash", toPath: "\(fixture.root)/trash")

        // In place of a mount point, and of an unfinished record.
        let store = try await fixture.store()
        let name = try volume("web.0/data")
        try files.createSymbolicLink(
            atPath: "\(fixture.root)/mounts/web.0.data", withDestinationPath: outside)
        let mount = try await failure { _ = try await store.attach(name) }
        guard case .foreign = mount else { throw mount }
        try files.removeItem(atPath: "\(fixture.root)/mounts/web.0.data")
        try files.createSymbolicLink(
            atPath: "\(fixture.root)/records/\(id).record.new", withDestinationPath: victim)
        try await store.delete(name)
        try await store.restore(id)

        // In place of the volume's file.
        let image = "\(fixture.root)/data/\(id).image"
        try files.moveItem(atPath: image, toPath: "\(fixture.folder)/image")
        try files.createSymbolicLink(atPath: image, withDestinationPath: victim)
        await #expect(throws: VolumeError.self) { _ = try await store.attach(name) }
        await #expect(throws: VolumeError.self) { try await store.grow(name, to: mebibytes(32)) }
        #expect(VolumeFixture.read(victim) == "untouched")
        #expect(VolumeFixture.mountPoints(below: fixture.folder).isEmpty)
    }

    @Test("a folder that others may write to is no place for volumes")
    func permissions() async throws {
        let fixture = try VolumeFixture()
        do { _ = try await fixture.store() }
        chmod(fixture.root, 0o777)
        let refusal = try await failure { _ = try VolumeStore(settings: fixture.settings()) }
        guard case .foreign = refusal else { throw refusal }
    }

    @Test("a file or a mount in the place of a mount point is refused and left alone")
    func mountPointTaken() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        try await store.create(request())
        let name = try volume("web.0/data")
        let point = "\(fixture.root)/mounts/web.0.data"
        try FileManager.default.createDirectory(
            atPath: point, withIntermediateDirectories: false)
        try VolumeFixture.write("mine", to: "\(point)/file")
        let files = try await failure { _ = try await store.attach(name) }
        guard case .foreign = files else { throw files }
        #expect(VolumeFixture.read("\(point)/file") == "mine")
        try #require(VolumeFixture.run("mount", "-t", "tmpfs", "none", point).code == 0)
        let mount = try await failure { _ = try await store.attach(name) }
        guard case .foreign = mount else { throw mount }
        let detach = try await failure { try await store.detach(name) }
        guard case .foreign = detach else { throw detach }
        #expect(VolumeFixture.mountPoints(below: fixture.folder) == [point])
    }

    @Test("two agents never work on one folder")
    func twoStores() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let second = try VolumeStore(settings: fixture.settings())
        let early = try await failure { _ = try await second.list() }
        guard case .notRecovered = early else { throw early }
        let waiting = Task { try await second.recover() }
        try await store.create(request())
        waiting.cancel()
        await #expect(throws: (any Error).self) { try await waiting.value }
        #expect(try await store.list().count == 1)
    }

    @Test("a tool that outlives a killed agent is waited for")
    func orphan() async throws {
        let fixture = try VolumeFixture()
        do { _ = try await fixture.store() }
        // What a tool inherits: the lock, until it ends.
        let lock = try VolumeFixture.run(
            "sh", "-c",
            "exec 9<>\"$1/lock\" && flock -x 9 && (sleep 0.5; : > \"$1/ended\") "
                + ">/dev/null 2>&1 & sleep 0.1", "sh", fixture.root)
        try #require(lock.code == 0, "\(lock.output)")
        _ = try await fixture.store()
        #expect(FileManager.default.fileExists(atPath: "\(fixture.root)/ended"))
    }

    @Test("promises beyond the disk are refused with the sums")
    func promises() async throws {
        let fixture = try VolumeFixture()
        let disk = try TestDisk(fixture, mebibytes: 64)
        let store = try VolumeStore(settings: disk.settings(allowsOvercommit: false))
        _ = try await store.recover()
        try await store.create(request(size: mebibytes(32)))
        let refusal = try await failure {
            try await store.create(request("web.1/data", size: mebibytes(32)))
        }
        guard case .noSpace(_, let wanted, _, let promised) = refusal else { throw refusal }
        #expect(wanted == mebibytes(32) && promised > mebibytes(16))
        let growth = try await failure {
            try await store.grow(volume("web.0/data"), to: mebibytes(80))
        }
        guard case .noSpace = growth else { throw growth }
        // A snapshot that stays needs all of it; one for a backup what is in it now.
        let name = try volume("web.0/data")
        let stays = try await failure { try await store.snapshot(name, label: "kept") }
        guard case .noSpace = stays else { throw stays }
        let brief = try await store.snapshot(name, label: "brief", isBrief: true)
        let path = try await store.attach(brief.name).path
        #expect(FileManager.default.fileExists(atPath: "\(path)/lost+found"))
        try await store.detach(brief.name)
    }

    @Test("on a full disk nothing is left half made, and the trash can still be used and emptied")
    func fullDisk() async throws {
        let fixture = try VolumeFixture()
        let disk = try TestDisk(fixture, mebibytes: 32)
        let store = try VolumeStore(settings: disk.settings(allowsOvercommit: true))
        _ = try await store.recover()
        let kept = try await store.create(request())
        try disk.fill()
        let before = disk.files()
        let refusal = try await failure { try await store.create(request("web.1/data")) }
        #expect("\(refusal)".contains("No space left") || refusal.isDiskFull, "\(refusal)")
        let growth = try await failure {
            try await store.grow(kept.name, to: mebibytes(64))
        }
        #expect("\(growth)".contains("No space left") || growth.isDiskFull, "\(growth)")
        await #expect(throws: VolumeError.self) {
            try await store.snapshot(kept.name, label: "one")
        }
        #expect(disk.files() == before)
        #expect(try await store.list().map(\.record.state) == [.ready])
        try await store.delete(kept.name)
        try await store.restore(kept.id)
        try await store.delete(kept.name)
        try await store.purge([kept.id])
        #expect(try await store.list().isEmpty)
        try disk.empty()
        try await store.create(request("web.1/data"))
        let said = try await store.recover()
        #expect(said.isEmpty, "\(said)")
    }

    @Test("names and sizes that can never be right are refused with a sentence")
    func badRequests() async throws {
        let fixture = try VolumeFixture()
        let store = try await fixture.store()
        let bad = [
            VolumeRequest(name: try volume("a.0/b@c"), volumeClass: .loop, size: mebibytes(16)),
            VolumeRequest(name: try volume("a.0/b"), volumeClass: .loop, size: 0),
            VolumeRequest(name: try volume("a.0/b"), volumeClass: .loop, size: -1),
            VolumeRequest(name: try volume("a.0/b"), volumeClass: .loop, size: Int.max),
            VolumeRequest(
                name: try volume("a.0/b"), volumeClass: .loop, size: mebibytes(16),
                fileSystem: .xfs),
            VolumeRequest(
                name: try volume("a.0/b"), volumeClass: .loop, size: mebibytes(16),
                fileSystem: .host),
            VolumeRequest(
                name: try volume("a.0/b"), volumeClass: .directory, size: mebibytes(16),
                fileSystem: .ext4),
        ]
        for request in bad {
            let refusal = try await failure { try await store.create(request) }
            guard case .badRequest = refusal else { throw refusal }
        }
        let lvm = try await failure {
            try await store.create(
                VolumeRequest(
                    name: volume("a.0/b"), volumeClass: .lvm, size: mebibytes(16)))
        }
        guard case .kernelLacks = lvm else { throw lvm }
        #expect("\(lvm)".contains("class loop"))
        #expect(try await store.list().isEmpty && fixture.files().isEmpty)
        #expect(throws: VolumeError.self) {
            _ = try VolumeStore(settings: VolumeStoreSettings(root: "relative,path"))
        }
    }
}

/// A small disk of its own, mounted in a fixture's folder, which unmounts it.
struct TestDisk {
    let path: String

    init(_ fixture: VolumeFixture, mebibytes count: Int) throws {
        path = "\(fixture.folder)/disk"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false)
        let image = "\(fixture.folder)/disk.image"
        for command in [
            ["truncate", "-s", "\(count)M", image], ["mkfs.ext4", "-q", "-F", "-m", "0", image],
            ["mount", "-o", "loop", image, path],
        ] {
            let result = try VolumeFixture.run(command)
            try #require(result.code == 0, "\(result.output)")
        }
    }

    func settings(allowsOvercommit: Bool) -> VolumeStoreSettings {
        VolumeStoreSettings(
            root: "\(path)/store", trashSeconds: 0, reserveBytes: 0,
            allowsOvercommit: allowsOvercommit, now: { 1_000_000 })
    }

    /// Takes every block.
    func fill() throws {
        let script = """
            dd if=/dev/zero of="$1/fill" bs=1M 2> /dev/null; sync -f "$1"
            dd if=/dev/zero of="$1/rest" bs=1k 2> /dev/null; sync -f "$1"
            """
        try VolumeFixture.run("sh", "-c", script, "sh", path)
    }

    func empty() throws {
        try VolumeFixture.run("rm", "\(path)/fill", "\(path)/rest")
    }

    /// All files of the store, sorted, without the ballast.
    func files() -> [String] {
        let all = FileManager.default.subpaths(atPath: "\(path)/store") ?? []
        return all.filter { $0.contains("/") }.sorted()
    }
}
