import Glibc

/// How fast the sets of a lost host run elsewhere.
struct HostLossBenchmark: Benchmark {
    let names = ["recovery.host.time", "recovery.leaseholder-host.time"]

    private static let runs = 3

    func measure(_ lab: Lab) async throws -> [Figure] {
        try await lab.spreadImage()
        var followers: [Double] = []
        var holders: [Double] = []
        for _ in 0..<HostLossBenchmark.runs {
            let holder = try await lab.leaseholder()
            let follower = Lab.hosts.last { $0 != holder } ?? holder
            followers.append(try await lose(follower, lab))
            holders.append(try await lose(try await lab.leaseholder(), lab))
        }
        let conditions =
            "SIGKILL of its agent and containers to all six sets running on the other two; "
            + Machine.load
        return [
            Figure(
                name: names[0], Samples(followers), unit: "s",
                conditions: "a host that holds no lease: " + conditions),
            Figure(
                name: names[1], Samples(holders), unit: "s",
                conditions: "the leaseholder's host: " + conditions),
        ]
    }

    /// Kills a host that has two of six sets and brings it back.
    private func lose(_ host: Int, _ lab: Lab) async throws -> Double {
        try await lab.applyAndWait(sets: 6)
        let watcher = Lab.hosts.first { $0 != host } ?? host
        guard try await !lab.runs(6, at: 2, without: "h\(host)") else {
            throw BenchmarkError("h\(host) has no set to lose: are six sets not spread over three?")
        }
        let start = ContinuousClock.now
        try await lab.killHost(host)
        try await lab.wait("six sets on the other hosts", every: .milliseconds(20)) {
            try await lab.runs(6, at: watcher, without: "h\(host)")
        }
        let time = (ContinuousClock.now - start).inSeconds
        try await lab.startAgent(host)
        try await lab.settle()
        try await lab.remove()
        return time
    }
}

/// How fast the cluster decides again after its leaseholder is lost.
struct LeaseLossBenchmark: Benchmark {
    let names = ["recovery.lease.time"]

    private static let runs = 5
    /// Time for the one that came back to catch up, so that each run begins with three voters.
    private static let rest: Duration = .seconds(2)

    func measure(_ lab: Lab) async throws -> [Figure] {
        try await lab.loadImage()
        var times: [Double] = []
        for run in 0..<LeaseLossBenchmark.runs {
            try await Task.sleep(for: LeaseLossBenchmark.rest)
            let holder = try await lab.leaseholder()
            let other = Lab.hosts.first { $0 != holder } ?? holder
            let pid = try await lab.agentPID(holder)
            let start = ContinuousClock.now
            guard kill(pid, SIGKILL) == 0 else {
                throw BenchmarkError("cannot kill the agent on h\(holder), process \(pid)")
            }
            try await lab.insist {
                _ = try await lab.client(other).apply(lab.probe(priority: 10 + run))
            }
            times.append((ContinuousClock.now - start).inSeconds)
            try await lab.startAgent(holder)
            try await lab.settle()
        }
        try await lab.insist { _ = try await lab.client(1).delete(service: "probe") }
        return [
            Figure(
                name: names[0], Samples(times), unit: "s",
                conditions: "SIGKILL of the leaseholder's agent to the next change accepted at "
                    + "another host; \(Machine.load)")
        ]
    }
}
