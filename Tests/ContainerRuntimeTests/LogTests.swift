import ContainerRuntime
import Glibc
import Testing

/// Logs in conmon's k8s-file format.
@Suite("Container logs")
struct LogTests {
    private func record(_ text: String, tag: String = "F", stream: String = "stdout") -> String {
        "2026-07-01T12:00:00.000000001+00:00 \(stream) \(tag) \(text)\n"
    }

    private func withFile<Result>(_ body: (String) async throws -> Result) async throws -> Result {
        var template = Array("/tmp/shoalt-log-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        #expect(descriptor >= 0)
        close(descriptor)
        let path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        defer {
            unlink(path)
            unlink(path + ".new")
        }
        return try await body(path)
    }

    private func append(_ text: String, to path: String) {
        let file = fopen(path, "a")
        defer { fclose(file) }
        fputs(text, file)
    }

    @Test(
        "pieces of a line are joined per stream, in blocks of any size", arguments: [1, 7, 4_096])
    func joins(blockSize: Int) {
        let text =
            record("a", tag: "P") + record("x", stream: "stderr") + record("b") + "torn\n"
            + record("", tag: "P") + record("end")
        var decoder = LogDecoder()
        let bytes = Array(text.utf8)
        var lines: [LogReader.Line] = []
        for start in stride(from: 0, to: bytes.count, by: blockSize) {
            lines += decoder.decode(bytes[start..<min(bytes.count, start + blockSize)])
        }
        #expect(lines.map(\.text) == ["x", "ab", "end"])
        #expect(lines.map(\.isError) == [true, false, false])
    }

    @Test("an endless line comes in pieces, and an unfinished one at the end")
    func longLine() {
        var decoder = LogDecoder()
        let piece = String(repeating: "z", count: 8_000)
        let text = String(repeating: record(piece, tag: "P"), count: 40)
        let lines = decoder.decode(text.utf8) + decoder.rest()
        #expect(lines.allSatisfy { $0.bytes.count <= LogReader.lineBytesMax })
        #expect(lines.reduce(0) { $0 + $1.bytes.count } == 320_000)
        #expect(decoder.rest().isEmpty)
    }

    @Test("the tail is the last lines, however long the file", arguments: [0, 1, 3, 5_000, 9_999])
    func tail(count: Int) async throws {
        try await withFile { path in
            let reader = LogReader(path: path)
            #expect(try reader.tail(lines: 5).isEmpty)
            append((0..<5_000).map { record("line \($0)") }.joined(), to: path)
            let lines = try reader.tail(lines: count)
            #expect(lines.map(\.text) == (0..<5_000).suffix(count).map { "line \($0)" })
        }
        #expect(try LogReader(path: "/nonexistent/log").tail(lines: 3).isEmpty)
    }

    @Test("following gives the tail and each new line, through a replaced file, to the end")
    func follow() async throws {
        try await withFile { path in
            append(record("1") + record("2") + record("3"), to: path)
            let ended = Flag()
            var seen: [String] = []
            for try await line in LogReader(path: path).follow(
                tail: 2, while: { await !ended.isSet })
            {
                seen.append(line.text)
                switch line.text {
                case "3": append(record("4"), to: path)
                case "4":
                    append(record("5"), to: path)
                    append(record("6"), to: path + ".new")
                    rename(path + ".new", path)
                case "6":
                    append(record("open end", tag: "P"), to: path)
                    await ended.set()
                default: break
                }
            }
            #expect(seen == ["2", "3", "4", "5", "6", "open end"])
        }
    }
}

/// A flag that tasks share.
actor Flag {
    private(set) var isSet = false

    func set() { isSet = true }
}
