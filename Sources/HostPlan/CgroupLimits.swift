import ClusterModel

/// What one container, or one set, may take, and the numbers the kernel wants for that.
package struct CgroupLimits: Equatable, Sendable {
    /// The weight under contention: 1,000 is one core's worth.
    package var cpuRequestMillicores: Int
    /// The quota that is never exceeded, in thousandths of a core.
    package var cpuLimitMillicores: Int
    /// What may be saved up of unused quota for one period above it; at most the quota.
    package var cpuBurstMillicores: Int
    /// Which cores it runs on.
    package var cores: CoreClass
    /// The hard limit of memory.
    package var memoryLimitBytes: Int
    /// Where reclaim begins; nil is no such limit.
    package var memorySoftBytes: Int?
    /// Swap beyond the hard limit of memory.
    package var memorySwapBytes: Int
    /// The most processes and threads at once.
    package var pidsMax: Int
    /// Weight and caps of input and output.
    package var io: IOSpec

    package init(
        cpuRequestMillicores: Int, cpuLimitMillicores: Int, cpuBurstMillicores: Int = 0,
        cores: CoreClass = .shared, memoryLimitBytes: Int, memorySoftBytes: Int? = nil,
        memorySwapBytes: Int = 0, pidsMax: Int, io: IOSpec = IOSpec()
    ) {
        self.cpuRequestMillicores = cpuRequestMillicores
        self.cpuLimitMillicores = cpuLimitMillicores
        self.cpuBurstMillicores = cpuBurstMillicores
        self.cores = cores
        self.memoryLimitBytes = memoryLimitBytes
        self.memorySoftBytes = memorySoftBytes
        self.memorySwapBytes = memorySwapBytes
        self.pidsMax = pidsMax
        self.io = io
    }

    /// The limits that a container's specification asks for.
    package init(_ container: ContainerSpec) {
        self.init(
            cpuRequestMillicores: container.cpu.requestMillicores,
            cpuLimitMillicores: container.cpu.limitMillicores,
            cpuBurstMillicores: container.cpu.burstMillicores, cores: container.cpu.cores,
            memoryLimitBytes: container.memory.limitBytes,
            memorySoftBytes: container.memory.softBytes,
            memorySwapBytes: container.memory.swapBytes, pidsMax: container.pidsMax,
            io: container.io)
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

    /// What may be saved up, in microseconds: never more than the quota, as the kernel wants it.
    package var burstMicroseconds: Int {
        let (product, overflow) = max(cpuBurstMillicores, 0).multipliedReportingOverflow(
            by: CgroupLimits.periodMicroseconds)
        return min(overflow ? Int.max : product / 1_000, quotaMicroseconds)
    }

    /// The weight of input and output that the kernel gives a group unless told otherwise.
    package static let ioWeightDefault = 100

    /// The most weight: what the BFQ scheduler knows.
    package static let ioWeightMax = 1_000

    /// The weight of input and output, in 1 to 1,000.
    package var ioWeight: Int {
        min(max(io.weight ?? CgroupLimits.ioWeightDefault, 1), CgroupLimits.ioWeightMax)
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
    /// below that of a group in it; so is the burst, without which the set's quota would hold its
    /// containers' bursts back. A set has no soft limit and no caps of its own, and a weight of input
    /// and output of at most 1,000. Sums stop at the largest number.
    package static func sum(of containers: [CgroupLimits]) -> CgroupLimits {
        func total(_ values: [Int]) -> Int {
            values.reduce(0) { sum, value in
                let (result, overflow) = sum.addingReportingOverflow(max(value, 0))
                return overflow ? Int.max : result
            }
        }
        let quota = total(containers.map(\.quotaMicroseconds))
        let burst = total(containers.map(\.burstMicroseconds))
        return CgroupLimits(
            cpuRequestMillicores: total(containers.map(\.cpuRequestMillicores)),
            cpuLimitMillicores: quota / (periodMicroseconds / 1_000),
            cpuBurstMillicores: burst / (periodMicroseconds / 1_000),
            memoryLimitBytes: total(containers.map(\.memoryLimitBytes)),
            memorySwapBytes: total(containers.map(\.memorySwapBytes)),
            pidsMax: total(containers.map(\.pidsMax)),
            io: IOSpec(weight: containers.isEmpty ? nil : total(containers.map(\.ioWeight))))
    }
}
