import Agent
import ArgumentParser
import FoundationEssentials

/// `shoal init`.
struct InitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Makes a new cluster on this host; prints how to join it.",
        discussion: """
            Writes identity, secret and the first log entry into the data folder, once.
            Start the host with `shoal agent` afterwards. The token lets a host join:
            keep it secret.

            EXAMPLES
              shoal init
              shoal init --data /srv/shoal --address 10.0.0.1:7400
            """)

    @OptionGroup var flags: AgentFlags

    mutating func run() async throws {
        let made = try await ClusterInitialisation.run(
            AgentConfiguration.load(
                flags: flags.given, file: flags.config,
                environment: ProcessInfo.processInfo.environment))
        Output.standardOutput(
            """
            cluster \(made.clusterID) is made, with this host as its first voter
            serve here:       shoal agent
            join other hosts: shoal agent --join \(made.address) --token \(made.joinToken)

            """)
    }
}
