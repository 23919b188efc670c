// What sets use, as `GET /v1/top` lists it.

/// What one host, set or container uses.
package struct UsageView: Codable, Hashable, Sendable {
    /// `host`, `set` or `container`.
    package var kind: String
    /// The name of the host.
    package var host: String
    /// The slot, such as `web.3`; absent for a host.
    package var slot: String?
    /// The container; absent for a host or a set.
    package var container: String?
    /// Why there are no figures of this host: a sentence; absent when there are.
    package var problem: String?
    /// The time that CPU, throttling and input and output are of, in microseconds.
    package var intervalMicroseconds: Int
    /// Processor time used in that time: 1,000 is one core.
    package var cpuMillicores: Int
    /// How long tasks were held back by their quota in that time, summed over processors.
    package var throttledMicroseconds: Int
    /// The same since its containers were started.
    package var throttledMicrosecondsTotal: Int
    /// Memory in use, the page cache it caused included; of a host all but what could be had.
    package var memoryBytes: Int
    /// The most memory that was ever in use; absent where the kernel does not say.
    package var memoryPeakBytes: Int?
    /// The limit of memory; of a host what there is.
    package var memoryLimitBytes: Int?
    /// Swap in use.
    package var swapBytes: Int
    /// How many processes the kernel killed for want of memory since the set was made, or since its
    /// host's agent started, if that was later.
    package var outOfMemoryKills: Int
    /// Processes and threads; of a host those of its sets.
    package var pids: Int
    /// Bytes read from disks since its containers were started; absent where the kernel does not
    /// say.
    package var readBytes: Int?
    /// Bytes written to disks since then, as far as the kernel charges them to sets.
    package var writtenBytes: Int?
    /// Bytes read in a second of that time.
    package var readBytesPerSecond: Int?
    /// Bytes written in a second of that time.
    package var writtenBytesPerSecond: Int?
    /// How tasks waited; absent where the kernel does not say.
    package var pressure: PressureView?

    package init(kind: String, host: String, slot: String? = nil, container: String? = nil) {
        self.kind = kind
        self.host = host
        self.slot = slot
        self.container = container
        intervalMicroseconds = 0
        cpuMillicores = 0
        throttledMicroseconds = 0
        throttledMicrosecondsTotal = 0
        memoryBytes = 0
        swapBytes = 0
        outOfMemoryKills = 0
        pids = 0
    }

    /// The largest JSON form of one host's figures, in bytes: 250 sets of 16 containers fit.
    package static let jsonBytesMax = (4 << 20) - 64

    /// The JSON form of one host's figures.
    package static func json(_ views: [UsageView]) -> [UInt8] {
        (try? StrictJSON.encode(views)) ?? []
    }

    /// Reads the JSON form; keys of a newer agent are left alone.
    package static func list(json: [UInt8]) throws -> [UsageView] {
        try StrictJSON.decodeLenient([UsageView].self, from: json)
    }
}

/// How tasks waited for what they needed, by the kernel's pressure stall information.
package struct PressureView: Codable, Hashable, Sendable {
    /// The part of the last ten seconds in which some task waited for a processor, in ten-thousandths.
    package var cpu: Int
    /// The same for memory.
    package var memory: Int
    /// The same for disks.
    package var io: Int
    /// The time in which some task waited for a processor, since the set was made.
    package var cpuMicrosecondsTotal: Int
    /// The same for memory.
    package var memoryMicrosecondsTotal: Int
    /// The same for disks.
    package var ioMicrosecondsTotal: Int

    package init(
        cpu: Int, memory: Int, io: Int, cpuMicrosecondsTotal: Int, memoryMicrosecondsTotal: Int,
        ioMicrosecondsTotal: Int
    ) {
        self.cpu = cpu
        self.memory = memory
        self.io = io
        self.cpuMicrosecondsTotal = cpuMicrosecondsTotal
        self.memoryMicrosecondsTotal = memoryMicrosecondsTotal
        self.ioMicrosecondsTotal = ioMicrosecondsTotal
    }
}
