import EventLoop
import Foundation
import Glibc
import Testing

/// Why a disk of our own cannot be made here; nil when it can.
let diskObstacle: String? = {
    guard obstacle == nil else { return obstacle }
    for program in ["losetup", "mkfs.ext4", "mount", "dd"]
    where !["/usr/sbin", "/sbin", "/usr/bin", "/bin"].contains(where: {
        access("\($0)/\(program)", X_OK) == 0
    }) {
        return "needs \(program)"
    }
    return nil
}()

/// A file system on a loop device of the test's own.
struct DiskFixture {
    /// Where it is mounted.
    let folder: String
    /// The device, such as `/dev/loop0`.
    let device: String
    let commands: CommandRunner

    /// The device's numbers, as the kernel writes them.
    var numbers: String {
        get throws {
            let file = "/sys/block/\(device.dropFirst("/dev/".count))/dev"
            return try String(contentsOfFile: file, encoding: .utf8)
                .trimmingCharacters(in: .whitespacesAndNewlines)
        }
    }

    /// Makes a file system of so many MiB, and removes all of it afterwards, also after a failure.
    ///
    /// `uncached` is as slow as the machine's own disk: the file behind it is not in memory.
    static func with(
        mebibytes: Int, uncached: Bool = false, _ body: (DiskFixture) async throws -> Void
    ) async throws {
        let loop = try EventLoop(name: "disk")
        defer { loop.stop() }
        let commands = CommandRunner(loop: loop)
        var template = Array("/var/tmp/shoalt-disk-XXXXXX".utf8CString)
        let made = mkdtemp(&template).map { String(cString: $0) }
        let base = try #require(made)
        defer { try? FileManager.default.removeItem(atPath: base) }
        try await commands.check(["truncate", "-s", "\(mebibytes)M", "\(base)/file"])
        let shown = try await commands.check([
            "losetup", "--find", "--show", "--direct-io=\(uncached ? "on" : "off")", "\(base)/file",
        ])
        let device = shown.outputText.trimmingCharacters(in: .whitespacesAndNewlines)
        var result = Result<Void, any Error>.success(())
        do {
            try await commands.check(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0", device])
            try await commands.check(["mkdir", "\(base)/mount"])
            try await commands.check(["mount", "-t", "ext4", device, "\(base)/mount"])
            do {
                try await body(
                    DiskFixture(folder: "\(base)/mount", device: device, commands: commands))
            } catch { result = .failure(error) }
            try await commands.check(["umount", "\(base)/mount"])
        } catch { if case .success = result { result = .failure(error) } }
        try await commands.check(["losetup", "--detach", device])
        try result.get()
    }
}
