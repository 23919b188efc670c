import ClusterModel

/// How well processor limits hold: a quota, and weights where two sets want everything.
struct ProcessorWallBenchmark: Benchmark {
    let names = ["walls.cpu.quota", "walls.cpu.weights"]

    private static let seconds = 5

    func measure(_ lab: Lab) async throws -> [Figure] {
        try await lab.spreadImage()
        let quota = try await usage(lab, [("burner", request: 100, limit: 300)])
        let shared = try await usage(
            lab, [("light", request: 250, limit: 4_000), ("heavy", request: 750, limit: 4_000)])
        let conditions = "four loops in each set, \(quota.version); \(Machine.load)"
        return [
            Figure(
                name: names[0], value: quota.shares[0] / 0.3 * 100, unit: "%",
                conditions: "processor time used of a quota of 300m over "
                    + "\(ProcessorWallBenchmark.seconds) s; \(conditions)"),
            Figure(
                name: names[1], value: shared.shares[1] / shared.shares[0] / 3 * 100, unit: "%",
                conditions:
                    "the share of 750m beside 250m, of the three times it should be; the same"),
        ]
    }

    /// The cores that each service's one set used while all ran together.
    private func usage(
        _ lab: Lab, _ services: [(name: String, request: Int, limit: Int)]
    ) async throws -> (shares: [Double], version: String) {
        let loop = "for i in 1 2 3 4; do while :; do :; done & done; wait"
        for service in services {
            // One on each host, since weights count among the sets of a host.
            let attack = Attack(
                name: service.name, script: loop, request: service.request, limit: service.limit)
            try await lab.run(attack, sets: Lab.hosts.count)
        }
        var groups: [CgroupReading] = []
        for service in services {
            let sets = try await lab.client(1).sets(service: service.name)
            guard let set = sets.first(where: { $0.host == "h1" }) else {
                throw BenchmarkError("no set of \(service.name) runs on h1")
            }
            groups.append(try await CgroupReading(of: set.slot, lab))
        }
        try await Task.sleep(for: .seconds(1))
        let start = ContinuousClock.now
        let before = try groups.map { try $0.processorSeconds() }
        try await Task.sleep(for: .seconds(ProcessorWallBenchmark.seconds))
        let elapsed = (ContinuousClock.now - start).inSeconds
        let shares = try zip(groups, before).map { (try $0.processorSeconds() - $1) / elapsed }
        for service in services { try await lab.end(service.name) }
        return (shares, groups[0].version)
    }
}

/// What a small web server's visitors notice of a neighbour that does its worst.
struct NeighbourBenchmark: Benchmark {
    let names =
        ["walls.neighbour.quiet.p99"]
        + NeighbourBenchmark.attacks.map { "walls.neighbour.\($0.name).ratio" }

    /// Every one within limits that any service may have.
    private static let attacks = [
        Attack(
            name: "burners", script: "for i in 1 2 3 4; do while :; do :; done & done; wait",
            request: 100, limit: 1_000),
        Attack(
            name: "forkbomb", script: "f() { f | f & }; f; sleep 1000", request: 100,
            limit: 1_000),
        Attack(
            name: "memoryhog",
            script: "while :; do dd if=/dev/zero of=/dev/shm/x bs=1M count=200; done", request: 100,
            limit: 1_000),
        Attack(
            name: "fsyncstorm",
            script: "while :; do dd if=/dev/zero of=/x bs=64k count=64 conv=fsync; done",
            request: 100, limit: 1_000),
    ]

    func measure(_ lab: Lab) async throws -> [Figure] {
        try await lab.spreadImage()
        try await lab.applyAndWait(sets: 1)
        guard let set = try await lab.client(1).sets(service: "web").first,
            let host = set.host, let address = set.address
        else { throw BenchmarkError("the web server has no address") }
        let quiet = try await lab.latencies(from: host, to: address)
        let conditions =
            "a set of 50m beside one of 100m (limit 1) on one host; GET on a new connection, 10 s; "
        var figures = [
            Figure(
                name: names[0], value: quiet.percentile(0.99), unit: "ms",
                samples: quiet.values.count, conditions: conditions + Machine.load)
        ]
        for attack in NeighbourBenchmark.attacks {
            try await lab.run(attack)
            // Quiet and attacked in turn, since the machine itself is never quite the same.
            let attacked = try await lab.latencies(from: host, to: address)
            try await lab.end(attack.name)
            let after = try await lab.latencies(from: host, to: address)
            let base = (quiet.percentile(0.99) + after.percentile(0.99)) / 2
            figures.append(
                Figure(
                    name: "walls.neighbour.\(attack.name).ratio",
                    value: attacked.percentile(0.99) / base, unit: "x",
                    samples: attacked.values.count,
                    conditions:
                        "p99 \(Figure.text((attacked.percentile(0.99) * 100).rounded() / 100)) ms "
                        + "under attack, \(Figure.text((base * 100).rounded() / 100)) ms quiet"))
        }
        try await lab.remove()
        return figures
    }
}

/// A set that takes all it can get.
struct Attack: Sendable {
    let name: String
    let script: String
    /// What is set aside for it, in millicores.
    let request: Int
    /// Its quota, in millicores.
    let limit: Int

    func service(sets: Int) -> ServiceSpec {
        ServiceSpec(
            name: name, sets: sets,
            containers: [
                ContainerSpec(
                    name: "app", image: Lab.image, command: ["sh", "-c", script],
                    cpu: CPUSpec(requestMillicores: request, limitMillicores: limit),
                    memory: MemorySpec(requestBytes: 32 << 20, limitBytes: 64 << 20), pidsMax: 64)
            ])
    }
}

extension Lab {
    /// Runs an attack in so many sets.
    nonisolated func run(_ attack: Attack, sets: Int = 1) async throws {
        try await insist { _ = try await self.client(2).apply(attack.service(sets: sets)) }
        try await wait("\(attack.name) to run") {
            try await self.client(2).sets(service: attack.name)
                .count { $0.phase == "running" } == sets
        }
    }

    /// Ends a service, and waits until nothing of it is left.
    nonisolated func end(_ service: String) async throws {
        try await insist { _ = try await self.client(2).delete(service: service) }
        try await wait("\(service) to end", every: .milliseconds(100)) {
            try await self.shell(#"find "$DATA"/h*/sets -type f -name "$1.*""#, service).isEmpty
        }
    }

    /// How long pages of a set take its visitors on the same host, in milliseconds.
    func latencies(from host: String, to address: String) async throws -> Samples {
        let program = CommandLine.arguments[0]
        let text = try await shell(
            #"nsenter "--net=/run/netns/$CLUSTER-$1" -- "$2" --visit "$3:8080""#, host, program,
            address)
        let values = text.split(separator: "\n").compactMap { Double($0) }
        guard values.count > 100 else {
            throw BenchmarkError("only \(values.count) pages came from \(address)")
        }
        return Samples(values)
    }
}
