/// Turns the bytes of a k8s-file log into lines, whatever the blocks they come in.
///
/// What is not in the format (a torn line after a crash) is passed over. Memory is bounded: an
/// unfinished record and an unfinished line per stream, each of at most `LogReader.lineBytesMax`
/// and a bit.
package struct LogDecoder: Sendable {
    /// The bytes of a record before its text: a time of up to 64, the stream, the tag.
    private static let headBytesMax = 80

    /// The record that has no line break yet.
    private var record: [UInt8] = []
    /// True while the bytes up to the next line break are dropped.
    private var isSkipping: Bool
    /// Pieces of lines whose ends are still to come, of standard output and standard error.
    private var pending: [LogReader.Line?] = [nil, nil]

    package init(skipsFirstLine: Bool = false) { isSkipping = skipsFirstLine }

    /// Takes in more bytes and gives the lines they complete.
    package mutating func decode(_ bytes: some Sequence<UInt8>) -> [LogReader.Line] {
        var lines: [LogReader.Line] = []
        for byte in bytes {
            if byte == 0x0A {
                if !isSkipping { take(&lines) }
                isSkipping = false
                record.removeAll(keepingCapacity: true)
            } else if !isSkipping {
                record.append(byte)
                // conmon writes records of at most 8 KiB; a longer one is not its.
                if record.count > LogReader.lineBytesMax + LogDecoder.headBytesMax {
                    isSkipping = true
                }
            }
        }
        return lines
    }

    /// Lines whose ends have not come, as far as they are there.
    package mutating func rest() -> [LogReader.Line] {
        defer { pending = [nil, nil] }
        return pending.compactMap { $0 }.sorted { $0.time < $1.time }
    }

    /// Reads one record: time, stream, tag, text.
    private mutating func take(_ lines: inout [LogReader.Line]) {
        let fields = record.split(separator: 0x20, maxSplits: 3, omittingEmptySubsequences: false)
        guard fields.count == 4, (10...64).contains(fields[0].count),
            let stream = [Array("stdout".utf8), Array("stderr".utf8)].firstIndex(where: {
                fields[1].elementsEqual($0)
            }), let tag = fields[2].first
        else { return }
        var line =
            pending[stream]
            ?? LogReader.Line(
                time: String(decoding: fields[0], as: UTF8.self), isError: stream == 1, bytes: [])
        line.bytes += fields[3]
        pending[stream] = nil
        while line.bytes.count > LogReader.lineBytesMax {
            var piece = line
            piece.bytes = Array(line.bytes.prefix(LogReader.lineBytesMax))
            line.bytes.removeFirst(LogReader.lineBytesMax)
            lines.append(piece)
        }
        if tag == UInt8(ascii: "P") {
            pending[stream] = line
        } else {
            lines.append(line)
        }
    }
}
