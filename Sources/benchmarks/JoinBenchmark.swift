/// How fast three new agents are a cluster.
struct JoinBenchmark: Benchmark {
    let names = ["cluster.join.time"]

    private static let runs = 3

    func measure(_ lab: Lab) async throws -> [Figure] {
        var times: [Double] = []
        for _ in 0..<JoinBenchmark.runs {
            try await lab.prepare()
            let start = ContinuousClock.now
            try await lab.startAgents()
            try await lab.settle()
            times.append((ContinuousClock.now - start).inSeconds)
        }
        return [
            Figure(
                name: names[0], Samples(times), unit: "s",
                conditions:
                    "before the start of three new agents to all of them seeing three hosts "
                    + "and the same leaseholder; \(Machine.load)")
        ]
    }
}
