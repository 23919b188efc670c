import EventLoop
import Glibc
import Synchronization
import VolumeStore

/// Carries what rsync says at this host to rsync at another and back, until both have ended.
struct TreeCarrier {
    /// Rsync here.
    let command: RunningCommand
    let channel: PeerChannel
    /// What it is about, for errors.
    let what: String
    /// How long nothing may be said either way: rsync may read one large file for some time.
    var patience = Duration.seconds(300)
    /// How long one side may go on when the other has ended.
    var farewell = Duration.seconds(10)
    /// Throws what must end it early; asked every now and then.
    var check: @Sendable () async throws -> Void = {}
    /// Gets the bytes carried so far.
    var progress: @Sendable (Int) async -> Void = { _ in }

    /// How both sides ended, and the bytes that were carried.
    struct Result: Sendable {
        var ours: TreeCopyEnding
        var theirs: TreeCopyEnding
        var bytes: Int
    }

    private static let lookStep = Duration.milliseconds(500)

    private enum Part: Sendable {
        case ours(TreeCopyEnding)
        case theirs(TreeCopyEnding)
    }

    /// Runs it to the end; on an error, or when the task is cancelled, rsync here is killed.
    func run() async throws -> Result {
        let pulse = Pulse()
        return try await withThrowingTaskGroup(of: Part.self) { group in
            group.addTask { .ours(try await speak(pulse)) }
            group.addTask { .theirs(try await listen(pulse)) }
            group.addTask { try await watch(pulse) }
            do {
                var ours: TreeCopyEnding?
                var theirs: TreeCopyEnding?
                while let part = try await group.next() {
                    switch part {
                    case .ours(let ending): ours = ending
                    case .theirs(let ending): theirs = ending
                    }
                    guard let ours, let theirs else { continue }
                    group.cancelAll()
                    return Result(ours: ours, theirs: theirs, bytes: pulse.bytes)
                }
                throw AgentError("\(what) ended without a word")
            } catch {
                // Whoever still waits for one of them learns of its end.
                command.kill(signal: SIGKILL)
                channel.cancel()
                throw error
            }
        }
    }

    /// Hands on what rsync here says, and how it ended.
    private func speak(_ pulse: Pulse) async throws -> TreeCopyEnding {
        var words: [UInt8] = []
        for try await chunk in command.output {
            switch chunk.stream {
            case .standardOutput:
                try await channel.send(PeerMoveFrame.bytes(chunk.bytes))
                pulse.beat(chunk.bytes.count)
                await progress(pulse.bytes)
            case .standardError: words = (words + chunk.bytes).suffix(8 << 10)
            }
        }
        let ending = TreeCopyEnding(
            code: Int(await command.wait()), words: TreeCarrier.lastWords(words))
        try await channel.send(PeerMoveFrame.ended(code: ending.code, words: ending.words))
        return ending
    }

    /// Hands rsync here what the other says; returns how that ended.
    private func listen(_ pulse: Pulse) async throws -> TreeCopyEnding {
        while let frame = try await channel.receive(PeerMoveFrame.self) {
            switch frame {
            case .bytes(let bytes):
                // What has ended reads no more; how it ended is told by it.
                try? await command.write(bytes)
                pulse.beat(bytes.count)
            case .ended(let code, let words):
                await command.closeInput()
                pulse.end()
                return TreeCopyEnding(code: code, words: words)
            case .alive: continue
            default: throw AgentError("\(what): the other host says something else than rsync")
            }
        }
        throw AgentError("\(what): the other host broke off")
    }

    private func watch(_ pulse: Pulse) async throws -> Part {
        while true {
            let start = ContinuousClock.now
            try await check()
            // A check that costs something is made less often.
            let cost = ContinuousClock.now - start
            try await Task.sleep(for: max(TreeCarrier.lookStep, cost * 10))
            if let end = pulse.endOfOther, ContinuousClock.now - end > farewell {
                command.kill(signal: SIGKILL)
            }
            guard ContinuousClock.now - pulse.last < patience else {
                throw AgentError("\(what): rsync has said nothing for \(patience)")
            }
        }
    }

    /// The end of what rsync complained of, on one line.
    static func lastWords(_ bytes: [UInt8]) -> String {
        let text = String(decoding: bytes, as: UTF8.self)
        return TreeCopyEnding.bounded(
            text.split(whereSeparator: \.isNewline).suffix(4).joined(separator: "; "))
    }
}

/// When something was last said, and how much was in all.
private final class Pulse: Sendable {
    private struct State {
        var last = ContinuousClock.now
        var bytes = 0
        var endOfOther: ContinuousClock.Instant?
    }

    private let state = Mutex(State())

    var last: ContinuousClock.Instant { state.withLock(\.last) }
    var bytes: Int { state.withLock(\.bytes) }
    /// When the other side had ended; nil while it has not.
    var endOfOther: ContinuousClock.Instant? { state.withLock(\.endOfOther) }

    func beat(_ count: Int) {
        state.withLock {
            $0.last = .now
            $0.bytes += count
        }
    }

    func end() { state.withLock { $0.endOfOther = .now } }
}

extension PeerChannel {
    /// The next frame that says something; nil when the other side has finished.
    func nextFrame(patience: Duration) async throws -> PeerMoveFrame? {
        while let frame = try await receive(PeerMoveFrame.self, patience: patience) {
            if case .alive = frame { continue }
            return frame
        }
        return nil
    }

    /// Tells the other side every now and then that this one is at work, while the body runs, which
    /// sends nothing.
    nonisolated func keepingAlive<Value: Sendable>(
        _ body: () async throws -> Value
    ) async throws -> Value {
        let ticker = Task {
            while !Task.isCancelled {
                try await Task.sleep(for: .seconds(5))
                // A task of its own: to be cancelled while it sends would break the stream.
                try await Task { try await send(PeerMoveFrame.alive) }.value
            }
        }
        do {
            let value = try await body()
            await PeerChannel.end(ticker)
            return value
        } catch {
            await PeerChannel.end(ticker)
            throw error
        }
    }

    private static func end(_ ticker: Task<Void, any Error>) async {
        ticker.cancel()
        _ = await ticker.result
    }
}
