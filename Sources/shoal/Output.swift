import ControlAPI
import Glibc

/// What the commands print, and where.
enum Output {
    /// True when standard output is a terminal.
    static var isTerminal: Bool { isatty(1) == 1 }

    /// True when standard error is a terminal.
    static var errorIsTerminal: Bool { isatty(2) == 1 }

    /// Writes to standard output; ends the program quietly when nobody reads any more.
    static func standardOutput(_ text: String) { write(Array(text.utf8), to: 1) }

    /// Writes to standard error.
    static func standardError(_ text: String) { write(Array(text.utf8), to: 2) }

    /// Writes bytes as they are.
    static func write(_ bytes: [UInt8], to descriptor: Int32) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN {
                // Somebody made it non-blocking; wait until it takes more.
                var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                _ = Glibc.poll(&poll, 1, 1_000)
                continue
            }
            guard count > 0 else {
                // As a program that SIGPIPE ends, had it not been ignored: 128 + 13.
                if descriptor == 1, errno == EPIPE { exit(141) }
                if descriptor == 1 {
                    standardError(
                        "shoal: cannot write the output: \(String(cString: strerror(errno)))\n")
                    exit(1)
                }
                return
            }
            rest = rest.dropFirst(count)
        }
    }

    /// Prints a refusal: the sentence, each problem with its place in `file`, the next step.
    static func report(_ error: ControlError, file: String? = nil) {
        standardError("shoal: \(printable(error.message))\n")
        for problem in error.problems {
            var place = file ?? ""
            if let line = problem.line { place += ":\(line)" }
            if let column = problem.column { place += ":\(column)" }
            let parts = [place, problem.path, problem.message].filter { !$0.isEmpty }
            standardError(printable(parts.joined(separator: ": ")) + "\n")
        }
        if let next = error.next { standardError("\(printable(next))\n") }
    }

    /// The text without control characters, which could command the terminal.
    static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { scalar in
                    let isControl =
                        scalar.value < 0x20 && scalar != "\t"
                        || (0x7F...0x9F).contains(scalar.value)
                    return isControl ? "\u{FFFD}" : scalar
                }))
    }
}
