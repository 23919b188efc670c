/// How long a change takes through the local API: majority on disk, applied, answered.
struct WriteBenchmark: Benchmark {
    let names = [
        "write.latency.median", "write.latency.p99", "write.follower-latency.median",
        "write.follower-latency.p99",
    ]

    private static let warmUps = 10
    private static let writes = 100

    func measure(_ lab: Lab) async throws -> [Figure] {
        try await lab.loadImage()
        let holder = try await lab.leaseholder()
        let other = Lab.hosts.first { $0 != holder } ?? holder
        let atHolder = try await latencies(lab, through: holder)
        let atOther = try await latencies(lab, through: other)
        try await lab.insist { _ = try await lab.client(holder).delete(service: "probe") }
        let conditions =
            "\(WriteBenchmark.writes) changes one after the other, three voters on one disk, "
            + "a connection each; \(Machine.load)"
        return figures("write.latency", atHolder, "through the leaseholder's socket; " + conditions)
            + figures(
                "write.follower-latency", atOther, "through another host's socket; " + conditions)
    }

    private func latencies(_ lab: Lab, through host: Int) async throws -> Samples {
        let client = lab.client(host)
        var times: [Double] = []
        for number in 0..<(WriteBenchmark.warmUps + WriteBenchmark.writes) {
            let spec = lab.probe(priority: 40 + number % 2)
            let start = ContinuousClock.now
            let result = try await client.apply(spec)
            times.append((ContinuousClock.now - start).inSeconds * 1_000)
            guard result.outcome != .unchanged else {
                throw BenchmarkError("change \(number) changed nothing, so no write was measured")
            }
        }
        return Samples(Array(times.dropFirst(WriteBenchmark.warmUps)))
    }

    private func figures(_ name: String, _ samples: Samples, _ conditions: String) -> [Figure] {
        [
            Figure(name: name + ".median", samples, unit: "ms", conditions: conditions),
            Figure(
                name: name + ".p99", value: samples.percentile(0.99), unit: "ms",
                samples: samples.values.count, conditions: "the same"),
        ]
    }
}
