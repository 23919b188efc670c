/// How fast a service runs once it was asked for.
struct ApplyBenchmark: Benchmark {
    let names = ["service.apply.time"]

    private static let runs = 5

    func measure(_ lab: Lab) async throws -> [Figure] {
        try await lab.spreadImage()
        var times: [Double] = []
        for _ in 0..<ApplyBenchmark.runs {
            let start = ContinuousClock.now
            try await lab.applyAndWait(sets: 6)
            times.append((ContinuousClock.now - start).inSeconds)
            try await lab.remove()
        }
        return [
            Figure(
                name: names[0], Samples(times), unit: "s",
                conditions: "apply to six sets running on three hosts (image present, network, "
                    + "limits, published port); \(Machine.load)")
        ]
    }
}

/// How fast a service grows tenfold.
struct BurstBenchmark: Benchmark {
    let names = ["service.burst.time"]

    private static let runs = 3
    private static let few = 6
    private static let many = 60

    func measure(_ lab: Lab) async throws -> [Figure] {
        try await lab.spreadImage()
        var times: [Double] = []
        for _ in 0..<BurstBenchmark.runs {
            try await lab.applyAndWait(sets: BurstBenchmark.few)
            let start = ContinuousClock.now
            try await lab.insist {
                _ = try await lab.client(2).scale(service: "web", sets: BurstBenchmark.many)
            }
            try await lab.wait("60 sets", limit: .seconds(120), every: .milliseconds(100)) {
                try await lab.runs(BurstBenchmark.many, at: 2)
            }
            times.append((ContinuousClock.now - start).inSeconds)
            try await lab.remove()
        }
        return [
            Figure(
                name: names[0], Samples(times), unit: "s",
                conditions: "scale from 6 to 60 sets running, three hosts on this one machine; "
                    + Machine.load)
        ]
    }
}
