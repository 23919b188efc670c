import Foundation
import Testing

/// The shape of the code: short files, short functions, and habits that are not ours.
@Suite("source")
struct SourceTests {
    /// Lines of a file; split it by message or concern before it gets there.
    static let fileLinesMax = 500
    /// Lines of a function: what fits on a screen.
    static let functionLinesMax = 70

    /// Rooms that may wait by `Task.sleep`.
    ///
    /// Its timer runs on another executor, so what lives on a loop uses the loop's timers, and what
    /// is pure says when it is due.
    static let roomsThatMaySleep: Set = [
        "Agent", "HostControl", "ContainerRuntime", "VolumeStore", "BackupStore", "ControlAPI",
        "shoal", "benchmarks",
    ]

    /// What makes the compiler look away, and so needs its reason beside it.
    static let unsafeMarks = [
        "@unchecked Sendable", "nonisolated(unsafe)", "unowned(unsafe)", "@unsafe", "@safe",
    ]

    @Test("no file has more lines than can be kept in mind")
    func filesAreShort() {
        let long = Repository.swiftFiles.compactMap { file -> String? in
            let count = file.lines.count - 1
            return count > SourceTests.fileLinesMax ? "\(file.path): \(count) lines" : nil
        }
        #expect(long.isEmpty, "split by concern (Type+Topic.swift): \(long)")
    }

    @Test("a function fits on a screen")
    func functionsAreShort() {
        var long: [String] = []
        for (file, source) in Repository.sources {
            for function in source.functions
            where function.length > SourceTests.functionLinesMax {
                long.append("\(file.path):\(function.line): \(function.length) lines")
            }
        }
        #expect(long.isEmpty, "say what its parts do: \(long)")
    }

    @Test("nothing is forced that could be handled")
    func nothingIsForced() {
        let found = offences { line in
            let words = line.code.split { " (){}[],;:".contains($0) }
            return words.contains("try!") || words.contains("as!")
        }
        #expect(found.isEmpty, "throw, or return nil: \(found)")
    }

    @Test("what the compiler cannot check has its reason beside it")
    func unsafeMarksHaveReasons() {
        var found: [String] = []
        for (file, source) in Repository.sources {
            let lines = source.lines
            var isExplained = false
            for (index, line) in lines.enumerated() {
                let isMarked = SourceTests.unsafeMarks.contains { line.code.contains($0) }
                let hasReason =
                    line.hasComment || isExplained || (index > 0 && lines[index - 1].hasComment)
                if isMarked, !hasReason { found.append("\(file.path):\(index + 1)") }
                // One reason may stand above several lines that it holds for.
                isExplained = isMarked && hasReason
            }
        }
        #expect(found.isEmpty, "say on the line, or the one before, why it is safe: \(found)")
    }

    @Test("nothing sleeps where a loop or a deadline should wake it")
    func nothingSleeps() {
        let found = offences(in: { !$0.isTest && !SourceTests.roomsThatMaySleep.contains($0.room) })
        {
            $0.code.contains("Task.sleep")
        }
        #expect(found.isEmpty, "use LoopTimer, or nextDeadline in a machine: \(found)")
    }

    @Test("what is left to do names the issue that will do it")
    func leftoversNameTheirIssue() {
        let words = ["TO" + "DO", "FIX" + "ME"]
        var found: [String] = []
        for file in Repository.textFiles {
            for (index, line) in file.lines.enumerated() {
                for word in words {
                    guard let range = line.range(of: word) else { continue }
                    let after = line[range.upperBound...].drop { " (".contains($0) }
                    let number = after.dropFirst().prefix(while: \.isNumber)
                    if !after.hasPrefix("#") || number.isEmpty {
                        found.append("\(file.path):\(index + 1)")
                    }
                }
            }
        }
        #expect(found.isEmpty, "write the number as in (#12), or do it: \(found)")
    }

    private func offences(
        in isMeant: (RepositoryFile) -> Bool = { _ in true },
        _ isOffence: (SwiftSource.Line) -> Bool
    ) -> [String] {
        var found: [String] = []
        for (file, source) in Repository.sources where isMeant(file) {
            for (index, line) in source.lines.enumerated() where isOffence(line) {
                found.append("\(file.path):\(index + 1)")
            }
        }
        return found
    }
}

/// The reader of Swift itself, on small texts.
@Suite("source reader")
struct SwiftSourceTests {
    @Test("strings and comments are not code")
    func stringsAreNotCode() {
        let source = SwiftSource([
            #"let a = "try! \(b["x"]) {" // try!"#, "\"\"\"", "as! {", "\"\"\" + c", "/// as!",
        ])
        #expect(source.lines.map(\.code) == [#"let a = "" "#, "", "", " + c", ""])
        #expect(source.lines.map(\.hasComment) == [true, false, false, false, true])
    }

    @Test("a function is counted from its name to its last brace; a requirement has no length")
    func functionsAreCounted() {
        let source = SwiftSource([
            "protocol P {", "    func a()", "    func b(", "        c: Int", "    )", "}",
            "struct S {", "    init() { }", "    func d(", "        e: Int = f({ 1 })",
            "    ) async {", "        if g {", "        }", "    }", "    var h = 1", "}",
        ])
        #expect(source.functions.map(\.line) == [8, 9])
        #expect(source.functions.map(\.length) == [1, 6])
    }
}
