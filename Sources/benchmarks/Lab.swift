import ClusterModel
import ControlAPI
import EventLoop
import Glibc

/// Three hosts on this machine, made and ended by the functions of `Tools/cluster.sh`.
actor Lab {
    /// The hosts' numbers.
    static let hosts = [1, 2, 3]
    /// The image of the example service.
    static let image = "demo/web:1"

    /// Where the agents' sockets, logs and pid files are.
    nonisolated let runFolder: String
    /// Where the agents' data folders are.
    nonisolated let dataFolder: String
    private let script: String
    private let commands: CommandRunner
    private var isUp = false
    private var image = ImageState.absent

    /// How far the example's image has come.
    private enum ImageState {
        case absent
        case loaded
        case spread
    }

    /// Asks the functions where they put things.
    init(script: String, commands: CommandRunner) async throws {
        let answer = try await commands.check(
            ["bash", "-c", #". "$0" && printf '%s\n%s\n' "$RUN" "$DATA""#, script])
        let lines = answer.outputText.split(separator: "\n")
        guard lines.count == 2 else {
            throw BenchmarkError("\(script) does not say where its folders are: use --cluster")
        }
        runFolder = String(lines[0])
        dataFolder = String(lines[1])
        self.script = script
        self.commands = commands
    }

    // MARK: - Making and ending hosts

    /// Runs shell text that may use the functions; its arguments are `$1` and on.
    @discardableResult
    func shell(_ text: String, _ arguments: String...) async throws -> String {
        try await commands.check(
            ["bash", "-c", ". \"$0\"; \(text)", script] + arguments, timeout: .seconds(120)
        ).outputText
    }

    /// Starts shell text that may use the functions; its input and output are streamed.
    func start(_ text: String, _ arguments: String...) async throws -> RunningCommand {
        try await commands.start(["bash", "-c", ". \"$0\"; \(text)", script] + arguments)
    }

    /// Makes the network and the cluster's first data folder, but starts no agent.
    func prepare() async throws {
        try await down()
        try await shell("make_network && init_cluster")
        isUp = true
    }

    /// Starts the three agents at once.
    func startAgents() async throws {
        try await shell(#"for host in $(seq "$HOSTS"); do start_agent "$host" || exit 1; done"#)
    }

    /// Starts one agent again.
    func startAgent(_ host: Int) async throws { try await shell(#"start_agent "$1""#, "\(host)") }

    /// Kills a host with everything on it.
    func killHost(_ host: Int) async throws { try await shell(#"kill_host "$1""#, "\(host)") }

    /// Has three hosts up that know each other.
    func ensureUp() async throws {
        guard !isUp else { return try await settle() }
        try await prepare()
        try await startAgents()
        try await settle()
    }

    /// Ends and removes everything.
    func down() async throws {
        try await shell("cluster_down")
        isUp = false
        image = .absent
    }

    /// The process of a host's agent.
    func agentPID(_ host: Int) async throws -> pid_t {
        let text = try await shell(#"agent_pid "$1""#, "\(host)")
        guard let pid = text.split(separator: "\n").first.flatMap({ pid_t($0) }) else {
            throw BenchmarkError("the agent on h\(host) has no pid file: see \(runFolder)")
        }
        return pid
    }

    // MARK: - Talking to hosts

    /// A client of a host's agent.
    nonisolated func client(_ host: Int) -> ControlClient {
        ControlClient(socketPath: "\(runFolder)/h\(host).sock")
    }

    /// Waits until all agents see three live hosts and the same leaseholder.
    nonisolated func settle(every pause: Duration = .milliseconds(10)) async throws {
        try await wait("three hosts to see each other and a leaseholder", every: pause) {
            var leaseholders: [String] = []
            for host in Lab.hosts {
                let status = try await self.client(host).status()
                guard status.hostsAlive == Lab.hosts.count, let leaseholder = status.leaseholder
                else { return false }
                leaseholders.append(leaseholder.id)
            }
            return leaseholders.allSatisfy { $0 == leaseholders[0] }
        }
    }

    /// The number of the host that holds the lease.
    nonisolated func leaseholder() async throws -> Int {
        try await settle()
        let name = try await client(1).status().leaseholder?.name ?? ""
        guard let host = Int(name.dropFirst()), Lab.hosts.contains(host) else {
            throw BenchmarkError("the leaseholder is called \(name), not h1 to h3")
        }
        return host
    }

    /// Asks again until the answer is yes; an agent that cannot answer is a no.
    nonisolated func wait(
        _ what: String, limit: Duration = .seconds(60), every pause: Duration = .milliseconds(10),
        until condition: () async throws -> Bool
    ) async throws {
        let clock = ContinuousClock()
        let deadline = clock.now + limit
        var trouble = ""
        while clock.now < deadline {
            do {
                if try await condition() { return }
                trouble = ""
            } catch let error as ControlError {
                trouble = ": \(error)"
            }
            try await Task.sleep(for: pause)
        }
        throw BenchmarkError("waited \(limit) in vain for \(what)\(trouble)")
    }

    // MARK: - Services

    /// The example service with so many sets, and a small request, so that 60 fit on this machine.
    nonisolated func service(sets: Int) -> ServiceSpec {
        ServiceSpec(
            name: "web", sets: sets,
            containers: [
                ContainerSpec(
                    name: "app", image: Lab.image,
                    command: ["httpd", "-f", "-p", "8080", "-h", "/www"],
                    cpu: CPUSpec(requestMillicores: 50, limitMillicores: 500),
                    memory: MemorySpec(requestBytes: 32 << 20, limitBytes: 64 << 20), pidsMax: 64)
            ],
            network: NetworkSpec(
                egressBitsPerSecond: 50_000_000, ingressBitsPerSecond: 50_000_000,
                publish: [PublishedPort(port: 8080, hostPort: 18_080)]))
    }

    /// A service without sets: what writes are made of.
    ///
    /// Each call with another priority is another write, and no host has anything to do.
    nonisolated func probe(priority: Int) -> ServiceSpec {
        ServiceSpec(
            name: "probe", sets: 0, priority: priority,
            containers: [ContainerSpec(name: "app", image: Lab.image)])
    }

    /// True when so many sets run, none of them on host `lost`.
    nonisolated func runs(_ count: Int, at host: Int, without lost: String? = nil) async throws
        -> Bool
    {
        try await client(host).sets(service: "web")
            .filter { $0.phase == "running" && $0.host != lost }.count == count
    }

    /// Has the image in the cluster: a service whose image nobody has is refused.
    func loadImage() async throws {
        try await ensureUp()
        guard image == .absent else { return }
        try await shell(
            #"make_image "$RUN/web.tar" "$1" && shoal 1 image load "$RUN/web.tar""#, Lab.image)
        image = .loaded
    }

    /// Has the image on every host, so that what starts afterwards needs no transfer.
    func spreadImage() async throws {
        try await loadImage()
        guard image == .loaded else { return }
        try await applyAndWait(sets: 6)
        try await remove()
        image = .spread
    }

    /// Applies the service through host 2 and waits until all its sets run.
    nonisolated func applyAndWait(sets: Int, every pause: Duration = .milliseconds(10)) async throws
    {
        try await insist { _ = try await self.client(2).apply(self.service(sets: sets)) }
        try await wait("\(sets) sets to run", limit: .seconds(120), every: pause) {
            try await self.runs(sets, at: 2)
        }
    }

    /// Deletes the service and waits until its hosts have removed all of it.
    ///
    /// Listings forget a deleted service at once, but a container that ignores its stop signal, as
    /// a web server that is process 1 does, lives on for some seconds, and the next set of the same
    /// slot waits for that. The record of a set is the last thing its host removes.
    nonisolated func remove() async throws {
        try await insist { _ = try await self.client(2).delete(service: "web") }
        try await wait(
            "the hosts to remove the sets", limit: .seconds(120), every: .milliseconds(100)
        ) {
            try await self.shell(#"find "$DATA"/h*/sets -type f"#).isEmpty
        }
    }

    /// Does something until the agent takes it; what is refused for good fails at once.
    nonisolated func insist(_ body: @escaping () async throws -> Void) async throws {
        try await wait("an agent to take a change") {
            do {
                try await body()
            } catch let error as ControlError
                where [.invalid, .refused, .tooLarge].contains(error.code)
            {
                throw BenchmarkError("\(error)")
            }
            return true
        }
    }
}
