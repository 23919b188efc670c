import Glibc

/// Reads a container's log in conmon's k8s-file format: `TIME stdout F text` per line.
///
/// `F` ends a line, `P` is a piece of one that goes on. The file may be replaced under the reader at
/// any time (conmon starts it afresh at its limit): a follower reads the old one to its end first.
package struct LogReader: Sendable {
    /// One line of a container's output.
    package struct Line: Sendable, Equatable {
        /// When it was written, RFC 3339 with nanoseconds, as conmon wrote it.
        package var time: String
        /// True when it came from standard error.
        package var isError: Bool
        /// The text without the newline, at most `lineBytesMax`.
        package var bytes: [UInt8]

        package init(time: String, isError: Bool, bytes: [UInt8]) {
            self.time = time
            self.isError = isError
            self.bytes = bytes
        }

        /// The text, with what is not UTF-8 replaced.
        package var text: String { String(decoding: bytes, as: UTF8.self) }
    }

    /// A longer line is handed out in pieces of this size, in bytes.
    package static let lineBytesMax = 64 << 10
    /// The most lines that `tail` gives.
    package static let tailLinesMax = 100_000
    /// The most bytes that `tail` looks through: all of a log, which is started afresh at 16 MiB.
    package static let tailBytesMax = 32 << 20
    /// How often a follower looks for more.
    package static let pollInterval: Duration = .milliseconds(200)

    /// The file.
    package let path: String

    package init(path: String) { self.path = path }

    /// The last lines, oldest first; empty when there is no file yet.
    ///
    /// At most `tailLinesMax`, of the last `tailBytesMax` bytes. Throws `RuntimeError` when the file
    /// is there but cannot be read.
    package func tail(lines: Int) throws -> [Line] {
        guard let cursor = try LogCursor(path: path) else { return [] }
        return try cursor.tail(lines: lines, withRest: true)
    }

    /// Ends lines that were left unfinished, so that a next container's first are not joined on.
    ///
    /// Only while nothing writes the log. What cannot be read or written is left as it is.
    func endLines() {
        guard let bytes = HostFiles.end(of: path, bytesMax: 32 << 10) else { return }
        var ends = ""
        for stream in ["stdout", "stderr"] {
            let last = bytes.split(separator: 0x0A).reversed().lazy
                .map { String(decoding: $0.prefix(80), as: UTF8.self).split(separator: " ") }
                .first { $0.count > 2 && $0[1] == stream }
            if let last, last[2] == "P" { ends += "\(last[0]) \(stream) F \n" }
        }
        guard !ends.isEmpty else { return }
        let descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = write(descriptor, ends, ends.utf8.count)
        close(descriptor)
    }

    /// The last lines and then each new one as it comes; waits for a file that is not there yet.
    ///
    /// Ends when the reading task is cancelled, or when `isOpen` (asked before each pause) says
    /// that no more will come and everything was read. Reads no faster than the consumer takes.
    package func follow(
        tail: Int = 0, while isOpen: (@Sendable () async -> Bool)? = nil
    ) -> AsyncThrowingStream<Line, any Error> {
        let follower = LogFollower(path: path, tail: tail, isOpen: isOpen)
        return AsyncThrowingStream { try await follower.next() }
    }
}

/// Hands out a log's lines one by one and sleeps where it ends.
private actor LogFollower {
    private let path: String
    private let tail: Int
    private let isOpen: (@Sendable () async -> Bool)?
    private var cursor: LogCursor?
    private var hasLooked = false
    private var lines: ArraySlice<LogReader.Line> = []

    init(path: String, tail: Int, isOpen: (@Sendable () async -> Bool)?) {
        self.path = path
        self.tail = tail
        self.isOpen = isOpen
    }

    func next() async throws -> LogReader.Line? {
        while true {
            if let line = lines.popFirst() { return line }
            if Task.isCancelled { return nil }
            // Asked before reading: what was written before the end is then read after the answer.
            let isOpen = await isOpen?() ?? true
            lines = try read()[...]
            if !lines.isEmpty { continue }
            guard isOpen else {
                lines = (cursor?.rest() ?? [])[...]
                return lines.popFirst()
            }
            do { try await Task.sleep(for: LogReader.pollInterval) } catch { return nil }
        }
    }

    private func read() throws -> [LogReader.Line] {
        if cursor == nil {
            cursor = try LogCursor(path: path)
            if !hasLooked, let cursor {
                hasLooked = true
                return try cursor.tail(lines: tail, withRest: false)
            }
            // A file that comes later is new from its first line.
            hasLooked = true
        }
        let lines = try cursor?.next() ?? []
        if lines.isEmpty, cursor?.isReplaced == true {
            let rest = cursor?.rest() ?? []
            cursor = nil
            return try rest
                + (LogCursor(path: path).map { fresh in
                    cursor = fresh
                    return try fresh.next()
                } ?? [])
        }
        return lines
    }
}
