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
