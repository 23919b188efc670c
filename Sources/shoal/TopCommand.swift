import ArgumentParser
import ClusterModel
import ControlAPI

/// `shoal top`.
struct TopCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "What hosts and sets use: CPU, memory, disks, and what they waited for.",
        discussion: """
            CPU, throttling, reading and writing are of the time since somebody asked last, or of
            half a second. THROTTLED is the time in which a set was held back by its CPU limit, OOM
            how many of its processes were killed for want of memory since it was made. WAITING is
            the part of the last ten seconds in which something waited for CPU, memory and disks
            (Linux tells on control groups of version 2). Every host is asked for its own; one that
            does not answer is named, and the exit status is 1 when none did.

            EXAMPLES
              shoal top
              shoal top web --containers
              shoal top --watch
              shoal top --json | jq -r '.[] | select(.outOfMemoryKills > 0) | .slot'
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var listing: ListingOptions
    @Argument(help: "Only the sets of this service.")
    var service: String?
    @Flag(help: "Also each container of the sets.")
    var containers = false

    func items(_ client: ControlClient) async throws -> [UsageView] {
        let items = try await client.usage(service: service, containers: containers)
        if let problem = items.first?.problem, items.allSatisfy({ $0.problem != nil }) {
            throw ControlError(
                .unavailable, "no host answered; the first: \(items[0].host): \(problem)",
                next: "`shoal hosts` shows which are up")
        }
        return items
    }

    func text(_ items: [UsageView]) -> String {
        var table = Table(
            "NAME", "HOST", "#CPU", "#THROTTLED", "#MEMORY", "#OOM", "#PIDS", "#READ", "#WRITTEN",
            "#WAITING")
        for item in items where item.problem == nil {
            table.add(
                name(of: item), item.host, HumanUnits.cpu(item.cpuMillicores),
                item.kind == "host"
                    ? "" : HumanUnits.milliseconds(item.throttledMicroseconds / 1_000),
                memory(of: item), item.kind == "host" ? "" : "\(item.outOfMemoryKills)",
                "\(item.pids)", rate(item.readBytesPerSecond), rate(item.writtenBytesPerSecond),
                waiting(item.pressure))
        }
        let silent = items.compactMap { item in
            item.problem.map { "\(item.host) gave no figures: \($0)\n" }
        }
        return table.text + silent.map(Output.printable).joined()
    }

    private func name(of item: UsageView) -> String {
        guard let slot = item.slot else { return item.host }
        return item.container.map { "  \(slot)/\($0)" } ?? slot
    }

    private func memory(of item: UsageView) -> String {
        let used = HumanUnits.bytes(item.memoryBytes)
        return item.memoryLimitBytes.map { "\(used) of \(HumanUnits.bytes($0))" } ?? used
    }

    private func rate(_ bytes: Int?) -> String { bytes.map { "\(HumanUnits.bytes($0))/s" } ?? "" }

    private func waiting(_ pressure: PressureView?) -> String {
        guard let pressure else { return "" }
        return [pressure.cpu, pressure.memory, pressure.io].map { "\(($0 + 50) / 100)%" }
            .joined(separator: " ")
    }
}
