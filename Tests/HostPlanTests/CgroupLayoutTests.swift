import Base
import HostPlan
import Testing

/// Captured mount tables.
enum MountTable {
    static let base = """
        22 27 0:21 / /proc rw,relatime - proc proc rw
        23 27 0:22 / /sys rw,relatime - sysfs sysfs rw

        """

    /// Debian 12 with systemd.
    static let two =
        base + "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"

    /// A machine with version 1 and a version 2 mount without the needed controllers.
    static let hybrid =
        base + """
            31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
            32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
            33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
            35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
            39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
            40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
            42 31 0:32 /some/part /bound rw,relatime - cgroup cgroup rw,memory

            """

    /// Version 1 alone, controllers mounted together, at unusual places.
    static let one =
        base + """
            31 23 0:29 / /cg/cpu\\040time rw master:1 propagate_from:2 - cgroup none rw,cpu,cpuacct
            32 23 0:30 / /cg/rest rw,relatime - cgroup none rw,memory,pids

            """
}

@Suite("Control group layout")
struct CgroupLayoutTests {
    @Test("version 2 is found where it is mounted and has the controllers")
    func versionTwo() throws {
        #expect(CgroupLayout.unifiedMount(mountInfo: MountTable.two) == "/sys/fs/cgroup")
        let layout = try CgroupLayout.detect(
            mountInfo: MountTable.two, v2Controllers: "cpuset cpu io memory hugetlb pids rdma\n")
        #expect(layout.version == .two)
        #expect(layout.mountPoint(of: "memory") == "/sys/fs/cgroup")
        #expect(layout.hybridMount == nil)
        #expect(layout.allMountPoints == ["/sys/fs/cgroup"])
    }

    @Test("a hybrid machine counts as version 1 and names its version 2 mount")
    func hybrid() throws {
        let layout = try CgroupLayout.detect(
            mountInfo: MountTable.hybrid, v2Controllers: "hugetlb\n")
        #expect(layout.version == .one)
        #expect(layout.hybridMount == "/sys/fs/cgroup/unified")
        #expect(layout.mountPoint(of: "memory") == "/sys/fs/cgroup/memory")
        #expect(layout.mountPoint(of: "cpuset") == nil)
        #expect(layout.allMountPoints.count == 6)
        #expect(layout.allMountPoints.contains("/sys/fs/cgroup/systemd"))
    }

    @Test("version 1 is found at any path, with controllers that share a mount")
    func versionOne() throws {
        let layout = try CgroupLayout.detect(mountInfo: MountTable.one, v2Controllers: nil)
        #expect(layout.version == .one)
        #expect(layout.mountPoint(of: "cpuacct") == "/cg/cpu time")
        #expect(layout.mountPoint(of: "pids") == "/cg/rest")
        #expect(layout.hybridMount == nil)
    }

    @Test("what lacks is named")
    func missing() {
        #expect(throws: CgroupLayoutError.notMounted) {
            try CgroupLayout.detect(mountInfo: MountTable.base, v2Controllers: nil)
        }
        #expect(throws: CgroupLayoutError.controllersMissing(["memory"])) {
            try CgroupLayout.detect(mountInfo: MountTable.two, v2Controllers: "cpu io pids")
        }
        #expect(throws: CgroupLayoutError.controllersMissing(["cpu", "memory", "pids"])) {
            try CgroupLayout.detect(mountInfo: MountTable.two, v2Controllers: nil)
        }
        #expect("\(CgroupLayoutError.controllersMissing(["memory"]))".contains("memory"))
    }

    @Test("broken texts crash nothing")
    func brokenTexts() {
        var random = RandomSource(seed: 7)
        let texts = [MountTable.two, MountTable.hybrid, MountTable.one].map { Array($0.utf8) }
        for round in 0..<600 {
            var bytes = texts[round % 3]
            for _ in 0..<Int.random(in: 1...20, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                bytes[index] = UInt8.random(in: 0...255, using: &random)
            }
            bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random))
            let text = String(decoding: bytes, as: UTF8.self)
            let layout = try? CgroupLayout.detect(mountInfo: text, v2Controllers: text)
            #expect(layout?.allMountPoints.allSatisfy { $0.hasPrefix("/") } ?? true)
            _ = NetworkLink.list(text)
            for figure in CgroupReadings.Figure.allCases {
                _ = CgroupReadings.value(figure, version: .one, text: text)
                _ = CgroupReadings.value(figure, version: .two, text: text)
            }
            #expect(CgroupReadings.processes(text).allSatisfy { $0 > 1 })
        }
    }
}
