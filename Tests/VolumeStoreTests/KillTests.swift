import ClusterModel
import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// SIGKILL at every step of every operation: nothing is lost, leaked or mounted twice.
@Suite("killed", .serialized, .enabled(if: mountObstacle == nil && VictimOrder.own == nil))
struct KillTests {
    /// What the file in the volume says.
    static let token = "acknowledged"

    @Test("a file's volume survives", arguments: VictimOperation.allCases)
    func loop(_ operation: VictimOperation) async throws {
        // A mounted ext4 cannot be grown everywhere, a mounted xfs can.
        let fileSystem = operation == .growAttached ? "xfs" : "ext4"
        try await killEverywhere(operation, volumeClass: "loop", fileSystem: fileSystem)
    }

    @Test(
        "a folder's volume survives",
        arguments: VictimOperation.allCases.filter { $0 != .receive || treeObstacle == nil })
    func directory(_ operation: VictimOperation) async throws {
        try await killEverywhere(operation, volumeClass: "directory", fileSystem: "host")
    }

    @Test(
        "a logical volume survives", .enabled(if: poolObstacle == nil),
        arguments: VictimOperation.allCases)
    func logical(_ operation: VictimOperation) async throws {
        try await killEverywhere(
            operation, volumeClass: "lvm", fileSystem: "ext4", pool: PoolFixture())
    }

    /// How many kills at random moments; 500 in the long run.
    static let randomKills =
        ProcessInfo.processInfo.environment["SHOALT_KILLS"].flatMap { Int($0) } ?? 20

    @Test("volumes survive kills at any moment, in the middle of tools too")
    func anyMoment() async throws {
        // All in one pool, as a host has one.
        let pool = poolObstacle == nil ? try PoolFixture() : nil
        let classes = (pool == nil ? [] : ["lvm"]) + ["loop", "directory"]
        // How long each operation takes in microseconds, so that kills fall all over it.
        var lengths: [String: Int] = [:]
        var tally = KillTally()
        // A short run does not come to all operations: each run begins with another one.
        let first = Int.random(in: 0..<VictimOperation.allCases.count)
        for round in 0..<KillTests.randomKills {
            let volumeClass = classes[round % classes.count]
            let operations = VictimOperation.allCases.filter {
                ($0 != .growAttached || volumeClass == "directory"
                    || VolumeStore.hasResourceCapability)
                    && ($0 != .receive || volumeClass != "directory" || treeObstacle == nil)
            }
            let operation = operations[(first + round / classes.count) % operations.count]
            let fixture = try VolumeFixture()
            let key = "\(volumeClass) \(operation)"
            let guess = lengths[key] ?? KillTests.firstGuess(volumeClass)
            let delay = Int.random(in: 0...guess)
            let order = VictimOrder(
                root: fixture.root, volumeClass: volumeClass,
                fileSystem: volumeClass == "directory" ? "host" : "ext4",
                pool: volumeClass == "lvm" ? pool.map { "\($0.pool)" } : nil,
                operation: operation.rawValue, killAt: 0, killAfter: UInt32(delay))
            try await prepare(order, operation)
            let (status, output) = try order.run()
            let wasKilled = status & 0x7F == SIGKILL
            try #require(wasKilled || status == 0, "\(output)")
            let length = VolumeFixture.read(order.donePath).flatMap { Int($0) }
            // What was not done in time may take longer than was guessed.
            lengths[key] = length ?? max(guess, delay * 2)
            let step = Comment("cycle \(round): \(key) killed after \(delay) µs")
            let wasHit = wasKilled && length == nil
            let wasInTool = wasHit && isLocked("\(fixture.root)/lock")
            let found = try await inspect(
                fixture, volumeClass == "lvm" ? pool : nil, order, operation, step)
            tally.count(
                volumeClass, operation, wasHit: wasHit, wasInTool: wasInTool, found)
            if round % 20 == 19 { print("kills: \(round + 1) cycles so far") }
            try pool?.empty()
        }
        print(tally)
        // Otherwise nothing was tested.
        #expect(tally.hitCount > tally.cycles / 10)
    }

    /// How long an operation may take that was not measured yet, in microseconds.
    private static func firstGuess(_ volumeClass: String) -> Int {
        switch volumeClass {
        case "lvm": 500_000
        case "loop": 30_000
        default: 3_000
        }
    }

    /// True while a tool that a killed store started still works.
    private func isLocked(_ path: String) -> Bool {
        let descriptor = open(path, O_RDWR)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return flock(descriptor, LOCK_EX | LOCK_NB) != 0
    }

    /// Kills the operation at its first checkpoint, its second, and so on until it comes through.
    private func killEverywhere(
        _ operation: VictimOperation, volumeClass: String, fileSystem: String,
        pool: PoolFixture? = nil
    ) async throws {
        var killAt = 1
        while true {
            let fixture = try VolumeFixture()
            let order = VictimOrder(
                root: fixture.root, volumeClass: volumeClass, fileSystem: fileSystem,
                pool: pool.map { "\($0.pool)" }, operation: operation.rawValue, killAt: killAt)
            try await prepare(order, operation)
            let (status, output) = try order.run()
            let wasKilled = status & 0x7F == SIGKILL
            try #require(wasKilled || status == 0, "\(output)")
            let step = Comment("\(operation) killed at checkpoint \(killAt)")
            try await inspect(fixture, pool, order, operation, step)
            guard wasKilled else { break }
            try pool?.empty()
            killAt += 1
        }
        print("\(volumeClass) \(operation): killed at \(killAt - 1) steps")
        // Otherwise nothing was tested.
        #expect(killAt > 2)
    }

    /// Makes what the operation needs.
    private func prepare(_ order: VictimOrder, _ operation: VictimOperation) async throws {
        let store = try VolumeStore(settings: order.settings())
        _ = try await store.recover()
        let name = try #require(VictimOrder.old)
        try await store.create(order.request(name))
        let path = try await store.attach(name).path
        try VolumeFixture.write(KillTests.token, to: "\(path)/file")
        // Only the process is killed here, but what is acknowledged is what is on the disk.
        try VolumeFixture.run("sync", "-f", path)
        // Neither can be had of a folder that is in use.
        let needsQuiet = order.volumeClass == "directory" && operation == .snapshot
        if !operation.isAttached || needsQuiet { try await store.detach(name) }
        if operation.isTrashed { try await store.delete(name) }
    }

    /// Recovers as the next start of the agent does, checks the rules, and does it again; returns
    /// what was found broken, each of which is also a failure of the test.
    @discardableResult
    private func inspect(
        _ fixture: VolumeFixture, _ pool: PoolFixture?, _ order: VictimOrder,
        _ operation: VictimOperation, _ step: Comment
    ) async throws -> [KillViolation] {
        let inspection = KillInspection(
            fixture: fixture, pool: pool,
            store: try VolumeStore(settings: order.settings()), order: order, operation: operation)
        let found: [KillViolation]
        do {
            found = try await inspection.run()
        } catch {
            found = [KillViolation(.unsettled, "\(error)")]
        }
        for violation in found { Issue.record("\(step): \(violation)") }
        return found
    }
}
