import ArgumentParser
import ControlAPI
import Glibc

/// The one program: the agent, and the commands that talk to it.
@main
struct Shoal: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shoal",
        abstract: "Runs services on a group of hosts that need no master.",
        discussion: """
            EXAMPLES
              shoal init                        a new cluster, on this host
              shoal agent                       serve (elsewhere: --join, --token)
              shoal status                      the cluster as this host knows it
              shoal apply -f web.yaml --wait    create a service and see it run
              shoal sets web                    where its sets run, and why not

            Every listing takes --json and --watch. All commands but init and agent
            talk to this host's agent; --socket PATH or SHOAL_SOCKET names another.
            Exit status: 0 done, 1 refused or failed, 64 wrong usage.
            """,
        version: "shoal \(ShoalVersion.text)",
        groupedSubcommands: [
            CommandGroup(
                name: "This host",
                subcommands: [InitCommand.self, AgentCommand.self, VersionCommand.self]),
            CommandGroup(
                name: "See",
                subcommands: [
                    StatusCommand.self, HostsCommand.self, ServicesCommand.self, SetsCommand.self,
                    VolumesCommand.self, EventsCommand.self, TopCommand.self, ExplainCommand.self,
                    ImagesCommand.self,
                    TrashCommand.self,
                ]),
            CommandGroup(
                name: "Change",
                subcommands: [
                    ApplyCommand.self, ScaleCommand.self, ResizeCommand.self,
                    VolumeCommand.self, DeleteCommand.self, RestoreCommand.self,
                    ImageCommand.self, ForgetCommand.self,
                ]),
            CommandGroup(
                name: "Look inside", subcommands: [LogsCommand.self, ExecCommand.self]),
        ])

    /// Runs the command line; every failure leaves as `shoal: sentence` on standard error.
    static func main() async {
        openStandardStreams()
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch let error as ControlError {
            Output.report(error)
            Glibc.exit(1)
        } catch let code as ExitCode {
            Glibc.exit(code.rawValue)
        } catch {
            leave(with: error)
        }
    }

    /// Makes sure that descriptors 0, 1 and 2 are open, were it on nothing (`shoal ... <&-`).
    ///
    /// The first sockets of the program would get their numbers, and what is read from standard
    /// input or printed would be theirs.
    private static func openStandardStreams() {
        for descriptor in Int32(0)...2 where fcntl(descriptor, F_GETFD) < 0 {
            // The lowest number that is free: this one.
            _ = open("/dev/null", descriptor == 0 ? O_RDONLY : O_WRONLY)
        }
    }

    private static func leave(with error: any Error) -> Never {
        let code = exitCode(for: error)
        guard code == .validationFailure || code == .success else {
            Output.standardError("shoal: \(error)\n")
            Glibc.exit(1)
        }
        let message = fullMessage(for: error)
        guard code == .validationFailure else {
            Output.standardOutput(message + "\n")
            Glibc.exit(0)
        }
        let prefix = "Error: "
        let sentence = message.hasPrefix(prefix) ? message.dropFirst(prefix.count) : message[...]
        Output.standardError("shoal: \(sentence)\n")
        Glibc.exit(64)
    }
}
