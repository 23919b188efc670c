/// What a group has used, as far as the kernel says; nil where it does not.
package struct CgroupUsage: Equatable, Sendable {
    /// Processor time since the group was made.
    package var cpuMicroseconds: Int
    /// How long its tasks were held back by the quota, summed over processors.
    package var throttledMicroseconds: Int
    /// Memory in use, the page cache it caused included.
    package var memoryBytes: Int
    /// The most memory that was ever in use; 0 where the kernel does not say (before 5.19 on v2).
    package var memoryPeakBytes: Int
    /// How many processes the kernel killed because the limit was reached.
    package var outOfMemoryKills: Int
    /// Processes and threads there are.
    package var pids: Int

    package init(
        cpuMicroseconds: Int = 0, throttledMicroseconds: Int = 0, memoryBytes: Int = 0,
        memoryPeakBytes: Int = 0, outOfMemoryKills: Int = 0, pids: Int = 0
    ) {
        self.cpuMicroseconds = cpuMicroseconds
        self.throttledMicroseconds = throttledMicroseconds
        self.memoryBytes = memoryBytes
        self.memoryPeakBytes = memoryPeakBytes
        self.outOfMemoryKills = outOfMemoryKills
        self.pids = pids
    }
}

/// Which files hold a group's figures, and how their texts are read.
package enum CgroupReadings {
    /// One figure.
    package enum Figure: CaseIterable, Sendable {
        /// Processor time used.
        case cpu
        /// Time held back.
        case throttled
        /// Memory in use.
        case memory
        /// The most memory in use.
        case memoryPeak
        /// Kills for want of memory.
        case outOfMemoryKills
        /// Processes and threads.
        case pids
    }

    /// The file of a figure, below the folder of a group such as `shoal/web.3/app`.
    package static func file(_ figure: Figure, layout: CgroupLayout, path: String) -> String? {
        let (controller, name): (String, String) =
            switch (layout.version, figure) {
            case (.one, .cpu): ("cpuacct", "cpuacct.usage")
            case (.one, .throttled): ("cpu", "cpu.stat")
            case (.one, .memory): ("memory", "memory.usage_in_bytes")
            case (.one, .memoryPeak): ("memory", "memory.max_usage_in_bytes")
            case (.one, .outOfMemoryKills): ("memory", "memory.oom_control")
            case (.two, .cpu), (.two, .throttled): ("cpu", "cpu.stat")
            case (.two, .memory): ("memory", "memory.current")
            case (.two, .memoryPeak): ("memory", "memory.peak")
            case (.two, .outOfMemoryKills): ("memory", "memory.events")
            case (_, .pids): ("pids", "pids.current")
            }
        return layout.mountPoint(of: controller).map { "\($0)/\(path)/\(name)" }
    }

    /// The figure in the text of its file, in the unit of `CgroupUsage`; nil when it is not there.
    package static func value(
        _ figure: Figure, version: CgroupLayout.Version, text: String
    ) -> Int? {
        switch (version, figure) {
        case (.one, .cpu): number(text).map { $0 / 1_000 }
        case (.one, .throttled): number(of: "throttled_time", in: text).map { $0 / 1_000 }
        case (.one, .outOfMemoryKills), (.two, .outOfMemoryKills):
            number(of: "oom_kill", in: text)
        case (.two, .cpu): number(of: "usage_usec", in: text)
        case (.two, .throttled): number(of: "throttled_usec", in: text)
        case (_, .memory), (_, .memoryPeak), (_, .pids): number(text)
        }
    }

    /// The processes in the text of `cgroup.procs`; never 0 or 1, which stand for others.
    ///
    /// The kernel writes 0 for a process of another pid namespace, and a signal to 0 would go to
    /// the sender's own group.
    package static func processes(_ text: String) -> [Int32] {
        lines(text).compactMap { Int32($0) }.filter { $0 > 1 }
    }

    /// A file that is one number from 0.
    private static func number(_ text: String) -> Int? {
        let words = text.prefix(64).split(whereSeparator: \.isWhitespace)
        guard words.count == 1, let value = Int(words[0]), value >= 0 else { return nil }
        return value
    }

    /// The number in the line `key number`.
    private static func number(of key: String, in text: String) -> Int? {
        for line in lines(text) {
            let words = line.split(separator: " ", maxSplits: 2)
            guard words.count == 2, words[0] == key else { continue }
            guard let value = Int(words[1]), value >= 0 else { return nil }
            return value
        }
        return nil
    }

    private static func lines(_ text: String) -> [Substring] {
        text.utf8.split(separator: UInt8(ascii: "\n")).map { Substring($0) }
    }
}
