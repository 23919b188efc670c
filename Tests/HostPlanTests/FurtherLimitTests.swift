import ClusterModel
import HostPlan
import Testing

/// Version 1 with every controller, each at a place of its own.
private let first =
    (try? CgroupLayout.detect(
        mountInfo: MountTable.hybrid + """
            43 31 0:39 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio

            """, v2Controllers: "hugetlb"))

/// Version 2 with input and output.
private let second = try? CgroupLayout.detect(
    mountInfo: MountTable.two, v2Controllers: "cpu io memory pids")

@Suite("Burst, soft limit, swap, input and output")
struct FurtherLimitTests {
    private let device = BlockDevice(major: 8, minor: 16)

    private func limits(
        burst: Int = 0, soft: Int? = nil, swap: Int = 0, io: IOSpec = IOSpec()
    ) -> CgroupLimits {
        CgroupLimits(
            cpuRequestMillicores: 250, cpuLimitMillicores: 500, cpuBurstMillicores: burst,
            memoryLimitBytes: 128 << 20, memorySoftBytes: soft, memorySwapBytes: swap,
            pidsMax: 100, io: io)
    }

    private func steps(
        _ layout: CgroupLayout?, _ limits: [CgroupLimits], devices: [BlockDevice] = []
    ) throws -> [CgroupStep] {
        CgroupPlan.steps(
            layout: try #require(layout), root: "shoal", set: "web.3",
            containers: limits.enumerated().map { ("c\($0.offset)", $0.element) },
            devices: devices)
    }

    /// What is written to files of this name, in order.
    private func written(_ steps: [CgroupStep], _ name: String) -> [String] {
        steps.compactMap { step in
            switch step {
            case .write(let file, let value, _) where file.hasSuffix(name): value
            case .writeEntry(let entry, _) where entry.file.hasSuffix(name): entry.text
            default: nil
            }
        }
    }

    private func sentences(_ steps: [CgroupStep]) -> Int {
        steps.count { if case .inform = $0 { true } else { false } }
    }

    @Test("a burst is taken away before the quota and put back after it; the set has the sum")
    func burst() throws {
        for (layout, name) in [(first, "/cpu.cfs_burst_us"), (second, "/cpu.max.burst")] {
            let steps = try steps(layout, [limits(burst: 200), limits(burst: 9_999)])
            let lifted = layout == first ? ["0"] : []
            #expect(
                written(steps, name) == lifted + ["0", "20000", "0", "50000", "0", "70000"])
            #expect(sentences(steps) == 2)
            #expect(sentences(try self.steps(layout, [limits()])) == 0)
        }
        #expect(limits(burst: .max).burstMicroseconds == 50_000)
        #expect(limits(burst: .min).burstMicroseconds == 0)
    }

    @Test("swap counts on top of memory on version 1 and by itself on version 2")
    func swap() throws {
        for (layout, expected) in [(first, 192 << 20), (second, 64 << 20)] {
            let steps = try steps(layout, [limits(soft: 96 << 20, swap: 64 << 20)])
            let reached = steps.contains { step in
                guard case .expect(let file, .number(let range), true) = step else { return false }
                return file.contains("/c0/") && file.contains("sw")
                    && range.upperBound == expected
            }
            #expect(reached)
            let soft = layout == first ? "/memory.soft_limit_in_bytes" : "/memory.high"
            let none = layout == first ? "-1" : "max"
            #expect(written(steps, soft) == ["\(96 << 20)", none])
        }
        #expect(
            MemoryChange(file: "", swapFile: "", softFile: nil, bytes: 1, swapBytes: .max)
                .totalBytes == MemoryChange.unlimited)
    }

    @Test("caps are written for each disk, and taken away where there are none")
    func caps() throws {
        let io = IOSpec(
            weight: 300, readBytesPerSecond: 1_000_000, writeOperationsPerSecond: 50)
        let one = try steps(first, [limits(io: io), limits()], devices: [device])
        #expect(written(one, "read_bps_device") == ["8:16 1000000", "8:16 0"])
        #expect(written(one, "write_bps_device") == ["8:16 0", "8:16 0"])
        #expect(written(one, "write_iops_device") == ["8:16 50", "8:16 0"])
        #expect(written(one, "blkio.bfq.weight") == ["300", "100", "400"])
        let two = try steps(second, [limits(io: io), limits()], devices: [device])
        #expect(
            written(two, "io.max") == [
                "8:16 rbps=1000000 wbps=max riops=max wiops=50",
                "8:16 rbps=max wbps=max riops=max wiops=max",
            ])
        #expect(written(two, "io.bfq.weight") == ["default 300", "default 100", "default 400"])
        #expect(sentences(two) == 1)
    }

    @Test("a weight is said to be without effect where there is no controller; sums stay in range")
    func weights() throws {
        let lacking = try CgroupLayout.detect(mountInfo: MountTable.one, v2Controllers: nil)
        let steps = try steps(lacking, [limits(io: IOSpec(weight: 5))], devices: [device])
        #expect(sentences(steps) == 1)
        #expect(written(steps, "weight") == [])
        let heavy = Array(repeating: limits(io: IOSpec(weight: 900)), count: 16)
        #expect(CgroupLimits.sum(of: heavy).ioWeight == 1_000)
        #expect(limits(io: IOSpec(weight: .min)).ioWeight == 1)
    }

    @Test("an entry is found among others, and what is not there counts as none")
    func entries() {
        let entry = CgroupEntry(
            file: "io.max", key: "8:1", value: "rbps=1 wbps=2", none: "rbps=max wbps=max")
        let text = "8:16 rbps=7 wbps=8\n8:1 rbps=1  wbps=2\n"
        #expect(entry.former(in: text) == "rbps=1 wbps=2")
        #expect(CgroupStep.Expectation.entry(entry).matches(text))
        #expect(!CgroupStep.Expectation.entry(entry).matches("8:16 rbps=1 wbps=2\n"))
        #expect(CgroupStep.Expectation.entry(entry.with(value: entry.none)).matches(""))
        for odd in ["", "\n\n", "8:1", "8:1 "] {
            #expect(!CgroupStep.Expectation.entry(entry).matches(odd))
        }
    }

    @Test("a limit that is in place to the page needs no writing; one that is not does")
    func inPlace() {
        let expectation = CgroupStep.Expectation.number((1 << 20) - 65_535 + 100...1 << 20 + 100)
        #expect(expectation.isInPlace("1048576\n", pageBytes: 4_096))
        #expect(!expectation.isInPlace("1044480\n", pageBytes: 4_096))
        #expect(expectation.isInPlace("983040\n", pageBytes: 1 << 20) == false)
        #expect(CgroupStep.Expectation.words("a b").isInPlace("a b\n", pageBytes: 4_096))
    }
}
