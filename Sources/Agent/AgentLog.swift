import Base
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

    /// Writes a line: time, level, text. Control characters are escaped, so that nothing a peer or
    /// a container says can fake a line.
    package func write(_ level: Level, _ text: String) {
        var line = "\(WallTime.now.logText) \(level.rawValue): "
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
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(
            milliseconds: Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000)
    }

    /// `2026-01-31T12:00:00.123Z`.
    var logText: String {
        var seconds = time_t(milliseconds / 1_000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let fraction = String(1_000 + milliseconds % 1_000).dropFirst()
        return "\(parts.tm_year + 1_900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
            + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(fraction)Z"
    }
}
