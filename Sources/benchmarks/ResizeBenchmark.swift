import ClusterModel

/// How long a resize of everything takes, from the command to the kernel's new values.
struct ResizeBenchmark: Benchmark {
    let names = ["resize.effect.time", "resize.command.time"]

    private static let rounds = 20

    func measure(_ lab: Lab) async throws -> [Figure] {
        try await lab.spreadImage()
        try await lab.applyAndWait(sets: 6)
        let group = try await CgroupReading(of: "web.0/app", lab)
        let processes = try await processes(lab)
        var effects: [Double] = []
        var answers: [Double] = []
        for round in 0..<ResizeBenchmark.rounds {
            let limit = (round % 2 == 0 ? 96 : 64) << 20
            let resize = ServiceResize(
                cpuLimitMillicores: round % 2 == 0 ? 700 : 500, memoryLimitBytes: limit,
                pidsMax: round % 2 == 0 ? 90 : 60,
                egressBitsPerSecond: round % 2 == 0 ? 80_000_000 : 50_000_000,
                ingressBitsPerSecond: round % 2 == 0 ? 90_000_000 : 50_000_000)
            let start = ContinuousClock.now
            async let answer = lab.client(2).resize(service: "web", resize)
            try await lab.wait("the kernel's new values", every: .milliseconds(1)) {
                try group.memoryLimit() == Double(limit)
                    && group.quota() == (round % 2 == 0 ? 70_000 : 50_000)
            }
            effects.append((ContinuousClock.now - start).inSeconds * 1_000)
            _ = try await answer
            answers.append((ContinuousClock.now - start).inSeconds * 1_000)
            try await settled(lab)
        }
        guard try await self.processes(lab) == processes else {
            throw BenchmarkError("a resize started a process anew")
        }
        try await lab.remove()
        let conditions =
            "processor, memory, processes, egress and ingress of six sets at once, three hosts, "
            + "\(group.version); \(Machine.load)"
        return [
            Figure(
                name: names[0], Samples(effects), unit: "ms", limit: 200,
                conditions: "from the command to the kernel's values on one host; " + conditions),
            Figure(
                name: names[1], Samples(answers), unit: "ms",
                conditions: "until the command is answered and its effect seen; the same"),
        ]
    }

    private func processes(_ lab: Lab) async throws -> [String] {
        try await lab.client(1).sets(service: "web").flatMap { set in
            set.containers.map { "\(set.slot) \($0.pid ?? 0)" }
        }
    }

    /// All sets have said that the newest limits are in force.
    private func settled(_ lab: Lab) async throws {
        try await lab.wait("the limits on every set") {
            try await lab.client(1).sets(service: "web").allSatisfy {
                $0.limitsRevision == $0.revision
            }
        }
    }
}
