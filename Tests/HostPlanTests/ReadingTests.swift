import ClusterModel
import HostPlan
import Testing

/// Figures of groups and machines, and what is said of limits that a kernel does not keep.
@Suite("Readings and notes")
struct ReadingTests {
    @Test("bytes read and written are summed over disks, in both versions' form")
    func inputAndOutput() {
        let first = """
            8:0 Read 4096
            8:0 Write 1000
            8:0 Sync 5096
            8:0 Total 5096
            252:0 Read 4
            252:0 Write 24
            Total 5124

            """
        let second = "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n252:3 rbytes=5\n"
        for (figure, version, text, value) in [
            (CgroupReadings.Figure.readBytes, CgroupLayout.Version.one, first, 4_100),
            (.writtenBytes, .one, first, 1_024), (.readBytes, .two, second, 15),
            (.writtenBytes, .two, second, 20), (.readBytes, .one, "Total 0\n", 0),
            (.readBytes, .two, "", 0), (.readBytes, .two, "8:0 rbytes=x\n", nil),
            (.writtenBytes, .one, "8:0 Write -1\n", nil),
        ] as [(CgroupReadings.Figure, CgroupLayout.Version, String, Int?)] {
            #expect(CgroupReadings.value(figure, version: version, text: text) == value, "\(text)")
        }
    }

    @Test("the machine's figures are read, and what is something else is not")
    func machine() {
        let stat = "cpu  10 1 5 1000 200 2 3 4 100 0\ncpu0 5 0 2 500 100 1 1 2 0 0\n"
        #expect(MachineReadings.busyTicks(stat) == 25)
        for text in ["", "cpu", "cpu a b c d e", "cpu0 1 2 3 4 5", "cpu 1 2 3 -4 5"] {
            #expect(MachineReadings.busyTicks(text) == nil, "\(text)")
        }
        let memory = MachineReadings.memory(
            "MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:   400 kB\n")
        #expect(memory?.total == 1_024_000 && memory?.available == 409_600)
        #expect(MachineReadings.memory("MemTotal: 1000 kB\n") == nil)
        #expect(MachineReadings.memory("MemTotal: 1000\nMemAvailable: x kB\n") == nil)
    }

    @Test("what a kernel does not keep is said where it matters, and only there")
    func notes() {
        let plain = CgroupLimits(
            cpuRequestMillicores: 1, cpuLimitMillicores: 10, memoryLimitBytes: 1 << 24, pidsMax: 1)
        var capped = plain
        capped.io.writeBytesPerSecond = 1 << 20
        capped.memorySoftBytes = 1 << 23
        let full = CgroupNotes.Kernel(version: .two, hasCores: true, hasPressure: true)
        #expect(CgroupNotes.sentences(for: [capped], kernel: full) == [])
        let old = CgroupNotes.Kernel(version: .one, hasCores: true, hasPressure: true)
        #expect(CgroupNotes.sentences(for: [plain], kernel: old) == [])
        let both = CgroupNotes.sentences(for: [plain, capped], kernel: old)
        #expect(both.count == 2)
        #expect(both[0].contains("passes the caps of writing"))
        #expect(both[1].contains("soft limit of memory"))
        let bare = CgroupNotes.Kernel(version: .one, hasCores: false, hasPressure: false)
        let missing = CgroupNotes.sentences(for: [plain], kernel: bare)
        #expect(missing.map { $0.contains("cpuset") } == [true, false])
        #expect(missing.map { $0.contains("PSI") } == [false, true])
    }
}
