/// Reads a container's log in conmon's k8s-file format: `TIME stdout F text` per line.
package struct LogReader: Sendable {
    /// One line of a container's output.
    package struct Line: Sendable, Equatable {
        /// When it was written, RFC 3339 with nanoseconds, as conmon wrote it.
        package var time: String
        /// True when it came from standard error.
        package var isError: Bool
        /// The text without the newline; cut at `lineBytesMax`.
        package var bytes: [UInt8]

        package init(time: String, isError: Bool, bytes: [UInt8]) {
            self.time = time
            self.isError = isError
            self.bytes = bytes
        }

        /// The text, with what is not UTF-8 replaced.
        package var text: String { String(decoding: bytes, as: UTF8.self) }
    }

    /// The file.
    package let path: String

    package init(path: String) { self.path = path }

    /// The last lines, oldest first; empty when there is no file yet.
    package func tail(lines: Int) throws -> [Line] { [] }

    /// The last lines and then each new one, until the consumer ends.
    package func follow(tail: Int) -> AsyncThrowingStream<Line, any Error> {
        AsyncThrowingStream { $0.finish() }
    }
}
