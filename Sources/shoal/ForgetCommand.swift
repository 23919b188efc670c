import ArgumentParser
import ControlAPI

/// `shoal forget`.
struct ForgetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget", abstract: "Takes a lost host out of the cluster for good.",
        discussion: """
            Its name and its subnet are free again, and it has no vote to keep. A host that is
            alive is refused: end its agent first, and wait until it is listed as lost. Without
            --yes a host is refused, too, that holds volumes for which sets wait: they are given
            up with it. A forgotten host whose agent starts again joins as a new one.

            EXAMPLES
              shoal forget h3
              shoal forget 93c381db51           by identity, where two have one name
              shoal forget h3 --yes             with the volumes it holds
            """)

    @OptionGroup var connection: ConnectionOptions
    @Argument(help: "The host's name, or the beginning of its identity: 10 digits or more.")
    var host: String
    @Flag(name: .shortAndLong, help: "Give up the volumes it holds.")
    var yes = false

    mutating func run() async throws {
        let result = try await connection.client.forget(host: host, withVolumes: yes)
        Output.standardOutput("\(Output.printable(result.host.name)) forgotten\n")
        if !result.volumes.isEmpty {
            let names = Output.printable(result.volumes.joined(separator: ", "))
            Output.standardOutput("given up with it: \(names)\n")
        }
    }
}
