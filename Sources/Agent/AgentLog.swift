import Base
import ControlAPI
import Foundation
import Glibc
import Synchronization

/// The agent's log: one line per thing worth knowing, on standard error, for journald or a file.
package struct AgentLog: Sendable {
    /// How much a line matters.
    package enum Level: String, Sendable {
        /// Something happened as it should.
        case info
        /// Something is off; the agent goes on by itself.
        case warning
        /// Something needs an operator.
        case error
    }

    private static let writer = LogWriter()

    package init() {}

    /// Writes a line: time, level, text.
    ///
    /// Control characters are escaped, so that nothing a peer or a container says can fake a line.
    package func write(_ level: Level, _ text: String) {
        var line = "\(WallTime.now.rfc3339) \(level.rawValue): "
        for scalar in text.unicodeScalars.prefix(2_000) {
            if scalar.value < 0x20 || scalar.value == 0x7F {
                line += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                line.unicodeScalars.append(scalar)
            }
        }
        line += "\n"
        AgentLog.writer.write(line)
    }

    /// Something happened as it should.
    package func info(_ text: String) { write(.info, text) }
    /// Something is off; the agent goes on by itself.
    package func warning(_ text: String) { write(.warning, text) }
    /// Something needs an operator.
    package func error(_ text: String) { write(.error, text) }
}

extension WallTime {
    /// This moment by the host's clock.
    package static var now: WallTime {
        WallTime(milliseconds: Int64(Date().timeIntervalSince1970 * 1_000))
    }
}

/// Writes lines on a thread of its own: a full disk or a stuck journal never holds up the agent.
private final class LogWriter: Sendable {
    /// The most lines that wait; further ones are counted and dropped.
    private static let linesMax = 4_096
    private let waiting = Mutex<(lines: [String], dropped: Int)>(([], 0))
    private let wake = NSCondition()

    init() {
        let thread = Thread { [self] in
            while true {
                wake.lock()
                while waiting.withLock({ $0.lines.isEmpty }) { wake.wait() }
                wake.unlock()
                let (lines, dropped) = waiting.withLock { waiting in
                    defer { waiting = ([], 0) }
                    return waiting
                }
                for line in lines { put(line) }
                if dropped > 0 { put("... \(dropped) lines were dropped\n") }
            }
        }
        thread.name = "log"
        thread.start()
    }

    func write(_ line: String) {
        waiting.withLock { waiting in
            if waiting.lines.count < LogWriter.linesMax {
                waiting.lines.append(line)
            } else {
                waiting.dropped += 1
            }
        }
        wake.lock()
        wake.signal()
        wake.unlock()
    }

    /// What cannot be written is lost: there is nowhere to say so.
    private func put(_ line: String) {
        let bytes = Array(line.utf8)
        var written = 0
        while written < bytes.count {
            let count = Glibc.write(STDERR_FILENO, Array(bytes[written...]), bytes.count - written)
            guard count > 0 else { return }
            written += count
        }
    }
}
