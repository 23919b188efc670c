import ClusterModel
import EventLoop

/// How long a resize of everything takes, from the command to the kernel's new values, and that
/// nobody in the set notices: processes and open connections stay.
struct ResizeBenchmark: Benchmark {
    let names = ["resize.effect.time", "resize.command.time"]

    private static let rounds = 20
    private static let volume = "data"
    private static let mebibytes = 16

    func measure(_ lab: Lab) async throws -> [Figure] {
        try await lab.spreadImage()
        var service = lab.service(sets: 6)
        // Without a page the server hangs up before it has heard the whole question.
        service.containers[0].command = [
            "sh", "-c", "echo page > /www/index.html && exec httpd -f -p 8080 -h /www",
        ]
        service.volumes = [
            VolumeSpec(
                name: ResizeBenchmark.volume, sizeBytes: ResizeBenchmark.mebibytes << 20,
                mount: "/data", volumeClass: .directory)
        ]
        let spec = service
        try await lab.insist { _ = try await lab.client(2).apply(spec) }
        try await lab.wait("six sets to run", limit: .seconds(120)) { try await lab.runs(6, at: 2) }
        let watched = try await WatchedSet("web.0", lab)
        let visitor = try await lab.start(
            #"exec nsenter "--net=/run/netns/$CLUSTER-$1" -- "$2" --part "trickle $3 8080""#,
            watched.host, CommandLine.arguments[0], watched.address)
        let processes = try await processes(lab)
        var effects: [Double] = []
        var answers: [Double] = []
        for round in 0..<ResizeBenchmark.rounds {
            let resize = ResizeBenchmark.resize(round)
            let start = ContinuousClock.now
            async let answer = lab.client(2).resize(service: "web", resize)
            try await lab.wait("the kernel's new values", every: .milliseconds(1)) {
                try await watched.has(resize, lab)
            }
            effects.append((ContinuousClock.now - start).inSeconds * 1_000)
            _ = try await answer
            answers.append((ContinuousClock.now - start).inSeconds * 1_000)
            try await settled(lab)
            do { try await visitor.write(Array("\n".utf8)) } catch { try await check(visitor) }
        }
        guard try await self.processes(lab) == processes else {
            throw BenchmarkError("a resize started a process anew")
        }
        try await check(visitor)
        let largest = (ResizeBenchmark.mebibytes + ResizeBenchmark.rounds) << 20
        try await lab.wait("all hosts to tell the volumes' new size") {
            try await lab.client(1).volumes().filter {
                $0.service == "web" && $0.sizeBytes == largest
            }
            .count == 6
        }
        try await lab.remove()
        let conditions =
            "processor, memory, processes, egress, ingress and a volume of six sets at once, three "
            + "hosts, one connection open meanwhile, \(watched.group.version); \(Machine.load)"
        return [
            Figure(
                name: names[0], Samples(effects), unit: "ms", limit: 200,
                conditions: "from the command to the kernel's values on one host; " + conditions),
            Figure(
                name: names[1], Samples(answers), unit: "ms",
                conditions: "until the command is answered and its effect seen; the same"),
        ]
    }

    /// Everything at once; every other round the same, but for the volume, which only grows.
    private static func resize(_ round: Int) -> ServiceResize {
        let isEven = round % 2 == 0
        return ServiceResize(
            cpuLimitMillicores: isEven ? 700 : 500, memoryLimitBytes: (isEven ? 96 : 64) << 20,
            pidsMax: isEven ? 90 : 60, egressBitsPerSecond: isEven ? 80_000_000 : 50_000_000,
            ingressBitsPerSecond: isEven ? 90_000_000 : 60_000_000,
            volumes: [.init(name: volume, sizeBytes: (mebibytes + round + 1) << 20)])
    }

    /// The visitor's one connection, which it made before the first resize, still brings its page.
    private func check(_ visitor: RunningCommand) async throws {
        await visitor.closeInput()
        var said = ""
        for try await chunk in visitor.output {
            said += String(decoding: chunk.bytes, as: UTF8.self)
        }
        guard await visitor.wait() == 0 else {
            throw BenchmarkError("a resize broke an open connection: \(said)")
        }
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

/// A set whose limits are looked at in the kernel.
private struct WatchedSet {
    let host: String
    let address: String
    let group: CgroupReading
    /// The devices that shape what it sends and what it receives.
    private let devices: [String]

    init(_ slot: String, _ lab: Lab) async throws {
        let sets = try await lab.client(1).sets(service: "web")
        guard let set = sets.first(where: { $0.slot == slot }), let host = set.host,
            let address = set.address
        else { throw BenchmarkError("\(slot) has no host or no address") }
        self.host = host
        self.address = address
        group = try await CgroupReading(of: "\(slot)/app", lab)
        let found = try await lab.shell(
            #"ip -n "$CLUSTER-$1" -o link | awk -v slot=" $2 " 'index($0, slot) { sub(/[@:].*/, "", $2); print $2 }'"#,
            host, slot)
        let names = found.split(separator: "\n").map(String.init).sorted()
        guard names.count == 2 else {
            throw BenchmarkError("\(slot) has the devices \(names), not a cable and one for egress")
        }
        // `she...` before `shl...`.
        devices = names
    }

    /// True when the kernel has all values of a resize.
    func has(_ resize: ServiceResize, _ lab: Lab) async throws -> Bool {
        guard try group.memoryLimit() == Double(resize.memoryLimitBytes ?? 0),
            try group.quota() == Double((resize.cpuLimitMillicores ?? 0) * 100),
            try group.processLimit() == Double(resize.pidsMax ?? 0)
        else { return false }
        for (device, rate) in zip(
            devices, [resize.egressBitsPerSecond, resize.ingressBitsPerSecond])
        {
            let classes = try await lab.shell(
                #"tc -n "$CLUSTER-$1" class show dev "$2""#, host, device)
            guard classes.contains("rate \((rate ?? 0) / 1_000_000)Mbit ") else { return false }
        }
        return true
    }
}
