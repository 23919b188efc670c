import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// A disk that tests may overwrite, as the machine of `Tools/lab test` has one.
let testDisk = ProcessInfo.processInfo.environment["SHOALT_DISK"]

/// Why tests with logical volumes cannot run here; nil when they can.
let poolObstacle: String? = {
    let devices = (try? String(contentsOfFile: "/proc/devices", encoding: .utf8)) ?? ""
    let reason: String? =
        if let mountObstacle {
            mountObstacle
        } else if (try? VolumeTools.path(of: "lvm")) == nil {
            "needs lvm2 and thin-provisioning-tools"
        } else if testDisk == nil {
            "needs a disk to overwrite (SHOALT_DISK), as Tools/lab test gives"
        } else if !devices.contains("device-mapper") {
            "needs device-mapper"
        } else {
            nil
        }
    if mountObstacle == nil, let reason {
        print("VolumeStoreTests with logical volumes skipped: \(reason)")
    }
    return reason
}()

/// A thin pool on the test's disk, which goes with all volumes in it, also after a failure.
final class PoolFixture: Sendable {
    let pool: ThinPool
    private let disk: String

    /// Makes a pool of that many bytes, on the tests' disk or another.
    init(size: Int = 2 << 30, disk other: String? = nil, metadata: String = "16m") throws {
        disk = try #require(other ?? testDisk)
        pool = ThinPool(group: "shoalt", pool: "pool")
        // What a test that failed has left in use.
        _ = try? PoolFixture.lvm("vgremove", "--yes", "--force", pool.group)
        try PoolFixture.lvm("pvcreate", "--yes", "-ff", disk)
        try PoolFixture.lvm("vgcreate", pool.group, disk)
        try PoolFixture.lvm(
            "lvcreate", "--yes", "--type", "thin-pool", "--size", "\(size)b",
            "--poolmetadatasize", metadata, "--name", pool.pool, pool.group)
        try PoolFixture.lvm("lvchange", "--yes", "--errorwhenfull", "y", "\(pool)")
    }

    deinit {
        _ = try? PoolFixture.lvm("vgremove", "--yes", "--force", pool.group)
        _ = try? PoolFixture.lvm("pvremove", "--yes", "--force", disk)
    }

    /// Removes all volumes from the pool.
    func empty() throws {
        let names = try volumes().map { "\(pool.group)/\($0)" }
        if !names.isEmpty { try PoolFixture.lvm(["lvremove", "--yes", "--force"] + names) }
    }

    /// The names of the logical volumes that are there, without the pool, sorted.
    func volumes() throws -> [String] {
        try PoolFixture.lvm("lvs", "--noheadings", "-o", "lv_name", pool.group)
            .split(whereSeparator: \.isWhitespace).map(String.init).filter { $0 != pool.pool }
            .sorted()
    }

    /// A command of LVM failed.
    struct Failure: Error {
        let said: String
    }

    /// Runs one of LVM's commands; throws when it fails.
    @discardableResult
    static func lvm(_ command: String...) throws -> String { try lvm(command) }

    @discardableResult
    private static func lvm(_ command: [String]) throws -> String {
        let configuration =
            "activation{udev_sync=0 udev_rules=0} backup{backup=0 archive=0}"
        let all =
            ["env", "LVM_SUPPRESS_FD_WARNINGS=1", "lvm", command[0], "--config", configuration]
            + command.dropFirst()
        let result = try VolumeFixture.run(all)
        guard result.code == 0 else { throw Failure(said: "\(command): \(result.output)") }
        return result.output
    }
}
