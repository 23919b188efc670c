import ClusterModel

/// What one container, or one set, may take, and the numbers the kernel wants for that.
package struct CgroupLimits: Equatable, Sendable {
    /// The weight under contention: 1,000 is one core's worth.
    package var cpuRequestMillicores: Int
    /// The quota that is never exceeded, in thousandths of a core.
    package var cpuLimitMillicores: Int
    /// The hard limit of memory, swap included.
    package var memoryLimitBytes: Int
    /// The most processes and threads at once.
    package var pidsMax: Int

    package init(
        cpuRequestMillicores: Int, cpuLimitMillicores: Int, memoryLimitBytes: Int, pidsMax: Int
    ) {
        self.cpuRequestMillicores = cpuRequestMillicores
        self.cpuLimitMillicores = cpuLimitMillicores
        self.memoryLimitBytes = memoryLimitBytes
        self.pidsMax = pidsMax
    }

    /// The limits that a container's specification asks for.
    package init(_ container: ContainerSpec) {
        self.init(
            cpuRequestMillicores: container.cpu.requestMillicores,
            cpuLimitMillicores: container.cpu.limitMillicores,
            memoryLimitBytes: container.memory.limitBytes, pidsMax: container.pidsMax)
    }

    /// The period over which the kernel enforces the quota, in microseconds: its default.
    package static let periodMicroseconds = 100_000

    /// The smallest quota the kernel accepts (min_cfs_quota_period), so 10 millicores.
    package static let quotaMicrosecondsMin = 1_000

    /// The largest quota written: 10 million cores, far below the kernel's own bound of 2^44 ns.
    package static let quotaMicrosecondsMax = 1_000_000_000

    /// The processor time in each period, in microseconds.
    package var quotaMicroseconds: Int {
        let (product, overflow) = max(cpuLimitMillicores, 0).multipliedReportingOverflow(
            by: CgroupLimits.periodMicroseconds)
        let quota = overflow ? CgroupLimits.quotaMicrosecondsMax : product / 1_000
        return min(max(quota, CgroupLimits.quotaMicrosecondsMin), CgroupLimits.quotaMicrosecondsMax)
    }

    /// The version 1 weight: `millicores * 1024 / 1000`, in the kernel's range of 2 to 262,144.
    package var shares: Int {
        let (product, overflow) = max(cpuRequestMillicores, 0).multipliedReportingOverflow(
            by: 1_024)
        return min(max(overflow ? Int.max : product / 1_000, 2), 262_144)
    }

    /// The version 2 weight: `1 + (shares - 2) * 9999 / 262142`, in 1 to 10,000.
    ///
    /// The formula of the OCI runtimes, so that a runtime that writes the file too writes the same.
    package var weight: Int { 1 + (shares - 2) * 9_999 / 262_142 }

    /// The limits of a set: the sums of its containers'.
    ///
    /// The quota is the sum of the quotas as written, since version 1 refuses a group whose quota is
    /// below that of a group in it. Sums stop at the largest number.
    package static func sum(of containers: [CgroupLimits]) -> CgroupLimits {
        func total(_ values: [Int]) -> Int {
            values.reduce(0) { sum, value in
                let (result, overflow) = sum.addingReportingOverflow(max(value, 0))
                return overflow ? Int.max : result
            }
        }
        let quota = total(containers.map(\.quotaMicroseconds))
        return CgroupLimits(
            cpuRequestMillicores: total(containers.map(\.cpuRequestMillicores)),
            cpuLimitMillicores: quota / (periodMicroseconds / 1_000),
            memoryLimitBytes: total(containers.map(\.memoryLimitBytes)),
            pidsMax: total(containers.map(\.pidsMax)))
    }
}
