import Agent
import ArgumentParser
import FoundationEssentials

/// `shoal agent`.
struct AgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent", abstract: "Joins the cluster and serves, until a signal ends it.",
        discussion: """
            Containers go on running when it ends, and are taken over by the next
            start. The first start of a joining host needs --join and --token; later
            ones know their cluster. Every flag is also a key of the configuration
            file (/etc/shoal/shoal.yaml, or --config) and a variable, such as
            SHOAL_CGROUP_ROOT.

            EXAMPLES
              shoal agent
              shoal agent --join 10.0.0.1:7400 --token shoal1-...
              shoal agent --name h1 --datacenter dc1 --rack r7 --memory 6Gi
            """)

    @Option(help: ArgumentHelp("A host of the cluster; may be repeated.", valueName: "host:port"))
    var join: [String] = []
    @Option(help: "What `shoal init` printed.")
    var token: String?
    @Option(help: ArgumentHelp("A file that holds the token.", valueName: "file"))
    var tokenFile: String?
    @OptionGroup var flags: AgentFlags

    /// What was given, by key of the configuration file.
    var given: [String: String] {
        var given = flags.given
        if !join.isEmpty { given["join"] = join.joined(separator: ",") }
        if let token { given["token"] = token }
        if let tokenFile { given["token-file"] = tokenFile }
        return given
    }

    mutating func run() async throws {
        try await AgentProcess.run(
            AgentConfiguration.load(
                flags: given, file: flags.config,
                environment: ProcessInfo.processInfo.environment))
    }
}
