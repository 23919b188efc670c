import Foundation
import Testing

@testable import VolumeStore

/// A device that fails when a test says so, by device-mapper; removed with the value.
final class FailingDisk: Sendable {
    /// The device.
    let path: String
    private let name: String
    private let below: String
    private let start: Int
    private let sectors: Int
    private let isLoop: Bool

    /// Over a new file in a fixture's folder.
    convenience init(_ fixture: VolumeFixture, mebibytes count: Int) throws {
        let image = "\(fixture.folder)/failing.image"
        try FailingDisk.check("truncate", "-s", "\(count)M", image)
        let device = try FailingDisk.check("losetup", "--find", "--show", image)
        try self.init(
            over: device.trimmingCharacters(in: .whitespacesAndNewlines), start: 0,
            sectors: count << 11, isLoop: true)
    }

    /// Over a part of the disk that tests may overwrite, so that LVM does not see it twice.
    convenience init(mebibytes count: Int) throws {
        try self.init(
            over: try #require(testDisk), start: 4_096, sectors: count << 11, isLoop: false)
    }

    private init(over below: String, start: Int, sectors: Int, isLoop: Bool) throws {
        name = "shoalt-failing-\(UInt32.random(in: 0...UInt32.max))"
        path = "/dev/mapper/\(name)"
        (self.below, self.start, self.sectors, self.isLoop) = (below, start, sectors, isLoop)
        try FailingDisk.check(
            "dmsetup", "--noudevsync", "--noudevrules", "create", name, "--table", linear)
        try FailingDisk.check("dmsetup", "--noudevsync", "mknodes", name)
    }

    deinit {
        try? work()
        _ = try? VolumeFixture.run(
            "dmsetup", "--noudevsync", "--noudevrules", "remove", "--force", "--retry", name)
        if isLoop { _ = try? VolumeFixture.run("losetup", "--detach", below) }
    }

    private var linear: String { "0 \(sectors) linear \(below) \(start)" }

    /// Every request fails from now on.
    func fail() throws { try load("0 \(sectors) error") }

    /// Writes are acknowledged and forgotten from now on; reads work.
    func forgetWrites() throws {
        try load("0 \(sectors) flakey \(below) \(start) 0 3600 1 drop_writes")
    }

    /// Works for so many seconds, then every request fails.
    func failLater(seconds: Int) throws {
        try load("0 \(sectors) flakey \(below) \(start) \(seconds) 3600")
    }

    /// Works again, with what was on it.
    func work() throws { try load(linear) }

    private func load(_ table: String) throws {
        // Neither waits for writes nor freezes a file system: a disk does not ask before it fails.
        try FailingDisk.check("dmsetup", "suspend", "--noflush", "--nolockfs", name)
        defer {
            _ = try? VolumeFixture.run(
                "dmsetup", "--noudevsync", "--noudevrules", "resume", name)
        }
        try FailingDisk.check("dmsetup", "load", name, "--table", table)
    }

    @discardableResult
    private static func check(_ command: String...) throws -> String {
        let result = try VolumeFixture.run(command)
        guard result.code == 0 else {
            throw PoolFixture.Failure(said: "\(command): \(result.output)")
        }
        return result.output
    }
}
