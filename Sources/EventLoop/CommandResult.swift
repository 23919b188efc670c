/// What a finished command left behind.
package struct CommandResult: Sendable {
    /// The exit code; 128 + the signal's number when a signal ended it.
    package var exitCode: Int32
    /// All of its standard output.
    package var standardOutput: [UInt8]
    /// All of its standard error.
    package var standardError: [UInt8]

    package init(exitCode: Int32, standardOutput: [UInt8], standardError: [UInt8]) {
        self.exitCode = exitCode
        self.standardOutput = standardOutput
        self.standardError = standardError
    }

    /// Standard output as text; bytes that are not UTF-8 become replacement characters.
    package var outputText: String { String(decoding: standardOutput, as: UTF8.self) }

    /// Standard error as text; bytes that are not UTF-8 become replacement characters.
    package var errorText: String { String(decoding: standardError, as: UTF8.self) }
}

/// A command did not do what was asked: names the command and, when there is one, its stderr.
package struct CommandError: Error, Sendable, CustomStringConvertible {
    /// Why.
    package enum Reason: Sendable {
        /// The kernel could not start it (not found, not executable, no memory).
        case notStarted(LoopError)
        /// It ran longer than allowed, and was killed and reaped.
        case timedOut(Duration)
        /// It wrote more than allowed to one stream, and was killed and reaped.
        case outputTooLarge(maximum: Int)
        /// It ended with a code other than 0 (from `check` only).
        case failed(exitCode: Int32)
        /// The task that waited for it was cancelled; it was killed and reaped.
        case cancelled
        /// Its standard input is closed.
        case inputClosed
    }

    /// The command with its arguments.
    package let command: [String]
    /// Why.
    package let reason: Reason
    /// What it wrote to stderr until then.
    package let standardError: [UInt8]

    package init(command: [String], reason: Reason, standardError: [UInt8] = []) {
        self.command = command
        self.reason = reason
        self.standardError = standardError
    }

    package var description: String {
        let line = command.joined(separator: " ").prefix(300)
        let text = String(decoding: standardError.suffix(2_000), as: UTF8.self)
        let said = text.split(separator: "\n").joined(separator: "; ")
        return "command `\(line)` \(reasonText)" + (said.isEmpty ? "" : ": \(said)")
    }

    private var reasonText: String {
        switch reason {
        case .notStarted(let error): "could not be started: \(error.reason)"
        case .timedOut(let limit): "did not end within \(limit) and was killed"
        case .outputTooLarge(let maximum): "wrote more than \(maximum) bytes and was killed"
        case .failed(let code) where code > 128: "was ended by signal \(code - 128)"
        case .failed(let code): "ended with exit code \(code)"
        case .cancelled: "was no longer wanted and was killed"
        case .inputClosed: "no longer takes input"
        }
    }
}
