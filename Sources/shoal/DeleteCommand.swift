import ArgumentParser
import ControlAPI
import Glibc

/// `shoal delete`.
struct DeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Deletes a service; its sets stop.",
        discussion: """
            Asks first when typed at a terminal. With --wait it returns when the processes of all
            sets have ended; a host that does not answer is named, for its sets end only when it
            is back.

            EXAMPLES
              shoal delete web
              shoal delete web --yes --wait
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var waiting: WaitOptions
    @Argument(help: "The service.")
    var service: String
    @Flag(name: .shortAndLong, help: "Do not ask.")
    var yes = false

    mutating func run() async throws {
        let client = connection.client
        if !yes, isatty(0) == 1, !confirmed() {
            Output.standardError("shoal: \(service) was not deleted\n")
            throw ExitCode(1)
        }
        let hosts = waiting.wait ? try await hosts(client) : []
        let result = try await client.delete(service: service)
        Output.standardOutput("\(result.service) deleted\n")
        if waiting.wait {
            var wait = Waiting(client: client, options: waiting)
            try await wait.untilGone(result, from: hosts)
        }
    }

    /// The identities of the hosts that have sets of the service now.
    private func hosts(_ client: ControlClient) async throws -> [String] {
        Set(try await client.sets(service: service).compactMap(\.hostID)).sorted()
    }

    private func confirmed() -> Bool {
        Output.standardError("Delete \(Output.printable(service)) and end its sets? [y/N] ")
        return ["y", "yes"].contains(readLine()?.lowercased() ?? "")
    }
}
