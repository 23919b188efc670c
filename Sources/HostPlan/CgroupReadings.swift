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
    /// The hard limit of memory; nil without one.
    package var memoryLimitBytes: Int?
    /// Swap in use; 0 where the kernel does not count it.
    package var swapBytes: Int
    /// How many processes the kernel killed because the limit was reached.
    package var outOfMemoryKills: Int
    /// Processes and threads there are.
    package var pids: Int
    /// Bytes read from disks that the kernel charged to it since the group was made; on version 1
    /// without those of groups in it.
    package var readBytes: Int?
    /// Bytes written to disks, likewise.
    package var writtenBytes: Int?
    /// How its tasks waited for processors, memory and disks; nil where the kernel does not say.
    package var pressure: CgroupPressure?

    package init(
        cpuMicroseconds: Int = 0, throttledMicroseconds: Int = 0, memoryBytes: Int = 0,
        memoryPeakBytes: Int = 0, memoryLimitBytes: Int? = nil, swapBytes: Int = 0,
        outOfMemoryKills: Int = 0, pids: Int = 0, readBytes: Int? = nil,
        writtenBytes: Int? = nil, pressure: CgroupPressure? = nil
    ) {
        self.cpuMicroseconds = cpuMicroseconds
        self.throttledMicroseconds = throttledMicroseconds
        self.memoryBytes = memoryBytes
        self.memoryPeakBytes = memoryPeakBytes
        self.memoryLimitBytes = memoryLimitBytes
        self.swapBytes = swapBytes
        self.outOfMemoryKills = outOfMemoryKills
        self.pids = pids
        self.readBytes = readBytes
        self.writtenBytes = writtenBytes
        self.pressure = pressure
    }
}

/// How a group's tasks waited for what they needed (Documentation/accounting/psi.rst).
package struct CgroupPressure: Equatable, Sendable {
    /// How tasks waited for one resource.
    package struct Waiting: Equatable, Sendable {
        /// The part of the last ten seconds in which some task waited, in hundredths of a percent.
        package var someOfTenSeconds: Int
        /// The time in which some task waited, since the group was made.
        package var someMicroseconds: Int
        /// The time in which no task got on because all waited; 0 where the kernel does not say.
        package var fullMicroseconds: Int

        package init(someOfTenSeconds: Int, someMicroseconds: Int, fullMicroseconds: Int) {
            self.someOfTenSeconds = someOfTenSeconds
            self.someMicroseconds = someMicroseconds
            self.fullMicroseconds = fullMicroseconds
        }

        /// Reads the text of a file such as `cpu.pressure`; nil when it is something else.
        package init?(_ text: String) {
            var lines: [Substring: [Substring: Substring]] = [:]
            for line in text.utf8.split(separator: UInt8(ascii: "\n")).prefix(4) {
                let words = Substring(line).split(separator: " ").prefix(8)
                guard let kind = words.first else { continue }
                for word in words.dropFirst() {
                    let pair = word.split(separator: "=")
                    if pair.count == 2 { lines[kind, default: [:]][pair[0]] = pair[1] }
                }
            }
            guard let some = lines["some"], let total = some["total"].flatMap({ Int($0) }),
                let share = some["avg10"].flatMap({ Waiting.hundredths($0) }), total >= 0
            else { return nil }
            self.init(
                someOfTenSeconds: share, someMicroseconds: total,
                fullMicroseconds: max(0, lines["full"]?["total"].flatMap { Int($0) } ?? 0))
        }

        /// `12.34` as 1234; nil for what is no percentage.
        private static func hundredths(_ text: Substring) -> Int? {
            let parts = text.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count == 2, parts[1].utf8.count == 2, let whole = Int(parts[0]),
                let rest = Int(parts[1]), 0...100 ~= whole, 0...99 ~= rest
            else { return nil }
            return whole * 100 + rest
        }
    }

    /// Waiting for processors.
    package var cpu: Waiting
    /// Waiting for memory.
    package var memory: Waiting
    /// Waiting for disks.
    package var io: Waiting

    package init(cpu: Waiting, memory: Waiting, io: Waiting) {
        self.cpu = cpu
        self.memory = memory
        self.io = io
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
        /// The hard limit of memory.
        case memoryLimit
        /// Swap in use.
        case swap
        /// Kills for want of memory.
        case outOfMemoryKills
        /// Processes and threads.
        case pids
        /// Bytes read from disks.
        case readBytes
        /// Bytes written to disks.
        case writtenBytes
    }

    /// The file of a figure, below the folder of a group such as `shoal/web.3/app`.
    package static func file(_ figure: Figure, layout: CgroupLayout, path: String) -> String? {
        let (controller, name): (String, String) =
            switch (layout.version, figure) {
            case (.one, .cpu): ("cpuacct", "cpuacct.usage")
            case (.one, .throttled): ("cpu", "cpu.stat")
            case (.one, .memory): ("memory", "memory.usage_in_bytes")
            case (.one, .memoryPeak): ("memory", "memory.max_usage_in_bytes")
            case (.one, .memoryLimit): ("memory", "memory.limit_in_bytes")
            case (.one, .swap): ("memory", "memory.stat")
            case (.one, .outOfMemoryKills): ("memory", "memory.oom_control")
            case (.two, .cpu), (.two, .throttled): ("cpu", "cpu.stat")
            case (.two, .memory): ("memory", "memory.current")
            case (.two, .memoryPeak): ("memory", "memory.peak")
            case (.two, .memoryLimit): ("memory", "memory.max")
            case (.two, .swap): ("memory", "memory.swap.current")
            case (.two, .outOfMemoryKills): ("memory", "memory.events")
            case (_, .pids): ("pids", "pids.current")
            case (.one, .readBytes), (.one, .writtenBytes):
                ("blkio", "blkio.throttle.io_service_bytes")
            case (.two, .readBytes), (.two, .writtenBytes): ("io", "io.stat")
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
        case (.one, .swap): number(of: "total_swap", in: text)
        case (_, .memoryLimit): number(text).flatMap { $0 < MemoryChange.unlimited ? $0 : nil }
        case (.one, .readBytes): sum(text) { $0.count == 3 && $0[1] == "Read" ? $0[2] : nil }
        case (.one, .writtenBytes): sum(text) { $0.count == 3 && $0[1] == "Write" ? $0[2] : nil }
        case (.two, .readBytes): sum(text) { field("rbytes=", in: $0) }
        case (.two, .writtenBytes): sum(text) { field("wbytes=", in: $0) }
        case (_, .memory), (_, .memoryPeak), (_, .pids), (.two, .swap): number(text)
        }
    }

    /// The file that says how tasks waited for `cpu`, `memory` or `io`; version 1 has none.
    package static func pressureFile(
        _ resource: String, layout: CgroupLayout, path: String
    ) -> String? {
        guard layout.version == .two, let mount = layout.unifiedMount else { return nil }
        return "\(mount)/\(path)/\(resource).pressure"
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

    /// The sum over the lines of a file with one or more lines for each disk; 0 for an empty one.
    private static func sum(
        _ text: String, _ figure: ([Substring]) -> Substring?
    ) -> Int? {
        var sum = 0
        for line in lines(text) {
            guard let word = figure(line.split(separator: " ")) else { continue }
            guard let value = Int(word), value >= 0 else { return nil }
            let (result, overflow) = sum.addingReportingOverflow(value)
            sum = overflow ? Int.max : result
        }
        return sum
    }

    private static func field(_ name: String, in words: [Substring]) -> Substring? {
        words.first { $0.hasPrefix(name) }?.dropFirst(name.utf8.count)
    }

    private static func lines(_ text: String) -> [Substring] {
        text.utf8.split(separator: UInt8(ascii: "\n")).map { Substring($0) }
    }
}
