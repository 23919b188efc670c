import Base
import Glibc

/// One run of a command to its end: feeds the input, gathers the output, keeps the limits.
///
/// Used on the loop's thread only. Ends when the process was reaped and both its outputs ended;
/// a grandchild that holds an output open delays that by `graceAfterExit` at most, and what the
/// command itself wrote is read in any case.
final class CommandExecution {
    /// How long an output may stay open after the process ended.
    static let graceAfterExit = Duration.milliseconds(250)

    private let command: [String]
    private let outputMaximum: Int
    private let completion: (Result<CommandResult, CommandError>) -> Void
    private var child: ChildProcess?
    private var deadline: LoopTimer?
    private var outputs: [[UInt8]] = [[], []]
    private var openOutputs = 2
    private var exitCode: Int32?
    private var failure: CommandError.Reason?
    private var isFinished = false

    init(
        command: [String], outputMaximum: Int,
        completion: @escaping (Result<CommandResult, CommandError>) -> Void
    ) {
        self.command = command
        self.outputMaximum = outputMaximum
        self.completion = completion
    }

    /// Starts the process.
    ///
    /// `fire` must call `timerFired()` on the loop's thread.
    func start(
        loop: EventLoop, input: [UInt8], environment: [String]?, extraDescriptors: [Int32],
        timeout: Duration, fire: @escaping @Sendable () -> Void
    ) {
        do throws(LoopError) {
            let child = try ChildProcess.start(
                loop: loop, command: command, environment: environment,
                wantsInput: !input.isEmpty, extraDescriptors: extraDescriptors,
                onExit: { [weak self] code in self?.didExit(code) })
            self.child = child
            let timer = LoopTimer(loop: loop, handler: fire)
            timer.start(after: timeout)
            deadline = timer
            timeoutLimit = timeout
            for (index, pipe) in [child.output, child.error].enumerated() {
                pipe?.startReading { [weak self] event in self?.didRead(event, index) }
            }
            // A command that does not read its input to the end is no error of ours.
            try? child.input?.write(input) { [weak child] _ in child?.input?.close() }
        } catch {
            failure = .notStarted(error)
            finish()
        }
    }

    private var timeoutLimit = Duration.zero

    /// The timeout is over, or the grace after the exit.
    func timerFired() {
        guard exitCode == nil else { return drainAndFinish() }
        stop(.timedOut(timeoutLimit))
    }

    /// Kills the process; the run ends with `reason` once it is reaped.
    func stop(_ reason: CommandError.Reason) {
        guard failure == nil, !isFinished else { return }
        failure = reason
        child?.kill(signal: SIGKILL)
        if exitCode != nil { finish() }
    }

    private func didRead(_ event: ByteStream.Event, _ index: Int) {
        guard case .bytes(let bytes) = event else {
            openOutputs -= 1
            return finishIfDone()
        }
        take(bytes, index)
    }

    private func take(_ bytes: [UInt8], _ index: Int) {
        guard failure == nil else { return }
        outputs[index] += bytes
        guard outputs[index].count > outputMaximum else { return }
        stop(.outputTooLarge(maximum: outputMaximum))
    }

    private func didExit(_ code: Int32) {
        exitCode = code
        child?.input?.close()
        // Nothing more to wait for when it was killed for a reason.
        guard failure == nil else { return finish() }
        deadline?.start(after: CommandExecution.graceAfterExit)
        finishIfDone()
    }

    private func finishIfDone() {
        if exitCode != nil, openOutputs == 0 { finish() }
    }

    /// Reads what the pipes still hold: the loop may have been too busy to do so in time.
    private func drainAndFinish() {
        for (index, pipe) in [child?.output, child?.error].enumerated() {
            take(pipe?.readNow(maximum: outputMaximum) ?? [], index)
        }
        finish()
    }

    private func finish() {
        guard !isFinished else { return }
        isFinished = true
        deadline?.close()
        child?.closeAll()
        if let failure {
            completion(
                .failure(
                    CommandError(command: command, reason: failure, standardError: outputs[1])))
        } else {
            completion(
                .success(
                    CommandResult(
                        exitCode: exitCode ?? -1, standardOutput: outputs[0],
                        standardError: outputs[1])))
        }
    }
}
