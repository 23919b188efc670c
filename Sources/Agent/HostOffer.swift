import ClusterModel
import ControlAPI
import HostControl
import HostPlan

/// What a host offers to sets: what the configuration says, or what the machine has less a reserve.
struct HostOffer: Equatable, Sendable {
    /// What is offered.
    var capacity: Resources
    /// What the configuration offers and the machine does not have, one sentence each.
    var shortfalls: [String] = []

    /// What is kept of the memory for the host and the agent unless the configuration says how much:
    /// 256 MiB or a twentieth.
    static func memoryReserve(of memoryBytes: Int) -> Int { max(256 << 20, memoryBytes / 20) }

    /// What is kept of the processors: a twentieth, 100 millicores at least and one core at most.
    static func millicoreReserve(of processorCount: Int) -> Int {
        min(max(processorCount * 50, 100), 1_000)
    }

    /// Never more than the machine has: processors and memory can go away while the agent runs.
    ///
    /// What is to be offered in so many words is offered out of the default reserve too, never out
    /// of one that is configured.
    init(configuration: AgentConfiguration, machine: MachineFacts) {
        let millicores = HostOffer.part(
            "cpu", offered: configuration.millicores, kept: configuration.reserveMillicores,
            byDefault: HostOffer.millicoreReserve(of: machine.processorCount),
            of: machine.processorCount * 1_000, text: Quantity.text(millicores:))
        let memory = HostOffer.part(
            "memory", offered: configuration.memoryBytes, kept: configuration.reserveMemoryBytes,
            byDefault: HostOffer.memoryReserve(of: machine.memoryBytes), of: machine.memoryBytes,
            text: Quantity.text(bytes:))
        shortfalls = [memory.shortfall, millicores.shortfall].compactMap { $0 }
        capacity = Resources(
            millicores: millicores.offer, memoryBytes: memory.offer,
            sets: configuration.setsMax,
            egressBitsPerSecond: machine.bandwidthBitsPerSecond ?? 0,
            ingressBitsPerSecond: machine.bandwidthBitsPerSecond ?? 0)
    }

    /// What is offered of one resource, and a sentence when that is less than was asked for.
    private static func part(
        _ key: String, offered: Int?, kept: Int?, byDefault: Int, of machine: Int,
        text: (Int) -> String
    ) -> (offer: Int, shortfall: String?) {
        let most = max(0, machine - (kept ?? 0))
        guard let offered else { return (max(0, machine - (kept ?? byDefault)), nil) }
        guard offered > most else { return (offered, nil) }
        let less = kept.map { ", of which reserve-\(key) keeps \(text($0))" } ?? ""
        return (
            most,
            "\(key): this host has \(text(machine))\(less), so the \(text(offered)) to be offered "
                + "are not there"
        )
    }

    /// What all sets together may take.
    var wall: SetsWall {
        SetsWall(memoryBytes: capacity.memoryBytes, millicores: capacity.millicores)
    }

    /// The bandwidth, for people.
    var bandwidthText: String {
        capacity.egressBitsPerSecond > 0
            ? Quantity.text(bitsPerSecond: capacity.egressBitsPerSecond) : "unlimited bandwidth"
    }

    /// The host's record, as it goes to its peers.
    func facts(
        _ configuration: AgentConfiguration, _ abilities: HostAbilities
    ) -> HostFacts {
        HostFacts(
            name: configuration.name, capacity: capacity, zone: configuration.zone,
            pool: configuration.pool, agentVersion: ShoalVersion.text,
            abilities: abilities)
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
    /// What the host can do beyond what every host can; the same as long as the agent runs.
    let abilities: HostAbilities

    /// How often.
    static let interval = Duration.seconds(10)

    /// Tells the peers of every change, until it is cancelled.
    func run() async {
        var known = first
        var said: [String] = []
        while (try? await Task.sleep(for: HostWatch.interval)) != nil {
            do {
                // Also puts back what somebody else changed, and what did not fit before.
                let notices = try await host.setWall(known.wall)
                for notice in notices where !said.contains(notice) { log.warning(notice) }
                said = notices
                let machine = try await host.machineFacts()
                let offer = HostOffer(configuration: configuration, machine: machine)
                guard offer != known else { continue }
                try await host.renewUplink()
                known = offer
                said = try await host.setWall(offer.wall)
                for notice in said { log.warning(notice) }
                for shortfall in offer.shortfalls { log.warning(shortfall) }
                log.info(
                    "the machine changed: this host offers \(offer.capacity.millicores) millicores "
                        + "and \(offer.capacity.memoryBytes) bytes of memory now, and its sets "
                        + "have \(offer.bandwidthText) each way")
                await driver.feed(.facts(offer.facts(configuration, abilities)))
            } catch {
                log.warning("could not read what the machine has: \(error)")
            }
        }
    }
}
