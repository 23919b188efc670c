import Base
import EventLoop
import Glibc
import Testing

/// The loop under the command tests; lives as long as the test process.
private let commandLoop = makeLoop("shoalt-children")
private let runner = CommandRunner(loop: commandLoop)

/// A loop, or the end of the test run when the machine refuses one.
func makeLoop(_ name: String) -> EventLoop {
    do { return try EventLoop(name: name) } catch { fatalError("no event loop: \(error)") }
}

@Suite(.timeLimit(.minutes(1)))
struct CommandRunnerTests {
    @Test("stdout, stderr, stdin and the exit code reach their places")
    func streamsAndExitCode() async throws {
        let input = [UInt8]((0..<300_000).map { UInt8(truncatingIfNeeded: $0) })
        let result = try await runner.run(
            ["sh", "-c", "cat; echo oops >/dev/stderr; exit 7"], input: input)
        #expect(result.standardOutput == input)
        #expect(result.errorText == "oops\n")
        #expect(result.exitCode == 7)
    }

    @Test("without input, standard input is empty")
    func emptyInput() async throws {
        #expect(try await runner.run(["cat"]).standardOutput.isEmpty)
    }

    @Test("a command that ignores its input does not fail for it")
    func unreadInput() async throws {
        let result = try await runner.run(["true"], input: [UInt8](repeating: 65, count: 1 << 20))
        #expect(result.exitCode == 0)
    }

    @Test("a signal shows as 128 plus its number")
    func signalExit() async throws {
        #expect(try await runner.run(["sh", "-c", "kill -TERM $$"]).exitCode == 143)
    }

    @Test("a command over its time is killed and named")
    func timeout() async throws {
        let error = await #expect(throws: CommandError.self) {
            try await runner.run(
                ["sh", "-c", "echo started >&2; exec sleep 60"], timeout: .milliseconds(300))
        }
        guard let error, case .timedOut = error.reason else {
            Issue.record("not a timeout: \(String(describing: error))")
            return
        }
        #expect(error.description.contains("sleep 60"))
        #expect(error.description.contains("started"))
    }

    @Test("output above the limit ends the command")
    func outputLimit() async throws {
        let error = await #expect(throws: CommandError.self) {
            try await runner.run(["cat", "/dev/zero"], outputMaximum: 100_000)
        }
        guard let error, case .outputTooLarge = error.reason else {
            Issue.record("not the limit: \(String(describing: error))")
            return
        }
    }

    @Test(
        "a command that cannot start says why",
        arguments: [
            (["shoalt-no-such-program"], "no such file"), (["/etc/passwd"], "permission denied"),
            ([], "invalid argument"), (["echo", "a\0b"], "invalid argument"),
        ])
    func notStarted(command: [String], reason: String) async throws {
        let error = await #expect(throws: CommandError.self) { try await runner.run(command) }
        #expect(error?.description.contains(reason) == true)
    }

    @Test("check throws with the code and the stderr")
    func checkThrows() async throws {
        let error = await #expect(throws: CommandError.self) {
            try await runner.check(["sh", "-c", "echo broken >&2; exit 3"])
        }
        #expect(error?.description.contains("exit code 3: broken") == true)
    }

    @Test("a cancelled task kills its command")
    func cancellation() async throws {
        let task = Task { try await runner.run(["sleep", "60"]) }
        try await runner.check(["sleep", "0.1"])
        task.cancel()
        let error = await #expect(throws: CommandError.self) { try await task.value }
        guard let error, case .cancelled = error.reason else {
            Issue.record("not cancelled: \(String(describing: error))")
            return
        }
    }

    @Test("a grandchild that keeps the outputs open delays the result only briefly")
    func daemonisingCommand() async throws {
        let before = commandLoop.now()
        let result = try await runner.run(["sh", "-c", "sleep 25 & echo $!"])
        #expect(commandLoop.now() - before < .seconds(20))
        let grandchild = try #require(Int32(result.outputText.dropLast()))
        kill(grandchild, SIGKILL)
    }

    @Test("two hundred commands at once all end, each with its own output")
    func manyCommands() async throws {
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for number in 0..<200 {
                group.addTask {
                    let result = try await runner.run(["sh", "-c", "echo \(number); exit 5"])
                    return result.outputText == "\(number)\n" && result.exitCode == 5
                }
            }
            for try await isRight in group { #expect(isRight) }
        }
    }

    @Test("extra descriptors become 3, 4, ...; nothing else is inherited, no signal is blocked")
    func extraDescriptors() async throws {
        var ends: [Int32] = [0, 0]
        // Deliberately without close-on-exec.
        try #require(pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        let script =
            "echo through >&4; ls /proc/self/fd | tr '\\n' ' '; grep -E 'SigBlk|SigIgn' "
            + "/proc/self/status"
        let result = try await runner.check(
            ["sh", "-c", script], extraDescriptors: [ends[0], ends[1]])
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = read(ends[0], &buffer, buffer.count)
        #expect(String(decoding: buffer.prefix(max(0, count)), as: UTF8.self) == "through\n")
        // The last one is ls's own, the folder it lists.
        #expect(result.outputText.hasPrefix("0 1 2 3 4 5 "))
        #expect(!result.outputText.hasPrefix("0 1 2 3 4 5 6"))
        #expect(result.outputText.contains("SigBlk:\t0000000000000000"))
        // Signals from 32 up belong to the C library.
        let ignored = result.outputText.split(separator: "\t").last.flatMap {
            UInt64($0.prefix { $0.isHexDigit }, radix: 16)
        }
        #expect(ignored.map { $0 & 0x7FFF_FFFF } == 0)
    }

    @Test("the environment is exactly what was given")
    func environment() async throws {
        let result = try await runner.check(["/usr/bin/env"], environment: ["ONE=1", "TWO=2"])
        #expect(result.outputText == "ONE=1\nTWO=2\n")
    }

    @Test("a second loop in the process reaps its own children")
    func secondLoop() async throws {
        let loop = makeLoop("shoalt-second")
        defer { loop.stop() }
        let other = CommandRunner(loop: loop)
        async let first = runner.run(["sh", "-c", "exit 1"])
        async let second = other.run(["sh", "-c", "exit 2"])
        #expect(try await first.exitCode == 1)
        #expect(try await second.exitCode == 2)
    }

    @Test("a running command streams both ways")
    func runningCommand() async throws {
        let command = try await runner.start(["cat"])
        try await command.write(Array("hello ".utf8))
        try await command.write(Array("there".utf8))
        await command.closeInput()
        var said: [UInt8] = []
        for try await chunk in command.output {
            #expect(chunk.stream == .standardOutput)
            said += chunk.bytes
        }
        #expect(String(decoding: said, as: UTF8.self) == "hello there")
        #expect(await command.wait() == 0)
        await #expect(throws: CommandError.self) { try await command.write([1]) }
    }

    @Test("a running command that nobody reads stops, and goes on when read")
    func runningBackPressure() async throws {
        let command = try await runner.start(
            ["sh", "-c", "head -c 3000000 /dev/zero; echo end >&2"])
        var total = 0
        var errors: [UInt8] = []
        for try await chunk in command.output {
            if chunk.stream == .standardOutput { total += chunk.bytes.count }
            if chunk.stream == .standardError { errors += chunk.bytes }
        }
        #expect(total == 3_000_000)
        #expect(errors == Array("end\n".utf8))
        #expect(await command.wait() == 0)
    }

    @Test("a running command takes signals")
    func runningKill() async throws {
        let command = try await runner.start(["sleep", "60"])
        command.kill(signal: SIGTERM)
        #expect(await command.wait() == 143)
        for try await _ in command.output { Issue.record("sleep says nothing") }
    }
}

/// An actor that lives on a loop, as the agent does.
private actor LoopActor {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private var timer: LoopTimer?
    private var fired = 0

    init(loop: EventLoop) { self.loop = loop }

    func isOnLoop() -> Bool { loop.isOnThread }

    func firesAfter(_ delay: Duration) async -> Duration {
        let before = loop.now()
        await withCheckedContinuation { continuation in
            timer = LoopTimer(loop: loop) {
                self.assumeIsolated { $0.fired += 1 }
                continuation.resume()
            }
            timer?.start(after: delay)
        }
        return loop.now() - before
    }

    func count(to limit: Int) async -> Int {
        var count = 0
        while count < limit, !Task.isCancelled {
            await Task.yield()
            count += 1
        }
        return count
    }
}

@Suite(.timeLimit(.minutes(1)))
struct EventLoopTests {
    @Test("an actor on the loop runs on its thread, and timers never fire early")
    func actorAndTimer() async {
        let actor = LoopActor(loop: commandLoop)
        #expect(await actor.isOnLoop())
        #expect(!commandLoop.isOnThread)
        #expect(await actor.firesAfter(.milliseconds(20)) >= .milliseconds(20))
        #expect(await actor.firesAfter(.zero) < .seconds(30))
    }

    @Test("an actor that keeps feeding itself does not starve timers")
    func noStarvation() async {
        let loop = makeLoop("shoalt-busy")
        defer { loop.stop() }
        let actor = LoopActor(loop: loop)
        let busy = Task { await actor.count(to: .max) }
        // Returns at all: the other actor never lets the queue run empty.
        #expect(await LoopActor(loop: loop).firesAfter(.milliseconds(10)) >= .milliseconds(10))
        busy.cancel()
        _ = await busy.value
    }

    @Test("a loop can be made and stopped again and again")
    func startAndStop() async {
        for _ in 0..<50 {
            let loop = makeLoop("shoalt-short")
            #expect(await LoopActor(loop: loop).isOnLoop())
            loop.stop()
        }
    }
}
