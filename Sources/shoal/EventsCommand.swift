import ArgumentParser
import ControlAPI

/// `shoal events`.
struct EventsCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "events", abstract: "What happened in the cluster, oldest first, and why.",
        discussion: """
            EXAMPLES
              shoal events --limit 20
              shoal events --since 1200     only what came after log index 1200
              shoal events --watch
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var listing: ListingOptions
    @Option(help: "Only events after this log index.")
    var since: UInt64?
    @Option(help: "The newest so many, 1 to 10,000.")
    var limit = 50

    func validate() throws {
        guard (1...10_000).contains(limit) else {
            throw ValidationError("--limit must be from 1 to 10000")
        }
    }

    func items(_ client: ControlClient) async throws -> [EventView] {
        try await client.events(since: since, limit: limit)
    }

    func text(_ items: [EventView]) -> String {
        var table = Table("#INDEX", "TIME", "KIND", "SUBJECT", "HOST", "MESSAGE")
        for event in items {
            table.add(
                "\(event.index)", event.time, event.kind, event.subject, event.host ?? "",
                event.message)
        }
        return table.text
    }
}
