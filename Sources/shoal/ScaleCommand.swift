import ArgumentParser
import ControlAPI

/// `shoal scale`.
struct ScaleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scale", abstract: "Changes how many sets services have.",
        discussion: """
            EXAMPLES
              shoal scale web=20
              shoal scale web=20 api=5 --wait
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var waiting: WaitOptions
    @Argument(help: "Which service to which number of sets, such as web=20.")
    var changes: [ServiceCount]

    mutating func run() async throws {
        let client = connection.client
        var results: [ApplyResult] = []
        for change in changes {
            let result = try await client.scale(service: change.service, sets: change.sets)
            results.append(result)
            let verb = result.outcome == .unchanged ? "already has" : "now has"
            Output.standardOutput("\(change.service) \(verb) \(change.sets) sets\n")
        }
        if waiting.wait {
            var wait = Waiting(client: client, options: waiting)
            try await wait.untilRunning(results)
        }
    }
}

/// A text such as `web=20`.
struct ServiceCount: ExpressibleByArgument {
    let service: String
    let sets: Int

    init?(argument: String) {
        let halves = argument.split(separator: "=", omittingEmptySubsequences: false)
        guard halves.count == 2, !halves[0].isEmpty, let sets = Int(halves[1]), sets >= 0 else {
            return nil
        }
        service = String(halves[0])
        self.sets = sets
    }
}
