import Base
import ControlAPI
import Foundation
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

    private static let lock = Mutex(())

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
        AgentLog.lock.withLock { _ in
            FileHandle.standardError.write(Data(line.utf8))
        }
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
