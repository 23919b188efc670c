import HostPlan
import Testing

private let first =
    (try? CgroupLayout.detect(
        mountInfo: MountTable.hybrid + """
            43 31 0:39 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio

            """, v2Controllers: "hugetlb"))

private let second = try? CgroupLayout.detect(
    mountInfo: MountTable.two, v2Controllers: "cpu io memory pids")

@Suite("What is kept for the host and the agent")
struct ProtectionPlanTests {
    private func written(_ steps: [CgroupStep], _ name: String) -> [String] {
        steps.compactMap { step in
            switch step {
            case .write(let file, let value, _) where file.hasSuffix(name): value
            case .writeEntry(let entry, _) where entry.file.hasSuffix(name): entry.text
            default: nil
            }
        }
    }

    @Test("the sets weigh what is offered, the agent no less; one core at least")
    func weights() {
        let large = SetsWall(memoryBytes: 1 << 30, millicores: 63_000)
        #expect(large.shares == 64_512 && large.agentShares == 64_512)
        #expect(large.weight == 2_461)
        let small = SetsWall(memoryBytes: 1 << 30, millicores: 100)
        #expect(small.shares == 102 && small.agentShares == 1_024 && small.weight == 100)
        let endless = SetsWall(memoryBytes: .max, millicores: .max)
        #expect(endless.shares == 262_144 && endless.weight == 10_000)
        #expect(SetsWall(memoryBytes: -1, millicores: -1).shares == 2)
    }

    @Test("all sets have one hard limit of memory, none of processors and none of swap")
    func wall() throws {
        let wall = SetsWall(memoryBytes: 3 << 30, millicores: 1_900)
        for layout in [first, second] {
            let steps = CgroupPlan.wallSteps(
                layout: try #require(layout), root: "shoal", wall: wall)
            let changes = steps.memory.compactMap { step -> MemoryChange? in
                if case .setMemory(let change) = step { change } else { nil }
            }
            #expect(changes.map(\.bytes) == [3 << 30])
            #expect(changes.map(\.totalBytes) == [MemoryChange.unlimited])
            #expect(changes.map { $0.text($0.swapBytes) } == [layout == first ? "-1" : "max"])
            let files = steps.processors.compactMap { step -> String? in
                if case .write(let file, let value, false) = step {
                    "\(file) \(value)"
                } else {
                    nil
                }
            }
            let mount = try #require(layout?.mountPoint(of: "cpu"))
            #expect(
                files == [
                    layout == first
                        ? "\(mount)/shoal/cpu.shares 1945" : "\(mount)/shoal/cpu.weight 100"
                ])
            // What was written is read back.
            #expect(steps.processors.count == 2)
            #expect(
                steps.memory.contains {
                    if case .expect(changes[0].file, _, false) = $0 { true } else { false }
                })
        }
    }

    @Test("the agent's group stands beside the sets', with weights and memory and no limit")
    func agent() throws {
        #expect(CgroupPlan.agentGroup(root: "shoal") == "shoal-agent")
        let wall = SetsWall(memoryBytes: 3 << 30, millicores: 4_000)
        let one = CgroupPlan.agentSteps(layout: try #require(first), root: "a/h1", wall: wall)
        #expect(written(one, "/a/h1-agent/cpu.shares") == ["4096"])
        #expect(written(one, "/a/h1-agent/memory.swappiness") == ["0"])
        #expect(written(one, "/a/h1-agent/blkio.bfq.weight") == ["1000"])
        #expect(!one.contains { if case .setMemory = $0 { true } else { false } })
        let two = CgroupPlan.agentSteps(layout: try #require(second), root: "a/h1", wall: wall)
        #expect(written(two, "/a/h1-agent/cpu.weight") == ["157"])
        #expect(written(two, "/a/h1-agent/memory.min") == ["134217728"])
        #expect(written(two, "/a/h1-agent/io.weight") == ["default 1000"])
        // Moved in before controllers are handed down, so nothing but folders comes first.
        for layout in [first, second] {
            let folders = CgroupPlan.agentFolders(layout: try #require(layout), root: "a/h1")
            for case let step in folders {
                guard case .makeDirectory(let path) = step else {
                    Issue.record("no folder: \(step)")
                    continue
                }
                #expect(path.hasSuffix("/a") || path.hasSuffix("/a/h1-agent"))
            }
            #expect(
                folders.count
                    == 2 * CgroupPlan.agentMounts(try #require(layout)).count)
        }
        // Where version 1 has them, and nowhere else: who is in a unit stays there otherwise.
        #expect(CgroupPlan.agentMounts(try #require(first)).contains("/sys/fs/cgroup/blkio"))
        #expect(!CgroupPlan.agentMounts(try #require(first)).contains { $0.contains("systemd") })
    }

    @Test("a unit that lacks protection is told what to add, one that has it nothing")
    func units() {
        func notice(_ weight: Int?, _ minima: [Int]) -> String? {
            CgroupPlan.unitNotice(
                unit: "/system.slice/shoal.service", weight: weight, memoryMin: minima)
        }
        #expect(notice(1_000, [128 << 20]) == nil)
        #expect(notice(1_000, [.max, 128 << 20]) == nil)
        #expect(
            notice(100, [0, 0])?.hasSuffix("lacks CPUWeight=1000, MemoryMin=128M, Slice=-.slice")
                == true)
        #expect(notice(1_000, [0, 128 << 20])?.contains("Slice=-.slice") == true)
        #expect(notice(nil, [128 << 20]) == nil)
    }
}
