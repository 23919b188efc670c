import ClusterModel
import EventLoop
import Glibc
import HostControl
import HostPlan

/// What it costs to put all limits of a set in place, without its image and its processes.
struct EnforcementBenchmark: Benchmark {
    let names = [
        "enforcement.start.cpu", "enforcement.start.time", "enforcement.groups.cpu",
        "enforcement.bandwidth.cpu", "enforcement.bandwidth.change",
    ]

    private static let rounds = 5
    /// Milliseconds of processor time that a set may cost.
    private static let limit = 5.0

    func measure(_ lab: Lab) async throws -> [Figure] {
        var whole: [Double] = []
        var groups: [Double] = []
        var plain: [Double] = []
        var times: [Double] = []
        var changes: [Double] = []
        // In turn, since the machine itself is never quite the same.
        for _ in 0..<EnforcementBenchmark.rounds {
            let limited = try await round(lab, isLimited: true)
            whole.append(limited.groups + limited.networks)
            groups.append(limited.groups)
            times.append(limited.time)
            changes.append(limited.change)
            let unlimited = try await round(lab, isLimited: false)
            plain.append(unlimited.groups + unlimited.networks)
        }
        let sets = EnforcementRound.sets
        let conditions =
            "\(sets) sets of one container, \(EnforcementRound.atOnce) at once, processor time "
            + "of this program and of all it starts; \(Machine.load)"
        let difference = zip(whole, plain).map { $0 - $1 }
        return [
            Figure(
                name: names[0], Samples(whole), unit: "ms/set", limit: EnforcementBenchmark.limit,
                conditions: "groups, network, and all limits in a host's total; " + conditions),
            Figure(
                name: names[1], Samples(times), unit: "s",
                conditions: "until the last of \(sets) sets has them; the same"),
            Figure(
                name: names[2], Samples(groups), unit: "ms/set",
                conditions: "of that, what control groups take with all their limits"),
            Figure(
                name: names[3], Samples(difference), unit: "ms/set",
                conditions: "of that, what bandwidth takes: the same without it subtracted"),
            Figure(
                name: names[4], Samples(changes), unit: "ms/set",
                conditions: "processor time of changing both directions of all, the same"),
        ]
    }

    /// One round on a host of its own, by a program of its own inside that host's network, as an
    /// agent is inside its machine's.
    private func round(_ lab: Lab, isLimited: Bool) async throws -> EnforcementRound.Cost {
        let name = try await lab.shell(#"printf %s "$CLUSTER-limits""#)
        try await lab.shell(#"ip netns del "$1" 2> /dev/null; ip netns add "$1""#, name)
        let script = #"nsenter --net="/run/netns/$1" -- "$2" --enforce "$1" $3"#
        let output: Result<String, any Error>
        do {
            output = .success(
                try await lab.shell(
                    script, name, CommandLine.arguments[0], isLimited ? "--limited" : ""))
        } catch { output = .failure(error) }
        try await lab.shell(#"ip netns del "$1""#, name)
        let numbers = try output.get().split(whereSeparator: \.isWhitespace).compactMap {
            Double($0)
        }
        guard numbers.count == 4 else { throw BenchmarkError("a round printed \(numbers)") }
        return EnforcementRound.Cost(
            groups: numbers[0], networks: numbers[1], time: numbers[2], change: numbers[3])
    }
}

/// Makes a hundred sets with their limits on a host, changes and removes them.
struct EnforcementRound {
    static let sets = 100
    /// As many as an agent makes at once.
    static let atOnce = 8

    /// Processor time of one set in milliseconds, and the time of all in seconds.
    struct Cost {
        var groups: Double
        var networks: Double
        var time: Double
        var change: Double
    }

    /// The root of its control groups, where nothing is yet.
    let name: String
    /// True when bandwidth is limited, too.
    let isLimited: Bool

    /// Runs in the host's network namespace, and prints the cost.
    func run() async throws {
        let loop = try EventLoop(name: "enforcement")
        let host = try HostControl(
            settings: HostControlSettings(
                cgroupRoot: name, instance: "bench\(getpid())", bridge: "shoalbench",
                uplink: isLimited ? .fixed(10_000_000_000) : .unlimited, diskPaths: ["/var/lib"]),
            commands: CommandRunner(loop: loop))
        let result: Result<Cost, any Error>
        do { result = .success(try await cost(host)) } catch { result = .failure(error) }
        try await host.tearDown()
        loop.stop()
        let cost = try result.get()
        print(cost.groups, cost.networks, cost.time, cost.change)
    }

    private func cost(_ host: HostControl) async throws -> Cost {
        try await host.prepare(subnetIndex: 0)
        let first = isLimited ? EnforcementRound.network(50_000_000) : NetworkSpec()
        let second = isLimited ? EnforcementRound.network(60_000_000) : NetworkSpec()
        let container = CgroupLimits(
            cpuRequestMillicores: 100, cpuLimitMillicores: 500, cpuBurstMillicores: 200,
            memoryLimitBytes: 64 << 20, memorySoftBytes: 48 << 20, pidsMax: 64,
            io: IOSpec(
                weight: 200, readBytesPerSecond: 20_000_000, writeBytesPerSecond: 10_000_000,
                readOperationsPerSecond: 2_000, writeOperationsPerSecond: 1_000))
        let clock = ContinuousClock.now
        let groups = try await processorTime {
            try await forEachSet { slot, _ in
                try await host.ensureSetCgroup(slot: slot, containers: [("app", container)])
            }
        }
        let networks = try await processorTime {
            try await forEachSet { slot, address in
                try await host.ensureSetNetwork(slot: slot, address: address, network: first)
            }
        }
        let time = (ContinuousClock.now - clock).inSeconds
        let change = try await processorTime {
            try await forEachSet { slot, _ in
                try await host.updateBandwidth(slot: slot, network: second)
            }
        }
        return Cost(groups: groups, networks: networks, time: time, change: change)
    }

    private static func network(_ bitsPerSecond: Int) -> NetworkSpec {
        let bandwidth = BandwidthSpec(
            rateBitsPerSecond: bitsPerSecond, ceilingBitsPerSecond: 100_000_000,
            outsideBitsPerSecond: 20_000_000)
        return NetworkSpec(egress: bandwidth, ingress: bandwidth)
    }

    /// Does it for every set, some at once.
    private func forEachSet(
        _ work: @escaping @Sendable (SlotID, IPv4Address) async throws -> Void
    ) async throws {
        guard let subnet = IPv4Network.clusterDefault.hostSubnet(index: 0) else { return }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<EnforcementRound.sets {
                if number >= EnforcementRound.atOnce { try await group.next() }
                guard let address = subnet.address(at: number + 2) else { continue }
                group.addTask { try await work(SlotID(service: "web", ordinal: number), address) }
            }
            try await group.waitForAll()
        }
    }

    /// Milliseconds of processor time for each set, of this process and of those it started.
    private func processorTime(_ work: () async throws -> Void) async throws -> Double {
        func seconds() -> Double {
            [RUSAGE_SELF, RUSAGE_CHILDREN].map { who in
                var usage = rusage()
                getrusage(who.rawValue, &usage)
                return [usage.ru_utime, usage.ru_stime].map {
                    Double($0.tv_sec) + Double($0.tv_usec) / 1e6
                }.reduce(0, +)
            }.reduce(0, +)
        }
        let before = seconds()
        try await work()
        return (seconds() - before) * 1_000 / Double(EnforcementRound.sets)
    }
}
