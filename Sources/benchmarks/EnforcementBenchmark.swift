import ClusterModel
import EventLoop
import Glibc
import HostControl
import HostPlan

/// What it costs to put all limits of a set in place, without its image and its processes.
struct EnforcementBenchmark: Benchmark {
    let names = [
        "enforcement.start.cpu", "enforcement.start.time", "enforcement.bandwidth.cpu",
        "enforcement.bandwidth.change",
    ]

    private static let sets = 100
    private static let rounds = 3
    /// As many as an agent makes at once.
    private static let atOnce = 8

    func measure(_ lab: Lab) async throws -> [Figure] {
        var whole: [Double] = []
        var plain: [Double] = []
        var times: [Double] = []
        var changes: [Double] = []
        // In turn, since the machine itself is never quite the same.
        for _ in 0..<EnforcementBenchmark.rounds {
            let limited = try await round(lab, isLimited: true)
            whole.append(limited.start)
            times.append(limited.time)
            changes.append(limited.change)
            plain.append(try await round(lab, isLimited: false).start)
        }
        let sets = EnforcementBenchmark.sets
        let conditions =
            "\(sets) sets of one container, \(EnforcementBenchmark.atOnce) at once, processor time "
            + "of this program and of all it starts; \(Machine.load)"
        let difference = zip(whole, plain).map { $0 - $1 }
        return [
            Figure(
                name: names[0], Samples(whole), unit: "ms/set",
                conditions: "groups, network, and all limits in a host's total; " + conditions),
            Figure(
                name: names[1], Samples(times), unit: "s",
                conditions: "until the last of \(sets) sets has them; the same"),
            Figure(
                name: names[2], Samples(difference), unit: "ms/set",
                conditions: "of that, what bandwidth takes: the same without it subtracted"),
            Figure(
                name: names[3], Samples(changes), unit: "ms/set",
                conditions: "processor time of changing both directions of all, the same"),
        ]
    }

    /// Processor time of one set in milliseconds, and the time of all in seconds.
    private struct Cost {
        var start: Double
        var time: Double
        var change: Double
    }

    /// Makes all sets on a host of its own, changes and removes them.
    private func round(_ lab: Lab, isLimited: Bool) async throws -> Cost {
        let name = try await lab.shell(#"printf %s "$CLUSTER-limits""#)
        try await lab.shell(#"ip netns del "$1" 2> /dev/null; ip netns add "$1""#, name)
        let loop = try EventLoop(name: "enforcement")
        let result: Result<Cost, any Error>
        do {
            let host = try HostControl(
                settings: HostControlSettings(
                    cgroupRoot: name, instance: "bench\(getpid())", bridge: "shoalbench",
                    uplink: isLimited ? .fixed(10_000_000_000) : .unlimited,
                    networkNamespace: name), commands: CommandRunner(loop: loop))
            do {
                result = .success(try await cost(host, isLimited: isLimited))
            } catch { result = .failure(error) }
            try await host.tearDown()
        }
        try await lab.shell(#"ip netns del "$1""#, name)
        loop.stop()
        return try result.get()
    }

    private func cost(_ host: HostControl, isLimited: Bool) async throws -> Cost {
        try await host.prepare(subnetIndex: 0)
        let first = isLimited ? EnforcementBenchmark.network(50_000_000) : NetworkSpec()
        let second = isLimited ? EnforcementBenchmark.network(60_000_000) : NetworkSpec()
        let container = CgroupLimits(
            ContainerSpec(name: "app", image: Lab.image, pidsMax: 64))
        let clock = ContinuousClock.now
        let start = try await processorTime {
            try await forEachSet { slot, address in
                try await host.ensureSetCgroup(slot: slot, containers: [("app", container)])
                try await host.ensureSetNetwork(
                    slot: slot, address: address, network: first)
            }
        }
        let time = (ContinuousClock.now - clock).inSeconds
        let change = try await processorTime {
            try await forEachSet { slot, _ in
                try await host.updateBandwidth(slot: slot, network: second)
            }
        }
        return Cost(start: start, time: time, change: change)
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
            for number in 0..<EnforcementBenchmark.sets {
                if number >= EnforcementBenchmark.atOnce { try await group.next() }
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
        return (seconds() - before) * 1_000 / Double(EnforcementBenchmark.sets)
    }
}
