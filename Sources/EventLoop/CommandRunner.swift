import Base
import Glibc

/// Runs child processes on a loop: spawned without a shell, with limits on time and output.
///
/// At most `concurrentMaximum` runs are under way at once; more wait their turn, first come first
/// served, and their timeouts start when they do. Running commands that were started with `start`
/// do not count. The loop stands still for the 1 to 3 ms of a fork, so give children a loop of
/// their own.
package actor CommandRunner {
    /// How many runs are under way at most.
    package static let concurrentMaximum = 64

    /// The loop that watches the children; also this actor's executor.
    package nonisolated let loop: EventLoop

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        loop.asUnownedSerialExecutor()
    }

    private var executions: [Int: CommandExecution] = [:]
    private var lastNumber = 0
    private var underWay = 0
    private var waiting: [CheckedContinuation<Void, Never>] = []

    package init(loop: EventLoop) {
        self.loop = loop
    }

    /// Runs a command to its end, whatever its exit code.
    ///
    /// The program is found in PATH unless its name has a slash. Standard input is `input`, or
    /// /dev/null when that is empty; `environment` are "NAME=value" texts (nil: ours);
    /// `extraDescriptors` become descriptors 3, 4, ... of the child and stay open here.
    /// Throws `CommandError` when it cannot start, runs over `timeout`, writes more than
    /// `outputMaximum` bytes to one stream, or the task is cancelled; in the latter cases it was
    /// killed (SIGKILL, this process alone, not its children) and reaped.
    package func run(
        _ command: [String], input: [UInt8] = [], environment: [String]? = nil,
        extraDescriptors: [Int32] = [], timeout: Duration = .seconds(30),
        outputMaximum: Int = 4 << 20
    ) async throws -> CommandResult {
        await enter()
        defer { leave() }
        guard !Task.isCancelled else { throw CommandError(command: command, reason: .cancelled) }
        lastNumber += 1
        let number = lastNumber
        defer { executions[number] = nil }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let execution = CommandExecution(command: command, outputMaximum: outputMaximum) {
                    continuation.resume(with: $0.mapError { $0 as any Error })
                }
                executions[number] = execution
                execution.start(
                    loop: loop, input: input, environment: environment,
                    extraDescriptors: extraDescriptors, timeout: timeout
                ) {
                    self.assumeIsolated { $0.executions[number]?.timerFired() }
                }
            }
        } onCancel: {
            loop.perform { self.assumeIsolated { $0.executions[number]?.stop(.cancelled) } }
        }
    }

    /// Runs a command to its end and throws `CommandError` unless its exit code is 0.
    @discardableResult
    package func check(
        _ command: [String], input: [UInt8] = [], environment: [String]? = nil,
        extraDescriptors: [Int32] = [], timeout: Duration = .seconds(30),
        outputMaximum: Int = 4 << 20
    ) async throws -> CommandResult {
        let result = try await run(
            command, input: input, environment: environment, extraDescriptors: extraDescriptors,
            timeout: timeout, outputMaximum: outputMaximum)
        guard result.exitCode == 0 else {
            throw CommandError(
                command: command, reason: .failed(exitCode: result.exitCode),
                standardError: result.standardError)
        }
        return result
    }

    /// Starts a command whose input and output are streamed, without a limit on time or output.
    ///
    /// It is killed when nobody holds the result any more.
    package func start(
        _ command: [String], environment: [String]? = nil, extraDescriptors: [Int32] = []
    ) async throws -> RunningCommand {
        let session = CommandSession(command: command)
        try session.start(loop: loop, environment: environment, extraDescriptors: extraDescriptors)
        return RunningCommand(command: command, loop: loop, session: session)
    }

    private func enter() async {
        guard underWay >= CommandRunner.concurrentMaximum else {
            underWay += 1
            return
        }
        await withCheckedContinuation { waiting.append($0) }
    }

    /// Hands the place to the next in line.
    private func leave() {
        if waiting.isEmpty {
            underWay -= 1
        } else {
            waiting.removeFirst().resume()
        }
    }
}
