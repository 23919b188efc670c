import Testing

@testable import BackupStore

/// What restic writes is read without trust.
@Suite("restic's output")
struct OutputTests {
    static let summary = """
        {"message_type":"summary","files_new":3,"data_added":20973873,\
        "total_bytes_processed":20971526,"total_duration":0.42271041,"snapshot_id":"8e9b4706"}
        """

    @Test("lines of progress and the summary are read")
    func readsLines() throws {
        let line = try #require(BackupLine(Array(OutputTests.summary.utf8)))
        #expect(line.kind == "summary" && line.addedBytes == 20_973_873)
        #expect(line.snapshot == "8e9b4706")
        let status = #"{"message_type":"status","percent_done":0.1,"total_bytes":9,"bytes_done":3}"#
        #expect(try #require(BackupLine(Array(status.utf8))).doneBytes == 3)
    }

    @Test("damaged lines are refused or read, and never end the program")
    func survivesDamage() {
        var random = SplitMix(seed: 7)
        let good = Array(OutputTests.summary.utf8)
        for _ in 0..<20_000 {
            var bytes = good
            for _ in 0...Int(random.next() % 4) {
                let place = Int(random.next() % UInt64(bytes.count))
                switch random.next() % 3 {
                case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes.remove(at: place)
                default: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
                }
            }
            if let line = BackupLine(bytes) { _ = Int(clamping: line.addedBytes ?? 0) }
        }
        #expect(BackupLine([]) == nil)
        #expect(BackupLine(Array(repeating: UInt8(ascii: "["), count: 100_000)) == nil)
        #expect(BackupLine(Array(String(repeating: "{\"a\":", count: 20_000).utf8)) == nil)
    }

    @Test("lines are cut at their bound, wherever the pieces were cut")
    func cutsLines() {
        var cutter = LineCutter(bytesMax: 4)
        #expect(cutter.add(Array("ab".utf8)).isEmpty)
        #expect(cutter.add(Array("cdef\ng\n\nhi".utf8)).map(text) == ["abcd", "g", ""])
        #expect(cutter.add(Array("jklm".utf8)).isEmpty)
        #expect(cutter.rest().map(text) == "hijk")
        #expect(cutter.rest() == nil)
    }

    @Test("a listed snapshot with a wrong identity, time or tag")
    func checksSnapshots() {
        let id = String(repeating: "0a", count: 32)
        func snapshot(_ id: String, _ time: String, _ tags: [String]) -> BackupSnapshot? {
            SnapshotTags.snapshot(ListedSnapshot(id: id, time: time, tags: tags, hostname: nil))
        }
        let time = "2026-11-24T22:15:58.5Z"
        #expect(snapshot(id, time, [])?.contentDigest == nil)
        #expect(snapshot("../../etc", time, []) == nil)
        #expect(snapshot(id, "yesterday", []) == nil)
        let odd = snapshot(
            id, time,
            ["shoal-bytes=-1", "shoal-digest=zz", "shoal-root=x", "shoal-size=1e9", "own"])
        #expect(odd?.bytes == 0 && odd?.contentDigest == nil && odd?.volumeSize == nil)
        #expect(odd?.tags == ["own"] && odd?.root == nil)
    }

    @Test(
        "times with zones and fractions",
        arguments: [
            ("1970-01-01T00:00:00Z", 0), ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-24T22:15:58.5Z", 1_795_558_558.5),
            ("2026-11-25T00:15:58.5+02:00", 1_795_558_558.5),
            ("2026-11-24T17:45:58.5-04:30", 1_795_558_558.5),
        ])
    func readsTimes(_ text: String, _ seconds: Double) {
        #expect(SnapshotTime.seconds(text) == seconds)
    }

    @Test(
        "times that are none",
        arguments: [
            "", "2026-13-01T00:00:00Z", "2026-01-01 00:00:00Z", "2026-01-01T25:00:00Z",
            "2026-01-01T00:00:00", "٢٠٢٦-01-01T00:00:00Z", "2026-01-01T00:00:00.Z",
        ])
    func refusesTimes(_ text: String) { #expect(SnapshotTime.seconds(text) == nil) }

    @Test(
        "tags of a caller",
        arguments: [
            ("by=operator", true), ("", false), ("a,b", false), ("a b", false), ("é", false),
            ("shoal-digest=1", false), (String(repeating: "a", count: 129), false),
        ])
    func checksTags(_ tag: String, _ isProper: Bool) {
        #expect((SnapshotTags.problem(tag) == nil) == isProper)
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}

/// Numbers drawn from a seed.
struct SplitMix {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
