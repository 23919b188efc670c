import ArgumentParser
import ClusterModel
import ControlAPI
import Glibc

/// `shoal exec`.
struct ExecCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec", abstract: "Runs a command in a container, wherever it runs.",
        discussion: """
            Standard input, output and error are the command's; there is no terminal
            in between. The exit status is the command's: 128 plus the signal when one
            ended it, 127 when the container has no such program, 126 when it has one
            that cannot be run.

            EXAMPLES
              shoal exec web.3 -- ls -l /
              shoal exec web.3 -c app -- sh -c 'cat > /tmp/x' < x
            """)

    @OptionGroup var connection: ConnectionOptions
    @Argument(help: "The set, such as web.3.")
    var slot: String
    @Option(name: .shortAndLong, help: "The container; the set's first if not named.")
    var container: String?
    @Flag(name: .customShort("n"), help: "Give the command no standard input.")
    var noInput = false
    @Argument(parsing: .postTerminator, help: "The command and its arguments, after --.")
    var command: [String] = []

    func validate() throws {
        guard SlotID(slot) != nil else {
            throw ValidationError("'\(slot)' is not a set such as web.3")
        }
        guard let program = command.first, !program.isEmpty else {
            throw ValidationError("name the command after --, as in: shoal exec \(slot) -- ls")
        }
    }

    mutating func run() async throws {
        guard let slot = SlotID(slot) else { return }
        let terminal = DescriptorBytes(0, name: "standard input")
        let input: @Sendable () async throws -> [UInt8]? = { try await terminal.next() }
        let code = try await connection.client.exec(
            ExecRequest(slot: slot, container: container, command: command),
            input: noInput ? nil : input
        ) { output in
            switch output {
            case .standardOutput(let bytes): Output.write(bytes, to: 1)
            case .standardError(let bytes): Output.write(bytes, to: 2)
            case .exit: break
            }
        }
        // Not by returning: a thread may still wait for standard input.
        Glibc.exit(code)
    }
}
