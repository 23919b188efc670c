import Glibc

/// A place in one log file, held open: reads on from there, joining pieces of lines.
final class LogCursor {
    /// How much is read at once, in bytes.
    private static let blockBytes = 64 << 10

    private let path: String
    private let descriptor: Int32
    private let inode: ino_t
    private var offset = 0
    private var decoder = LogDecoder()

    /// Opens the file; nil when there is none.
    init?(path: String) throws {
        descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        self.path = path
        var status = stat()
        guard descriptor >= 0, fstat(descriptor, &status) == 0 else {
            inode = 0
            if errno == ENOENT { return nil }
            throw LogCursor.failure(path)
        }
        inode = status.st_ino
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// True when the path leads to another file by now.
    var isReplaced: Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_ino != inode
    }

    /// The next whole lines, up to one block's; empty at the end of what there is.
    func next() throws -> [LogReader.Line] {
        while true {
            let block = try read(at: offset)
            guard !block.isEmpty else { return [] }
            offset += block.count
            let lines = decoder.decode(block)
            if !lines.isEmpty { return lines }
        }
    }

    /// Lines whose ends never came.
    func rest() -> [LogReader.Line] { decoder.rest() }

    /// The last lines; the cursor then stands at the end of them.
    ///
    /// Looks at ever more of the end of the file until there are enough.
    func tail(lines count: Int, withRest: Bool) throws -> [LogReader.Line] {
        let count = min(max(0, count), LogReader.tailLinesMax)
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw LogCursor.failure(path) }
        let size = Int(status.st_size)
        var window = LogCursor.blockBytes
        while true {
            let start = max(0, size - window)
            // From the middle of a file the first line is half a line, or the half of one.
            decoder = LogDecoder(skipsFirstLine: start > 0)
            offset = start
            var found: [LogReader.Line] = []
            while offset < size {
                let block = try read(at: offset, upTo: size - offset)
                guard !block.isEmpty else { break }
                offset += block.count
                found += decoder.decode(block)
                if found.count > 2 * count + 1_000 { found.removeFirst(found.count - count) }
            }
            if found.count >= count || start == 0 || window >= LogReader.tailBytesMax {
                if withRest { found += decoder.rest() }
                return found.suffix(count)
            }
            window *= 4
        }
    }

    private func read(at offset: Int, upTo limit: Int = .max) throws -> [UInt8] {
        let count = min(limit, LogCursor.blockBytes)
        var length = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            repeat {
                length = pread(descriptor, buffer.baseAddress, count, off_t(offset))
            } while length < 0 && errno == EINTR
            filled = max(0, length)
        }
        guard length >= 0 else { throw LogCursor.failure(path) }
        return bytes
    }

    private static func failure(_ path: String) -> RuntimeError {
        RuntimeError(.host, "read the log \(path)", cause: HostFiles.lastError)
    }
}
