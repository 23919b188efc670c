import EventLoop
import Foundation
import Testing
import VolumeStore

@testable import Agent

/// What rsync at two hosts says to each other, carried over a stream; here with other programs.
@Suite("copying of folders between agents", .serialized)
struct TreeCarrierTests {
    /// Both ends of a stream, and a place for programs.
    private struct Sides {
        let left: PeerChannel
        let right: PeerChannel
        let commands: CommandRunner

        static func run(_ test: (Sides) async throws -> Void) async throws {
            let loop = try EventLoop(name: "shoalt-tree")
            defer { loop.stop() }
            try await StreamPair.run { pair in
                let ends = try await pair.open()
                try await test(
                    Sides(
                        left: PeerChannel(ends.raw), right: ends.channel,
                        commands: CommandRunner(loop: loop)))
            }
        }

        func carrier(_ channel: PeerChannel, _ script: String) async throws -> TreeCarrier {
            TreeCarrier(
                command: try await commands.start(["sh", "-c", script]), channel: channel,
                what: "copying web.0/data")
        }
    }

    @Test("what each side says, the other gets; both ends are told, with the last words")
    func carries() async throws {
        try await Sides.run { sides in
            let left = try await sides.carrier(
                sides.left,
                "printf hello; head -c 200000 | wc -c >&2; echo odd file >&2; exit 23")
            let right = try await sides.carrier(
                sides.right, "head -c 200000 /dev/zero; head -c 5 >&2")
            async let other = right.run()
            let ours = try await left.run()
            let theirs = try await other
            #expect(ours.ours == TreeCopyEnding(code: 23, words: "200000; odd file"))
            #expect(ours.theirs == TreeCopyEnding(code: 0, words: "hello"))
            #expect(ours.ours == theirs.theirs && ours.theirs == theirs.ours)
            #expect(ours.bytes == 200_005 && theirs.bytes == 200_005)
            #expect(ours.ours.isThrough && ours.theirs.isThrough)
            // The stream goes on.
            try await sides.left.send(PeerMoveFrame.alive)
            try await sides.left.send(PeerMoveFrame.end)
            #expect(try await sides.right.nextFrame(patience: .seconds(10)) == .end)
        }
    }

    @Test("one side that goes on without the other is killed after a while, and that is told")
    func farewell() async throws {
        try await Sides.run { sides in
            var left = try await sides.carrier(sides.left, "exec sleep 60")
            left.farewell = .milliseconds(100)
            let right = try await sides.carrier(sides.right, "exit 12")
            async let other = right.run()
            let ours = try await left.run()
            #expect(ours.ours.code == 137 && ours.theirs.code == 12)
            #expect(!ours.theirs.isThrough && ours.theirs.mayPass && ours.ours.mayPass)
            #expect(try await other.theirs.code == 137)
        }
    }

    @Test("silence, a broken stream, a wrong word, a failed check and a lost interest end it")
    func endsEarly() async throws {
        try await expect("has said nothing for 0.2 seconds") { left, _ in
            left.patience = .milliseconds(200)
            return nil
        }
        try await expect("broke off") { _, right in Task { await right.stream.finish() } }
        try await expect("") { _, right in Task { right.cancel() } }
        try await expect("says something else than rsync") { _, right in
            Task { try await right.send(PeerMoveFrame.wanted([1])) }
        }
        try await expect("too much") { left, _ in
            left.check = { throw AgentError("too much") }
            return nil
        }
    }

    private func expect(
        _ words: String,
        _ trouble: (inout TreeCarrier, PeerChannel) async throws -> Task<Void, any Error>?
    ) async throws {
        try await Sides.run { sides in
            var left = try await sides.carrier(sides.left, "exec sleep 60")
            let command = left.command
            let task = try await trouble(&left, sides.right)
            let carrier = left
            await #expect {
                _ = try await carrier.run()
            } throws: {
                words.isEmpty || "\($0)".contains(words)
            }
            #expect(await command.wait() == 137, "\(words)")
            try await task?.value
        }
    }

    @Test("cancelling the task kills the program")
    func cancelled() async throws {
        try await Sides.run { sides in
            let left = try await sides.carrier(sides.left, "echo; exec sleep 60")
            let task = Task { try await left.run() }
            #expect(try await sides.right.receive(PeerMoveFrame.self) == .bytes([10]))
            task.cancel()
            #expect(await left.command.wait() == 137)
            await #expect(throws: (any Error).self) { try await task.value }
        }
    }

    @Test("last words are one line of bounded length, whatever the bytes are")
    func words() {
        #expect(TreeCarrier.lastWords(Array("a\nb\n\nc\nd\ne\n".utf8)) == "b; c; d; e")
        for bytes in [
            [UInt8](repeating: 255, count: 8 << 10), Array(String(repeating: "🐟", count: 900).utf8),
        ] {
            let words = TreeCarrier.lastWords(bytes)
            #expect((900...TreeCopyEnding.wordBytesMax).contains(words.utf8.count))
        }
        let full = TreeCopyEnding(code: 12, words: "write failed: No space left on device (28)")
        #expect(!full.mayPass && !full.isThrough)
    }
}
