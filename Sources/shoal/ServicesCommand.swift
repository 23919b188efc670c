import ArgumentParser
import ControlAPI

/// `shoal services`.
struct ServicesCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "services", abstract: "Every service: how many sets run, and why not all.",
        discussion: """
            EXAMPLES
              shoal services
              shoal services --watch
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var listing: ListingOptions

    func items(_ client: ControlClient) async throws -> [ServiceView] {
        try await client.services()
    }

    func text(_ items: [ServiceView]) -> String {
        var table = Table(
            "SERVICE", "#RUNNING", "#REVISION", "POOL", "#PRIORITY", "IMAGES", "PROBLEMS")
        for service in items {
            table.add(
                service.name, "\(service.running) of \(service.sets)", "\(service.revision)",
                service.pool, "\(service.priority)", service.images.joined(separator: ", "),
                service.problems.joined(separator: "; "))
        }
        return table.text
    }
}
