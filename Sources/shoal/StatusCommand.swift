import ArgumentParser
import ControlAPI

/// `shoal status`.
struct StatusCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "The cluster as this host knows it, and how old that is.",
        discussion: """
            EXAMPLES
              shoal status
              shoal status --consistent     as the leaseholder confirms it
              shoal status --json           an array with one object
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var listing: ListingOptions
    @Flag(help: "Ask the leaseholder; fails without a majority of voters.")
    var consistent = false

    func items(_ client: ControlClient) async throws -> [StatusView] {
        [try await client.status(consistent: consistent)]
    }

    func text(_ items: [StatusView]) -> String {
        items.map(text).joined()
    }

    private func age(of status: StatusView) -> String {
        if let milliseconds = status.staleMilliseconds {
            return "\(HumanUnits.milliseconds(milliseconds)) old"
        }
        return "of unknown age: no leaseholder was heard since this agent started; "
            + "it is what this host knew before"
    }

    private func text(_ status: StatusView) -> String {
        let leaseholder = status.leaseholder.map { "\($0.name) (\($0.id.prefix(10)))" }
        var lines = [
            ("cluster", status.clusterID),
            (
                "this host",
                "\(status.host.name) (\(status.host.id.prefix(10))), agent \(status.agentVersion)"
            ),
            (
                "leaseholder",
                "\(leaseholder ?? "none known"), epoch \(status.epoch), quorum "
                    + (status.quorum ? "yes" : "no: nothing can be changed")
            ),
            ("hosts", "\(status.hostsAlive) of \(status.hostsTotal) alive"),
            ("voters", status.voters.map(\.name).joined(separator: ", ")),
            ("services", "\(status.services)"),
            ("sets", "\(status.setsRunning) of \(status.setsWanted) running"),
            ("log", "\(status.appliedIndex) applied of \(status.commitIndex) committed"),
            ("answer", age(of: status)),
        ]
        let counters = status.peerPlane.filter { $0.value > 0 }.sorted { $0.key < $1.key }
        if !counters.isEmpty {
            lines.append(
                ("peer plane", counters.map { "\($0.key) \($0.value)" }.joined(separator: ", ")))
        }
        return lines.map { name, value in
            let padding = String(repeating: " ", count: 13 - name.count)
            return name + padding + Output.printable(value) + "\n"
        }.joined()
    }
}
