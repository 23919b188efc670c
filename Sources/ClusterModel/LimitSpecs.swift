/// A container's share of the processors, in millicores (1,000 is one core).
package struct CPUSpec: Hashable, Sendable, Codable {
    /// What the scheduler sets aside, and the weight under contention.
    package var requestMillicores: Int
    /// The quota it can never exceed, but for what `burstMillicores` saved up.
    package var limitMillicores: Int
    /// What it may save up of quota it did not use, to spend above the limit in one period.
    ///
    /// In millicores over one period of 100 ms; 0 to the limit, which is the kernel's own bound.
    package var burstMillicores: Int
    /// Which cores it runs on.
    package var cores: CoreClass

    package init(
        requestMillicores: Int = 100, limitMillicores: Int = 1_000, burstMillicores: Int = 0,
        cores: CoreClass = .shared
    ) {
        self.requestMillicores = requestMillicores
        self.limitMillicores = limitMillicores
        self.burstMillicores = burstMillicores
        self.cores = cores
    }
}

/// Which cores of its host a container runs on.
package enum CoreClass: String, Hashable, Sendable, Codable, CaseIterable {
    /// All that are neither dedicated to a container nor reserved, together with others.
    case shared
    /// Whole cores that no other container runs on, as many as the limit says.
    case dedicated
}

/// A container's memory, in bytes.
package struct MemorySpec: Hashable, Sendable, Codable {
    /// What the scheduler sets aside.
    package var requestBytes: Int
    /// The hard limit: the kernel kills the container that exceeds it.
    package var limitBytes: Int
    /// Above this it is slowed and its memory is reclaimed, but nothing is killed; nil is no such
    /// limit.
    ///
    /// Version 1 of control groups heeds it only when the whole host is short of memory.
    package var softBytes: Int?
    /// Swap that it may use beyond the hard limit of memory; 0 is none.
    package var swapBytes: Int

    package init(
        requestBytes: Int = 64 << 20, limitBytes: Int = 128 << 20, softBytes: Int? = nil,
        swapBytes: Int = 0
    ) {
        self.requestBytes = requestBytes
        self.limitBytes = limitBytes
        self.softBytes = softBytes
        self.swapBytes = swapBytes
    }
}

/// A container's reading and writing of the disk that holds its files; nil is no limit.
package struct IOSpec: Hashable, Sendable, Codable {
    /// Its share of a contended disk against others', 1 to 1,000; nil is the kernel's 100.
    package var weight: Int?
    /// The most bytes it may read in a second.
    package var readBytesPerSecond: Int?
    /// The most bytes it may write in a second.
    package var writeBytesPerSecond: Int?
    /// The most read operations in a second.
    package var readOperationsPerSecond: Int?
    /// The most write operations in a second.
    package var writeOperationsPerSecond: Int?

    package init(
        weight: Int? = nil, readBytesPerSecond: Int? = nil, writeBytesPerSecond: Int? = nil,
        readOperationsPerSecond: Int? = nil, writeOperationsPerSecond: Int? = nil
    ) {
        self.weight = weight
        self.readBytesPerSecond = readBytesPerSecond
        self.writeBytesPerSecond = writeBytesPerSecond
        self.readOperationsPerSecond = readOperationsPerSecond
        self.writeOperationsPerSecond = writeOperationsPerSecond
    }

    /// True when any of the four rates is limited.
    package var hasCaps: Bool {
        readBytesPerSecond != nil || writeBytesPerSecond != nil || readOperationsPerSecond != nil
            || writeOperationsPerSecond != nil
    }
}

// MARK: - Reading what an earlier version wrote

// Swift makes decoders that refuse a missing key. A host's records and an operator's saved requests
// outlive an upgrade, so what came with a later version has its default when it is not there.

extension CPUSpec {
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            requestMillicores: try fields.decode(Int.self, forKey: .requestMillicores),
            limitMillicores: try fields.decode(Int.self, forKey: .limitMillicores),
            burstMillicores: try fields.decodeIfPresent(Int.self, forKey: .burstMillicores) ?? 0,
            cores: try fields.decodeIfPresent(CoreClass.self, forKey: .cores) ?? .shared)
    }
}

extension MemorySpec {
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            requestBytes: try fields.decode(Int.self, forKey: .requestBytes),
            limitBytes: try fields.decode(Int.self, forKey: .limitBytes),
            softBytes: try fields.decodeIfPresent(Int.self, forKey: .softBytes),
            swapBytes: try fields.decodeIfPresent(Int.self, forKey: .swapBytes) ?? 0)
    }
}
