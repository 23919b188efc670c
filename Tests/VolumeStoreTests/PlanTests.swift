import ClusterModel
import Testing
import VolumePlan

/// Names, records, recovery decisions and levels, as values.
@Suite("volume plan")
struct PlanTests {
    @Test("a volume's name reads back, and nothing else is a name")
    func names() throws {
        for text in ["web.3/data", "web.0/d@monday", "a-b.12/c-d@e-f"] {
            #expect(VolumeName(text)?.description == text)
        }
        let wrong = [
            "", "web", "web.3", "web.3/", "/data", "web/data", "web.3/data@", "web.3/data@a@b",
            "web.3/data/x", "web.3/../x", "web.-1/data", "web.+1/data", "web.01/data",
            "Web.3/data", "web.3/da ta", "web.3/-data", "web.3/data-", "web.3/\u{e9}",
            "web.3/" + String(repeating: "a", count: 33),
            String(repeating: "a", count: 65) + ".3/data", "a.b.3/data", "web.1000000/data",
        ]
        for text in wrong { #expect(VolumeName(text) == nil, "\(text)") }
        #expect(VolumeName("web.3/data@x")?.folderName == "web.3.data@x")
        #expect(VolumeName("web.3/data@x")?.base == VolumeName("web.3/data"))
        #expect(VolumeID("0123456789abcdef")?.description == "0123456789abcdef")
        #expect(VolumeID(random: 5).description == "0000000000000005")
        for text in ["", "0123456789ABCDEF", "0123456789abcde", "0123456789abcdeg"] {
            #expect(VolumeID(text) == nil)
        }
    }

    private func records() throws -> [VolumeRecord] {
        let states: [VolumeState] =
            VolumeMaking.allCases.map { .making($0) } + [
                .ready, .growing(to: 1 << 30), .replacing(VolumeID(random: 9)),
                .trashed(at: 77, reason: .shrunk), .trashed(at: 0, reason: .deleted), .removing,
            ]
        return try states.enumerated().map { index, state in
            VolumeRecord(
                id: VolumeID(random: UInt64(index + 100)),
                name: try #require(VolumeName("web.\(index)/data")),
                volumeClass: VolumeClass.allCases[index % 3],
                fileSystem: FileSystemKind.allCases[index % 3], size: 1 << 20 + index,
                createdAt: 1_700_000_000, origin: index % 2 == 0 ? VolumeID(random: 3) : nil,
                project: index % 3 == 0 ? 4_000_000_000 : 0, state: state)
        }
    }

    @Test("a record reads back from its text")
    func recordText() throws {
        for record in try records() { #expect(try VolumeRecord(text: record.text) == record) }
    }

    @Test("a record with any byte changed, cut or doubled is refused, never misread")
    func damagedText() throws {
        for record in try records() {
            let bytes = Array(record.text.utf8)
            for index in bytes.indices {
                for damaged in [
                    bytes[..<index] + [bytes[index] ^ 1] + bytes[(index + 1)...],
                    bytes[..<index] + bytes[(index + 1)...],
                    bytes[...index] + bytes[index...],
                    Array(bytes[..<index])[...],
                ] {
                    let text = String(decoding: damaged, as: UTF8.self)
                    // A last line end that is doubled says nothing else.
                    let read = try? VolumeRecord(text: text)
                    #expect(read == nil || Array(damaged) == bytes, "\(text)")
                }
            }
        }
    }

    @Test("what a crash left decides what recovery does, record by record")
    func recovery() throws {
        let (id, other) = (VolumeID(random: 1), VolumeID(random: 2))
        let name = try #require(VolumeName("web.0/data"))
        func steps(_ state: VolumeState, origin: VolumeID? = nil) -> [RecoveryStep] {
            RecoveryPlan.steps([
                VolumeRecord(
                    id: id, name: name, volumeClass: .loop, fileSystem: .ext4, size: 1,
                    createdAt: 0, origin: origin, state: state)
            ])
        }
        #expect(steps(.making(.creation)) == [.undo(id)])
        #expect(steps(.making(.shrink), origin: other) == [.undo(id)])
        #expect(steps(.making(.snapshot), origin: other) == [.thaw(other), .undo(id)])
        #expect(steps(.making(.clone), origin: other) == [.thaw(other), .undo(id)])
        #expect(steps(.ready).isEmpty)
        #expect(steps(.growing(to: 2)) == [.finishGrowth(id)])
        #expect(steps(.replacing(other)) == [.finishReplacement(new: id, old: other)])
        #expect(steps(.trashed(at: 1, reason: .deleted)).isEmpty)
        #expect(steps(.removing) == [.finishRemoval(id)])
    }

    @Test("two volumes of one name are told, a volume and its successor are not")
    func doubledNames() throws {
        let name = try #require(VolumeName("web.0/data"))
        func record(_ number: UInt64, _ state: VolumeState) -> VolumeRecord {
            VolumeRecord(
                id: VolumeID(random: number), name: name, volumeClass: .loop, fileSystem: .ext4,
                size: 1, createdAt: 0, state: state)
        }
        let old = record(1, .ready)
        #expect(RecoveryPlan.doubledNames([old, record(2, .ready)]) == [name])
        #expect(RecoveryPlan.doubledNames([old, record(2, .replacing(old.id))]).isEmpty)
        #expect(RecoveryPlan.doubledNames([old, record(2, .removing)]).isEmpty)
    }

    @Test("the trash expires by age, and not because a clock was set back")
    func expiry() throws {
        let name = try #require(VolumeName("web.0/data"))
        let record = VolumeRecord(
            id: VolumeID(random: 1), name: name, volumeClass: .loop, fileSystem: .ext4, size: 1,
            createdAt: 0, state: .trashed(at: 1_000, reason: .deleted))
        #expect(RecoveryPlan.expired([record], now: 1_099, keep: 100).isEmpty)
        #expect(RecoveryPlan.expired([record], now: 1_100, keep: 100) == [record])
        #expect(RecoveryPlan.expired([record], now: 0, keep: 100).isEmpty)
    }

    @Test("levels are told once on the way up, and end a little below where they began")
    func levels() {
        func after(_ level: FillLevel, _ used: Int) -> FillLevel {
            level.next(used: used, capacity: 1_000)
        }
        #expect(after(.normal, 799) == .normal && after(.normal, 800) == .filling)
        #expect(after(.normal, 950) == .nearlyFull && after(.normal, 1_000) == .full)
        #expect(after(.normal, 5_000) == .full)
        #expect(after(.filling, 785) == .filling && after(.filling, 779) == .normal)
        #expect(after(.full, 985) == .full && after(.full, 979) == .nearlyFull)
        #expect(after(.full, 935) == .nearlyFull && after(.full, 0) == .normal)
    }

    @Test("the level that is told rises at once, and falls after ten minutes below, or growth")
    func steadyLevels() {
        var steady = SteadyLevel()
        var rises = 0
        // Up and down twice a minute for an hour.
        for second in 0..<3_600 {
            let before = steady.level
            let measured: FillLevel = second % 30 < 15 ? .filling : .normal
            steady.take(measured, capacity: 1_000, at: .seconds(second))
            if steady.level > before { rises += 1 }
        }
        #expect(rises == 1)
        steady.take(.full, capacity: 1_000, at: .seconds(3_600))
        #expect(steady.level == .full)
        for second in 3_601..<4_201 {
            steady.take(second == 3_700 ? .filling : .normal, capacity: 1_000, at: .seconds(second))
            #expect(steady.level == .full)
        }
        steady.take(.normal, capacity: 1_000, at: .seconds(4_201))
        #expect(steady.level == .filling, "the highest of the time below")
        steady.take(.normal, capacity: 2_000, at: .seconds(4_202))
        #expect(steady.level == .normal)
    }

    @Test("mounts are read as the kernel writes them")
    func mounts() {
        let text = """
            22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
            43 22 7:3 / /a/mounts/web.0.data rw,nosuid shared:2 master:1 - ext4 /dev/loop3 rw
            44 22 0:40 / /a/with\\040blank ro - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
            broken line
            45 22 7:3 / /elsewhere ro - ext4 /dev/loop3 rw
            """
        let table = MountTable(Array(text.utf8))
        #expect(table.entries.count == 4)
        #expect(
            table.mounts(of: "7:3").map(\.mountPoint) == ["/a/mounts/web.0.data", "/elsewhere"])
        #expect(table.mount(at: "/a/with blank")?.options == ["ro"])
        #expect(table.overlays(writingTo: "/u").map(\.mountPoint) == ["/a/with blank"])
        #expect(table.mounts(below: "/a/mounts").count == 1)
        #expect(table.mount(at: "/a") == nil)
    }
}
