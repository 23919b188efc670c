import ArgumentParser
import ClusterModel
import ControlAPI

/// `shoal sets`.
struct SetsCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "sets", abstract: "Every set: its host, its phase, and the reason for it.",
        discussion: """
            EXAMPLES
              shoal sets
              shoal sets web --watch
              shoal sets --json | jq -r '.[] | select(.phase == "pending") | .reason'
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var listing: ListingOptions
    @Argument(help: "Only the sets of this service.")
    var service: String?

    func items(_ client: ControlClient) async throws -> [SetView] {
        try await client.sets(service: service)
    }

    func text(_ items: [SetView]) -> String {
        var table = Table(
            "SET", "PHASE", "HOST", "ADDRESS", "#REVISION", "#RESTARTS", "REASON")
        for set in items {
            table.add(
                set.slot, set.phase, set.host ?? "", set.address ?? "", "\(set.revision)",
                "\(set.containers.reduce(0) { $0 + $1.restarts })",
                set.reason ?? exits(of: set))
        }
        return table.text
    }

    /// How containers last ended, when the set has no other reason to show.
    private func exits(of set: SetView) -> String {
        set.containers.compactMap { container in
            guard let code = container.exitCode, !container.running else { return nil }
            guard container.outOfMemory == true else {
                return "\(container.name) exited with \(code)"
            }
            let memory = container.memoryPeakBytes.flatMap { peak in
                container.memoryLimitBytes.map { MemoryAtExit(peakBytes: peak, limitBytes: $0) }
            }
            let exit = ContainerExit(code: code, outOfMemory: true, memory: memory)
            return "\(container.name) was killed: \(exit.outOfMemoryReason)"
        }.joined(separator: "; ")
    }
}
