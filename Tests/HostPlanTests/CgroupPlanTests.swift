import ClusterModel
import HostPlan
import Testing

/// A plan as text, one step a line.
private func text(_ steps: [CgroupStep]) -> String {
    steps.map { step in
        switch step {
        case .makeDirectory(let path): "folder \(path)"
        case .write(let file, let value, let optional):
            "write \(file) \(value)\(optional ? " (optional)" : "")"
        case .handDown(let file, let controllers): "hand down \(file) \(controllers)"
        case .writeEntry(let entry, let optional):
            "write \(entry.file) \(entry.text)\(optional ? " (optional)" : "")"
        case .setMemory(let change):
            "memory \(change.file) \(change.bytes) swap \(change.swapFile) \(change.swapBytes)"
        case .inform(let files, let sentence):
            "inform unless \(files.joined(separator: ", ")): \(sentence)"
        case .expect(let file, let expectation, let optional):
            "expect \(file) \(expectation)\(optional ? " (optional)" : "")"
        }
    }.joined(separator: "\n")
}

@Suite("Control group plan")
struct CgroupPlanTests {
    private let app = CgroupLimits(
        cpuRequestMillicores: 250, cpuLimitMillicores: 500, memoryLimitBytes: 128 << 20,
        pidsMax: 100)

    @Test("version 1: the set's quota is lifted before its containers' and put in place last")
    func versionOne() throws {
        let layout = try CgroupLayout.detect(mountInfo: MountTable.one, v2Controllers: nil)
        let steps = CgroupPlan.steps(
            layout: layout, root: "shoal", set: "web.3", containers: [("app", app)])
        let lines = text(steps).replacing("/cg/cpu time/shoal/web.3", with: "CPU")
            .replacing("/cg/rest/shoal/web.3", with: "REST")
        let rest = ["REST/app", "REST"].map { group in
            """
            memory \(group)/memory.limit_in_bytes 134217728 swap \(group)/memory.memsw.limit_in_bytes 0
            expect \(group)/memory.limit_in_bytes 134217728
            expect \(group)/memory.memsw.limit_in_bytes 134217728 (optional)
            write \(group)/memory.soft_limit_in_bytes -1 (optional)
            expect \(group)/memory.soft_limit_in_bytes \(Int.max) (optional)
            write \(group)/pids.max 100
            expect \(group)/pids.max 100

            """
        }
        let processor = ["CPU/app", "CPU"].map { group in
            """

            write \(group)/cpu.shares 256
            expect \(group)/cpu.shares 256
            write \(group)/cpu.cfs_burst_us 0 (optional)
            write \(group)/cpu.cfs_period_us 100000
            expect \(group)/cpu.cfs_period_us 100000
            write \(group)/cpu.cfs_quota_us 50000
            expect \(group)/cpu.cfs_quota_us 50000
            write \(group)/cpu.cfs_burst_us 0 (optional)
            expect \(group)/cpu.cfs_burst_us 0 (optional)
            """
        }
        #expect(
            lines == """
                folder /cg/cpu time/shoal
                folder CPU
                folder CPU/app
                folder /cg/rest/shoal
                folder REST
                folder REST/app

                """ + rest.joined() + """
                    write CPU/cpu.cfs_burst_us 0 (optional)
                    write CPU/cpu.cfs_quota_us -1
                    """ + processor.joined())
    }

    @Test("version 2: controllers are handed down the path, swap is off, all dies at once")
    func versionTwo() throws {
        let layout = try CgroupLayout.detect(
            mountInfo: MountTable.two, v2Controllers: "cpu memory pids")
        let steps = CgroupPlan.steps(
            layout: layout, root: "shoal", set: "web.3",
            containers: [("app", app), ("log", app)])
        let lines = text(steps).replacing("/sys/fs/cgroup", with: "").split(separator: "\n")
        #expect(
            lines.prefix(14).joined(separator: "\n") == """
                hand down /cgroup.subtree_control +cpu +memory +pids
                folder /shoal
                hand down /shoal/cgroup.subtree_control +cpu +memory +pids
                folder /shoal/web.3
                hand down /shoal/web.3/cgroup.subtree_control +cpu +memory +pids
                folder /shoal/web.3/app
                folder /shoal/web.3/log
                memory /shoal/web.3/app/memory.max 134217728 swap /shoal/web.3/app/memory.swap.max 0
                expect /shoal/web.3/app/memory.max 134217728
                expect /shoal/web.3/app/memory.swap.max 0 (optional)
                write /shoal/web.3/app/memory.high max (optional)
                expect /shoal/web.3/app/memory.high max (optional)
                write /shoal/web.3/app/pids.max 100
                expect /shoal/web.3/app/pids.max 100
                """)
        #expect(lines.contains("write /shoal/web.3/log/memory.oom.group 1 (optional)"))
        #expect(!lines.contains { $0.hasPrefix("write /shoal/web.3/memory.oom.group") })
        #expect(
            lines.contains(
                "memory /shoal/web.3/memory.max 268435456 swap /shoal/web.3/memory.swap.max 0"))
        #expect(lines.contains("write /shoal/web.3/app/cpu.max 50000 100000"))
        #expect(lines.contains("write /shoal/web.3/cpu.weight 20"))
        #expect(
            lines.suffix(3) == [
                "expect /shoal/web.3/cpu.max 100000 100000",
                "write /shoal/web.3/cpu.max.burst 0 (optional)",
                "expect /shoal/web.3/cpu.max.burst 0 (optional)",
            ])
    }

    @Test(
        "weights and quotas follow the formula and stay in the kernel's ranges",
        arguments: [
            // request, limit, shares, weight, quota
            (250, 500, 256, 10, 50_000), (1_000, 1_000, 1_024, 39, 100_000),
            (0, 0, 2, 1, 1_000), (1, 9, 2, 1, 1_000), (64_000, 64_000, 65_536, 2_500, 6_400_000),
            (Int.max, Int.max, 262_144, 10_000, 1_000_000_000), (-5, Int.min, 2, 1, 1_000),
        ])
    func numbers(request: Int, limit: Int, shares: Int, weight: Int, quota: Int) {
        let limits = CgroupLimits(
            cpuRequestMillicores: request, cpuLimitMillicores: limit, memoryLimitBytes: 0,
            pidsMax: 0)
        #expect(limits.shares == shares)
        #expect(limits.weight == weight)
        #expect(limits.quotaMicroseconds == quota)
    }

    @Test("a set's quota is never below the sum of its containers' as written")
    func sums() {
        let tiny = CgroupLimits(
            cpuRequestMillicores: 1, cpuLimitMillicores: 1, memoryLimitBytes: 1 << 20, pidsMax: 7)
        let whole = CgroupLimits.sum(of: [tiny, tiny, app])
        #expect(whole.quotaMicroseconds == 52_000)
        #expect(whole.pidsMax == 114)
        let huge = CgroupLimits(
            cpuRequestMillicores: .max, cpuLimitMillicores: .max, memoryLimitBytes: .max,
            pidsMax: .max)
        #expect(CgroupLimits.sum(of: [huge, huge]).memoryLimitBytes == .max)
    }

    @Test("reading back tolerates rounding down to pages and nothing else")
    func expectations() {
        let memory = CgroupStep.Expectation.number((1 << 20) - 65_535...1 << 20)
        #expect(memory.matches("1048576\n"))
        #expect(memory.matches("1044480\n"))
        for wrong in ["max\n", "1048577", "", "1 2", "9223372036854775808", "-1"] {
            #expect(!memory.matches(wrong))
        }
        let quota = CgroupStep.Expectation.words("50000 100000")
        #expect(quota.matches("50000 100000\n"))
        #expect(!quota.matches("max 100000\n"))
    }

    @Test("figures are read from the files of either version")
    func readings() throws {
        let one = try CgroupLayout.detect(mountInfo: MountTable.one, v2Controllers: nil)
        #expect(
            CgroupReadings.file(.throttled, layout: one, path: "shoal/web.3")
                == "/cg/cpu time/shoal/web.3/cpu.stat")
        let cases: [(CgroupReadings.Figure, CgroupLayout.Version, String, Int?)] = [
            (.cpu, .one, "1234567890\n", 1_234_567),
            (.throttled, .one, "nr_periods 5\nnr_throttled 2\nthrottled_time 7000\n", 7),
            (.outOfMemoryKills, .one, "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3),
            (.cpu, .two, "usage_usec 42\nuser_usec 1\nthrottled_usec 9\n", 42),
            (.throttled, .two, "usage_usec 42\nuser_usec 1\nthrottled_usec 9\n", 9),
            (.outOfMemoryKills, .two, "low 0\noom 4\noom_kill 2\noom_group_kill 1\n", 2),
            (.memory, .two, "4096\n", 4_096), (.pids, .one, "12\n", 12),
            (.memoryLimit, .two, "max\n", nil), (.memoryLimit, .two, "4096\n", 4_096),
            (.memoryLimit, .one, "9223372036854771712\n", nil),
            (.swap, .one, "swap 1\ntotal_swap 8192\n", 8_192), (.swap, .two, "12288\n", 12_288),
            (.memory, .two, "-1\n", nil), (.cpu, .one, "18446744073709551616\n", nil),
            (.cpu, .two, "usage_usec x\n", nil), (.pids, .two, "", nil),
        ]
        for (figure, version, text, value) in cases {
            #expect(CgroupReadings.value(figure, version: version, text: text) == value)
        }
        let one10 = "some avg10=1.25 avg60=0.00 avg300=0.00 total=77\n"
        #expect(
            CgroupPressure.Waiting(one10 + "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n")
                == CgroupPressure.Waiting(
                    someOfTenSeconds: 125, someMicroseconds: 77, fullMicroseconds: 5))
        #expect(CgroupPressure.Waiting(one10)?.fullMicroseconds == 0)
        for odd in [
            "", "some", "some avg10=x total=1", "some avg10=101.00 total=1", "full total=1",
        ] {
            #expect(CgroupPressure.Waiting(odd) == nil)
        }
        #expect(CgroupReadings.processes("0\n1\n77\nx\n-3\n99999999999\n") == [77])
    }
}
