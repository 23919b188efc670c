import CLinux
import Foundation
import Testing
import VolumePlan
import VolumeStore

@testable import BackupStore

/// Why tests with real backups cannot run here; nil when they can.
let resticObstacle: String? = {
    let missing = ["restic", "setpriv"].filter { (try? VolumeTools.path(of: $0)) == nil }
    let reason: String? =
        if getuid() != 0 {
            "needs root"
        } else if !missing.isEmpty {
            "needs \(missing.joined(separator: ", "))"
        } else {
            nil
        }
    if let reason { print("BackupStoreTests skipped: \(reason)") }
    return reason
}()

/// The volume of the tests.
func testVolume() throws -> VolumeName { try #require(VolumeName("web.0/data")) }

/// An engine, a folder to back up and a target, in a folder of its own that goes with all mounts.
final class BackupFixture: Sendable {
    let folder: String
    let engine: BackupEngine
    var source: String { "\(folder)/source" }
    var target: String { "\(folder)/target" }

    init() throws {
        folder = "/tmp/shoalt-backup-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        for name in ["", "/source", "/target"] {
            try FileManager.default.createDirectory(
                atPath: folder + name, withIntermediateDirectories: false)
        }
        engine = try BackupEngine(settings: BackupEngineSettings(folder: "\(folder)/engine"))
    }

    deinit {
        umount2("\(folder)/small", 2)
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// The repository of the test's volume, in the target folder unless it is named.
    func repository(
        in target: BackupTarget? = nil, password: String = "a password of some length"
    ) throws -> BackupRepository {
        try BackupRepository(
            target: target ?? .directory(path: self.target), cluster: "0138ad58",
            volume: try testVolume(), password: password)
    }

    /// Makes an empty folder to restore into.
    func emptyFolder(_ name: String) throws -> String {
        let path = "\(folder)/\(name)"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false)
        return path
    }

    /// A small file system of this many MiB.
    func smallDisk(mebibytes: Int) throws -> String {
        let path = try emptyFolder("small")
        try #require(mount("none", path, "tmpfs", 0, "size=\(mebibytes)m") == 0)
        return path
    }

    /// Writes a file of random bytes.
    func randomFile(_ name: String, bytes: Int) throws {
        let noise = FileHandle(forReadingAtPath: "/dev/urandom")
        let content = try #require(try noise?.read(upToCount: bytes))
        try content.write(to: URL(fileURLWithPath: "\(source)/\(name)"))
    }

    /// All files of a repository below a folder of it, with their sizes.
    func stored(_ below: String, in repository: BackupRepository) -> [String] {
        let root = "\(repository.location)/\(below)"
        let names = FileManager.default.enumerator(atPath: root)?.allObjects as? [String] ?? []
        return names.map { "\(root)/\($0)" }.filter { path in
            var facts = stat()
            return lstat(path, &facts) == 0 && isRegular(facts.st_mode)
        }.sorted()
    }
}

/// Makes a tree with everything that a backup has to bring back.
func makeOddTree(_ root: String) throws {
    func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(root)/\(name)"))
    }
    func folder(_ name: String) throws {
        try FileManager.default.createDirectory(
            atPath: "\(root)/\(name)", withIntermediateDirectories: false)
    }
    func attribute(_ name: String, _ key: String, _ value: String) throws {
        let file = try OpenFile("\(root)/\(name)", flags: O_RDONLY, attempt: "test")
        var form = Array(key.utf8) + [0]
        form += (0..<4).map { UInt8(truncatingIfNeeded: value.utf8.count >> (24 - 8 * $0)) }
        form += Array(value.utf8)
        try #require(clinux_volume_set_attributes(file.descriptor, form, form.count) == 0)
    }
    try write("plain", "some text")
    try write("empty", "")
    try write("program", "#!/bin/sh\n")
    try #require(chmod("\(root)/program", 0o6755) == 0)
    try write("private", "secret")
    try #require(chown("\(root)/private", 1_234, 4_321) == 0)
    try #require(chmod("\(root)/private", 0o400) == 0)
    try folder("empty folder")
    try #require(chmod("\(root)/empty folder", 0o1777) == 0)
    try folder("deep")
    for depth in 1...12 { try folder("deep" + String(repeating: "/x", count: depth)) }
    try write("deep/x/x/name", "below")
    try write("first name", "one file, three names")
    try #require(link("\(root)/first name", "\(root)/deep/second name") == 0)
    try #require(link("\(root)/first name", "\(root)/third name") == 0)
    try #require(symlink("deep/x", "\(root)/link") == 0)
    try #require(symlink("nowhere/at all", "\(root)/dangling link") == 0)
    try #require(mkfifo("\(root)/pipe", 0o620) == 0)
    try #require(mknod("\(root)/device", S_IFCHR | 0o600, dev_t(0x0103)) == 0)
    let odd = [
        "-rf", "new\nline", "tab\t", "quote\"'", "glob*?[a]", "back\\slash", " blank ", "é", "🐟",
    ]
    for name in odd { try write(name, name) }
    // Bytes that are no text.
    let bytes = Array("\(root)/bytes-".utf8CString.dropLast()) + [-1, -2, 0]
    let file = open(bytes, O_WRONLY | O_CREAT, 0o644)
    try #require(file >= 0)
    close(file)
    try attribute("plain", "user.note", "an attribute")
    try attribute("plain", "user.empty", "")
    try attribute("plain", "trusted.more", String(repeating: "v", count: 500))
    try attribute("deep", "user.folder", "of a folder")
    try attribute(".", "user.top", "of the top")
    // 1 GiB of holes with a little in between.
    let sparse = open("\(root)/sparse", O_RDWR | O_CREAT, 0o644)
    try #require(ftruncate(sparse, 64 << 20) == 0)
    try #require(pwrite(sparse, "middle", 6, 30_000_001) == 6)
    close(sparse)
    for (index, name) in ["plain", "deep/x/x/name", "link", "deep/x", "deep", "."].enumerated() {
        let times = [timespec(), timespec(tv_sec: 1_234_567_890 + index, tv_nsec: 123_456_789)]
        try #require(utimensat(AT_FDCWD, "\(root)/\(name)", times, AT_SYMLINK_NOFOLLOW) == 0)
    }
    try #require(chmod(root, 0o2751) == 0)
    try #require(chown(root, 77, 88) == 0)
}

/// The digest of a tree.
func digest(of folder: String) throws -> ContentDigest {
    var tree = try TreeDigest(folder, attempt: "test")
    while try tree.step() {}
    return tree.finish()
}
