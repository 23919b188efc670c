/// The kernel limits an OCI runtime writes into a container's cgroup; nil leaves one unset.
package struct RuntimeLimits: Hashable, Sendable {
    /// Processor time per period, in microseconds; the quota it can never exceed.
    package var cpuQuotaMicroseconds: Int?
    /// The period of that quota, in microseconds; the kernel's default is 100,000.
    package var cpuPeriodMicroseconds: Int
    /// The weight under contention in cgroup v1's scale (2 to 262,144; 1,024 is one core).
    package var cpuShares: Int?
    /// Memory in bytes, swap not counted.
    package var memoryBytes: Int?
    /// Processes and threads at once.
    package var pidsMax: Int?

    package init(
        cpuQuotaMicroseconds: Int? = nil, cpuPeriodMicroseconds: Int = 100_000,
        cpuShares: Int? = nil, memoryBytes: Int? = nil, pidsMax: Int? = nil
    ) {
        self.cpuQuotaMicroseconds = cpuQuotaMicroseconds
        self.cpuPeriodMicroseconds = cpuPeriodMicroseconds
        self.cpuShares = cpuShares
        self.memoryBytes = memoryBytes
        self.pidsMax = pidsMax
    }
}

extension RuntimeLimits {
    /// Every broken bound, as sentences; the bounds are the kernel's own.
    package var problems: [String] {
        func check(_ value: Int?, _ range: ClosedRange<Int>, _ name: String) -> String? {
            guard let value, !range.contains(value) else { return nil }
            return "\(name) must be \(range.lowerBound) to \(range.upperBound), not \(value)"
        }
        return [
            check(cpuPeriodMicroseconds, 1_000...1_000_000, "the processor period"),
            check(cpuQuotaMicroseconds, 1_000...1_000_000_000_000, "the processor quota"),
            check(cpuShares, 2...262_144, "the processor weight"),
            check(memoryBytes, 4_096...(1 << 62), "the memory limit"),
            check(pidsMax, 1...4_194_304, "the number of processes"),
        ].compactMap { $0 }
    }
}
