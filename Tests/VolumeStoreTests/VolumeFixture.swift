import EventLoop
import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// Why tests that mount cannot run here; nil when they can.
let mountObstacle: String? = {
    let tools = ["mkfs.ext4", "mkfs.xfs", "blkid", "resize2fs", "setpriv"]
    let missing = tools.filter { (try? VolumeTools.path(of: $0)) == nil }
    let reason: String? =
        if getuid() != 0 {
            "needs root"
        } else if access("/dev/loop-control", R_OK) != 0 {
            "needs loop devices"
        } else if !missing.isEmpty {
            "needs \(missing.joined(separator: ", "))"
        } else {
            nil
        }
    if let reason { print("VolumeStoreTests skipped: \(reason)") }
    return reason
}()

/// A store in a folder of its own, which goes with all mounts in it, also after a failure.
final class VolumeFixture: Sendable {
    let folder: String
    var root: String { "\(folder)/store" }

    init() throws {
        folder = "/tmp/shoalt-volume-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: false)
    }

    deinit {
        // The newest mounts first; a loop device goes with its last mount.
        for point in VolumeFixture.mountPoints(below: folder).reversed() { umount2(point, 2) }
        chmodTree()
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// Files that a soft limit sealed could not be removed.
    private func chmodTree() {
        guard FileManager.default.fileExists(atPath: "\(root)/data") else { return }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/chattr")
        process.arguments = ["-R", "-f", "-i", "\(root)/data"]
        process.standardError = FileHandle.nullDevice
        try? process.run()
        process.waitUntilExit()
    }

    /// The settings of the store in here.
    func settings(
        trashSeconds: Int = 3_600, thinPool: ThinPool? = nil, allowsOvercommit: Bool = true,
        now: @escaping @Sendable () -> Int = { 1_000_000 },
        checkpoint: (@Sendable (String) -> Void)? = nil
    ) -> VolumeStoreSettings {
        VolumeStoreSettings(
            root: root, thinPool: thinPool, trashSeconds: trashSeconds, reserveBytes: 0,
            allowsOvercommit: allowsOvercommit, now: now, checkpoint: checkpoint)
    }

    /// Opens the store and recovers it; nothing may have to be said.
    func store(_ settings: VolumeStoreSettings? = nil) async throws -> VolumeStore {
        let store = try VolumeStore(settings: settings ?? self.settings())
        let said = try await store.recover()
        #expect(said.isEmpty, "\(said)")
        return store
    }

    /// The mount points at or below a folder, oldest first.
    static func mountPoints(below folder: String) -> [String] {
        // Not Foundation, which takes the size of a file of /proc, 0, at its word.
        let file = try? OpenFile("/proc/self/mountinfo", flags: O_RDONLY, attempt: "test")
        let bytes = (try? file?.readAll(maximum: 1 << 26, attempt: "test")) ?? []
        return MountTable(bytes).entries.map(\.mountPoint)
            .filter { $0 == folder || $0.hasPrefix("\(folder)/") }
    }

    /// The loop devices whose files are below a folder.
    static func loopDevices(below folder: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/sys/block")) ?? []
        return names.sorted().filter { name in
            let path = "/sys/block/\(name)/loop/backing_file"
            let file = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
            return file.hasPrefix("\(folder)/")
        }
    }

    /// All files of the store but its lock and ballast, sorted.
    func files() -> [String] {
        let all = FileManager.default.subpaths(atPath: root) ?? []
        return all.filter { $0.contains("/") }.sorted()
    }

    /// Writes a text into a file of a volume.
    static func write(_ text: String, to path: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }

    /// The text of a file of a volume; nil when it cannot be read.
    static func read(_ path: String) -> String? {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Runs a program to its end; returns its exit code and what it said.
    @discardableResult
    static func run(_ command: String...) throws -> (code: Int32, output: String) {
        try run(command)
    }

    /// Runs a program to its end; returns its exit code and what it said.
    static func run(_ command: [String]) throws -> (code: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: bytes, as: UTF8.self))
    }
}

/// A process beside the test; ended with the value.
final class Bystander: Sendable {
    let process: pid_t

    /// Starts a program in a mount namespace of its own, with copies of all mounts as a container
    /// has them; returns when it is there.
    init(inOwnNamespace command: String...) throws {
        let words = ["unshare", "-m", "--propagation", "private"] + command
        var arguments = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var process = pid_t()
        try #require(posix_spawnp(&process, "unshare", nil, nil, &arguments, environ) == 0)
        self.process = process
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/mnt")
        let path = "/proc/\(process)/ns/mnt"
        while try FileManager.default.destinationOfSymbolicLink(atPath: path) == own {
            usleep(1_000)
        }
    }

    /// Ends it and waits until it has gone.
    func end() {
        kill(process, SIGKILL)
        waitpid(process, nil, 0)
    }

    deinit { end() }
}

/// A name of the tests' volumes.
func volume(_ text: String) throws -> VolumeName { try #require(VolumeName(text)) }

/// Mebibytes.
func mebibytes(_ count: Int) -> Int { count << 20 }

/// The error that the body throws; the test fails when it throws none or another.
func failure(_ body: () async throws -> Void) async throws -> VolumeError {
    do {
        try await body()
    } catch let error as VolumeError {
        return error
    }
    throw MissingFailure()
}

/// Something succeeded that should not.
struct MissingFailure: Error {}
