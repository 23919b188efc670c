import ClusterModel
import ControlAPI
import HostControl

/// What a host offers to sets: what the configuration says, or what the machine has less a reserve.
struct HostOffer: Equatable, Sendable {
    /// What is offered.
    var capacity: Resources
    /// What the configuration offers and the machine does not have, one sentence each.
    var shortfalls: [String] = []

    /// The least that is left to the host and the agent: 256 MiB or a twentieth of the memory.
    static func reserve(of memoryBytes: Int) -> Int { max(256 << 20, memoryBytes / 20) }

    /// Never more than the machine has: processors and memory can go away while the agent runs.
    init(configuration: AgentConfiguration, machine: MachineFacts) {
        let processors = machine.processorCount * 1_000
        let memory = machine.memoryBytes
        let reserve = HostOffer.reserve(of: memory)
        capacity = Resources(
            millicores: min(configuration.millicores ?? processors, processors),
            memoryBytes: min(configuration.memoryBytes ?? max(0, memory - reserve), memory),
            sets: configuration.setsMax,
            egressBitsPerSecond: machine.bandwidthBitsPerSecond ?? 0,
            ingressBitsPerSecond: machine.bandwidthBitsPerSecond ?? 0)
        if let offered = configuration.memoryBytes, offered > memory {
            shortfalls.append(
                "memory: this host has \(memory) bytes, less than the \(offered) to be offered")
        }
        if let offered = configuration.millicores, offered > processors {
            shortfalls.append(
                "cpu: this host has \(machine.processorCount) processors, less than the "
                    + "\(offered) millicores to be offered")
        }
    }

    /// The bandwidth, for people.
    var bandwidthText: String {
        capacity.egressBitsPerSecond > 0
            ? Quantity.text(bitsPerSecond: capacity.egressBitsPerSecond) : "unlimited bandwidth"
    }

    /// The host's record, as it goes to its peers.
    func facts(_ configuration: AgentConfiguration) -> HostFacts {
        HostFacts(
            name: configuration.name, capacity: capacity, zone: configuration.zone,
            pool: configuration.pool, agentVersion: ShoalVersion.text)
    }
}

/// Reads the machine again and again: processors and memory come and go on virtual hosts.
struct HostWatch: Sendable {
    let host: HostControl
    let driver: PeerDriver
    let configuration: AgentConfiguration
    let log: AgentLog
    /// What the peers know.
    let first: HostOffer

    /// How often.
    static let interval = Duration.seconds(10)

    /// Tells the peers of every change, until it is cancelled.
    func run() async {
        var known = first
        while (try? await Task.sleep(for: HostWatch.interval)) != nil {
            do {
                let machine = try await host.machineFacts()
                let offer = HostOffer(configuration: configuration, machine: machine)
                guard offer != known else { continue }
                try await host.renewUplink()
                known = offer
                for shortfall in offer.shortfalls { log.warning(shortfall) }
                log.info(
                    "the machine changed: this host offers \(offer.capacity.millicores) millicores "
                        + "and \(offer.capacity.memoryBytes) bytes of memory now, and its sets "
                        + "have \(offer.bandwidthText) each way")
                await driver.feed(.facts(offer.facts(configuration)))
            } catch {
                log.warning("could not read what the machine has: \(error)")
            }
        }
    }
}
