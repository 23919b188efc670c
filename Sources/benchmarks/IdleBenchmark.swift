/// What an agent costs while nothing happens.
struct IdleBenchmark: Benchmark {
    /// Whether two sets run on each host meanwhile.
    let withSets: Bool

    /// How long nothing happens before the first reading.
    private static let rest: Duration = .seconds(20)
    /// How long processor time and packets are counted.
    private static let span: Duration = .seconds(30)
    /// The most memory an idle agent may hold, in MiB.
    private static let residentLimit = 60.0
    /// The most of one core an idle agent may use, in percent.
    private static let processorLimit = 1.0
    private static let mebibyte = Double(1 << 20)

    private var area: String { withSets ? "agent.idle-six-sets" : "agent.idle" }

    var names: [String] {
        ["resident", "anonymous", "cpu", "packets", "messages"].map { "\(area).\($0)" }
    }

    func measure(_ lab: Lab) async throws -> [Figure] {
        if withSets {
            try await lab.spreadImage()
            try await lab.applyAndWait(sets: 6)
        } else {
            try await lab.ensureUp()
        }
        try await Task.sleep(for: IdleBenchmark.rest)
        let before = try await readings(lab)
        try await Task.sleep(for: IdleBenchmark.span)
        let after = try await readings(lab)
        if withSets { try await lab.remove() }
        return figures(before, after)
    }

    /// One host at one moment.
    private struct Reading {
        var process: AgentReading
        var packets: UInt64
        var messages: UInt64
    }

    private func readings(_ lab: Lab) async throws -> [Reading] {
        var readings: [Reading] = []
        for host in Lab.hosts {
            // The process first: the question costs the agent something.
            let process = try AgentReading(pid: try await lab.agentPID(host))
            let counters = try await lab.client(host).status().peerPlane
            readings.append(
                Reading(
                    process: process, packets: counters["datagramsSent"] ?? 0,
                    messages: counters["messagesSent"] ?? 0))
        }
        return readings
    }

    private func figures(_ before: [Reading], _ after: [Reading]) -> [Figure] {
        let sets = withSets ? "two sets of a service on each" : "no service"
        let now =
            "three agents, \(sets), \(IdleBenchmark.rest.components.seconds) s after the last change; \(Machine.load)"
        let during = "the same over \(IdleBenchmark.span.components.seconds) s"
        let pairs = Array(zip(before, after))
        func perSecond(_ counter: (Reading) -> UInt64) -> Samples {
            Samples(
                pairs.map { before, after in
                    // An agent that was started anew meanwhile counts from 0.
                    let count =
                        counter(after) >= counter(before) ? counter(after) - counter(before) : 0
                    return Double(count) / (after.process.time - before.process.time).inSeconds
                })
        }
        return [
            Figure(
                name: "\(area).resident",
                Samples(after.map { $0.process.residentBytes / IdleBenchmark.mebibyte }),
                unit: "MiB", limit: IdleBenchmark.residentLimit, conditions: "VmRSS; " + now),
            Figure(
                name: "\(area).anonymous",
                Samples(after.map { $0.process.anonymousBytes / IdleBenchmark.mebibyte }),
                unit: "MiB", conditions: "RssAnon, the part no file backs; the same"),
            Figure(
                name: "\(area).cpu",
                Samples(pairs.map { $1.process.processorPercent(since: $0.process) }),
                unit: "%", limit: IdleBenchmark.processorLimit,
                conditions: "of one core, all threads; " + during),
            Figure(
                name: "\(area).packets", perSecond(\.packets), unit: "1/s",
                conditions: "datagrams sent by one agent (gossip); " + during),
            Figure(
                name: "\(area).messages", perSecond(\.messages), unit: "1/s",
                conditions: "messages sent by one agent on TCP (log, lease); " + during),
        ]
    }
}
