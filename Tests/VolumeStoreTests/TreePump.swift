import EventLoop
import Foundation
import Testing
import VolumePlan

@testable import VolumeStore

/// Why folders cannot be copied as between hosts here; nil when they can.
let treeObstacle: String? = {
    if let mountObstacle { return mountObstacle }
    let missing = TreeCopying.programs.filter { (try? VolumeTools.path(of: $0)) == nil }
    guard !missing.isEmpty else { return nil }
    let reason = "needs \(missing.joined(separator: ", "))"
    print("VolumeStoreTests of copies of folders skipped: \(reason)")
    return reason
}()

/// One pass of a folder's copy within one host: what two agents carry to each other goes through
/// this process.
struct TreePump {
    private let giver: RunningCommand
    private let taker: RunningCommand

    init(
        _ store: VolumeStore, from name: VolumeName, to copy: VolumeID, isThorough: Bool = false
    ) async throws {
        giver = try await store.startGiving(name, isThorough: isThorough)
        taker = try await store.startTaking(copy)
    }

    /// Any sender against the receiver.
    init(_ store: VolumeStore, sender: [String], to copy: VolumeID) async throws {
        giver = try await store.tools.start(sender, attempt: "test")
        taker = try await store.startTaking(copy)
    }

    /// Runs it to its end; returns how it ended.
    func run() async throws -> TreeCopyEnding {
        async let back = TreePump.carry(from: taker, to: giver)
        let ending = try await TreePump.carry(from: giver, to: taker)
        return TreeCopyEnding(sender: ending, receiver: try await back)
    }

    private static func carry(
        from: RunningCommand, to: RunningCommand
    ) async throws -> TreeCopyEnding {
        var words: [UInt8] = []
        for try await chunk in from.output {
            switch chunk.stream {
            // What has ended reads no more.
            case .standardOutput: try? await to.write(chunk.bytes)
            case .standardError: words += chunk.bytes
            }
        }
        await to.closeInput()
        return TreeCopyEnding(
            code: Int(await from.wait()),
            words: TreeCopyEnding.bounded(String(decoding: words, as: UTF8.self)))
    }
}
