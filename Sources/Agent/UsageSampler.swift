import Base
import ClusterModel
import ControlAPI
import HostControl
import HostPlan

/// What this host and its sets have used at one instant.
struct UsageSample: Sendable {
    /// When it was taken.
    var at: ContinuousClock.Instant
    /// The whole machine.
    var machine: MachineUsage
    /// Each set that has groups here, sorted by slot, with its containers in the order of the spec.
    var sets: [SetSample]

    /// What one set has used.
    struct SetSample: Sendable {
        var slot: SlotID
        var usage: CgroupUsage
        var containers: [(name: String, usage: CgroupUsage)]
    }
}

/// Reads what sets use when somebody asks, and remembers the last reading: what is used in a time is
/// the difference of two.
actor UsageSampler {
    /// The shortest time that figures are of: the kernel's own are updated a few times a second.
    static let intervalMin = Duration.milliseconds(500)
    /// The longest: figures of an hour ago say little about now.
    static let intervalMax = Duration.seconds(10)

    private let host: HostControl
    private let keeper: SetKeeper
    private var last: UsageSample?

    init(host: HostControl, keeper: SetKeeper) {
        self.host = host
        self.keeper = keeper
    }

    /// What is used now, and was in the time since the last reading; waits for a while when there
    /// was none lately.
    func usage() async throws -> (before: UsageSample, now: UsageSample) {
        let clock = ContinuousClock()
        var before: UsageSample
        if let last, clock.now - last.at < UsageSampler.intervalMax {
            before = last
        } else {
            before = try await sample()
        }
        let age = clock.now - before.at
        if age < UsageSampler.intervalMin {
            try await Task.sleep(for: UsageSampler.intervalMin - age)
        }
        let now = try await sample()
        last = now
        return (before, now)
    }

    private func sample() async throws -> UsageSample {
        var sets: [UsageSample.SetSample] = []
        for (slot, containers) in await keeper.killsOfSets() {
            // What is being made has no groups yet, what ends has none any more.
            guard let usage = try? await host.usage(slot: slot, container: nil) else { continue }
            var parts: [(String, CgroupUsage)] = []
            for container in containers {
                let found = try? await host.usage(slot: slot, container: container.name)
                guard var part = found else { continue }
                // Each run's group begins at 0 again, and so would its count.
                part.outOfMemoryKills =
                    container.past
                    + (container.isRunning
                        ? max(0, part.outOfMemoryKills - container.before) : 0)
                parts.append((container.name, part))
            }
            sets.append(.init(slot: slot, usage: usage, containers: parts))
        }
        return UsageSample(
            at: ContinuousClock().now, machine: try await host.machineUsage(), sets: sets)
    }
}

extension SetKeeper {
    /// What is remembered of one container's kills for want of memory.
    struct ContainerKills: Sendable {
        var name: String
        /// Those of runs that are over.
        var past: Int
        /// What the kernel had counted when the present run began.
        var before: Int
        var isRunning: Bool
    }

    /// The sets on this host and their containers, sorted by slot.
    func killsOfSets() -> [(slot: SlotID, containers: [ContainerKills])] {
        sets.values.map { set in
            (
                set.record.slot,
                set.record.spec.containers.map { container in
                    ContainerKills(
                        name: container.name, past: set.oomKillsPast[container.name] ?? 0,
                        before: set.oomKillsBefore[container.name] ?? 0,
                        isRunning: set.pids[container.name] != nil)
                }
            )
        }.sorted { $0.0 < $1.0 }
    }
}

extension UsageSample.SetSample {
    /// The set as a whole: what only its containers' groups count is added up.
    ///
    /// Quotas hold in the containers' groups, kills are counted where they happen, and version 1
    /// counts input and output only there.
    var whole: CgroupUsage {
        var whole = usage
        whole.throttledMicroseconds += containers.reduce(0) { $0 + $1.usage.throttledMicroseconds }
        whole.outOfMemoryKills = max(
            usage.outOfMemoryKills, containers.reduce(0) { $0 + $1.usage.outOfMemoryKills })
        func sum(_ figure: KeyPath<CgroupUsage, Int?>) -> Int? {
            let known = containers.compactMap { $0.usage[keyPath: figure] }
            return known.isEmpty ? usage[keyPath: figure] : known.reduce(0, +)
        }
        whole.readBytes = sum(\.readBytes)
        whole.writtenBytes = sum(\.writtenBytes)
        return whole
    }
}

extension UsageView {
    /// One group's figures; without an earlier reading, those of a time are none.
    init(
        kind: String, host: String, slot: SlotID, container: String? = nil, _ now: CgroupUsage,
        since before: CgroupUsage?, microseconds: Int
    ) {
        self.init(kind: kind, host: host, slot: slot.description, container: container)
        let before = before ?? now
        intervalMicroseconds = microseconds
        func rate(_ now: Int, _ before: Int) -> Int {
            // A group that was made anew begins at 0 again.
            let (amount, overflow) = max(0, now - before).multipliedReportingOverflow(by: 1_000_000)
            return overflow || microseconds <= 0 ? 0 : amount / microseconds
        }
        cpuMillicores = rate(now.cpuMicroseconds, before.cpuMicroseconds) / 1_000
        throttledMicroseconds = max(0, now.throttledMicroseconds - before.throttledMicroseconds)
        throttledMicrosecondsTotal = now.throttledMicroseconds
        memoryBytes = now.memoryBytes
        memoryPeakBytes = now.memoryPeakBytes > 0 ? now.memoryPeakBytes : nil
        memoryLimitBytes = now.memoryLimitBytes
        swapBytes = now.swapBytes
        outOfMemoryKills = now.outOfMemoryKills
        pids = now.pids
        readBytes = now.readBytes
        writtenBytes = now.writtenBytes
        readBytesPerSecond = now.readBytes.map { rate($0, before.readBytes ?? $0) }
        writtenBytesPerSecond = now.writtenBytes.map { rate($0, before.writtenBytes ?? $0) }
        pressure = now.pressure.map { PressureView($0) }
    }

    /// The whole machine's figures, and the number of its sets' processes.
    init(
        host: String, _ now: MachineUsage, since before: MachineUsage, microseconds: Int,
        pids: Int
    ) {
        self.init(kind: "host", host: host)
        intervalMicroseconds = microseconds
        let used = max(0, now.cpuMicroseconds - before.cpuMicroseconds)
        cpuMillicores = microseconds > 0 ? used * 1_000 / microseconds : 0
        memoryBytes = now.memoryBytes
        memoryLimitBytes = now.memoryTotalBytes
        self.pids = pids
        pressure = now.pressure.map { PressureView($0) }
    }
}

extension PressureView {
    init(_ pressure: CgroupPressure) {
        self.init(
            cpu: pressure.cpu.someOfTenSeconds, memory: pressure.memory.someOfTenSeconds,
            io: pressure.io.someOfTenSeconds, cpuMicrosecondsTotal: pressure.cpu.someMicroseconds,
            memoryMicrosecondsTotal: pressure.memory.someMicroseconds,
            ioMicrosecondsTotal: pressure.io.someMicroseconds)
    }
}
