import Foundation
import Glibc

/// The write end of the pipe that a signal writes to; set once, before the handlers are.
private nonisolated(unsafe) var signalPipe: Int32 = -1  // A signal handler can reach globals only.

/// Waits for the signals that end the agent.
enum Signals {
    /// Returns the name of the first of SIGTERM and SIGINT to arrive.
    ///
    /// A handler that writes to a pipe works whatever thread the kernel picks, where a blocked
    /// signal set would have to be in place before the first thread of the process.
    static func wait() async -> String {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { return "no pipe for signals" }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        signalPipe = ends[1]
        for number in [SIGTERM, SIGINT] {
            signal(number) { number in
                var byte = UInt8(truncatingIfNeeded: number)
                _ = write(signalPipe, &byte, 1)
            }
        }
        let reading = ends[0]
        return await withCheckedContinuation { continuation in
            let thread = Thread {
                var byte: UInt8 = 0
                while read(reading, &byte, 1) != 1 {}
                continuation.resume(returning: Int32(byte) == SIGTERM ? "SIGTERM" : "SIGINT")
            }
            thread.start()
        }
    }
}
