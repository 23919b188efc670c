import ArgumentParser
import ControlAPI
import FoundationEssentials

/// `shoal logs`.
struct LogsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs", abstract: "What containers wrote, wherever they run.",
        discussion: """
            Lines written to standard error go to standard error here too. Without --tail it begins
            with the last 1000 lines of each container. A container's log is started afresh at
            16 MiB. Of a host that does not answer it says so at the end, and exits with 1.

            EXAMPLES
              shoal logs web               all sets of the service
              shoal logs web.3 -f          one set, going on
              shoal logs web.3/app --tail 100
            """)

    @OptionGroup var connection: ConnectionOptions
    @Argument(help: "SERVICE, SLOT or SLOT/CONTAINER.")
    var target: String
    @Flag(name: .shortAndLong, help: "Go on with lines as they come, until Ctrl-C.")
    var follow = false
    @Option(help: "Begin with so many of each container's last lines, at most 100000.")
    var tail: Int?
    @Flag(name: .shortAndLong, help: "Put the time before each line.")
    var timestamps = false
    @Flag(help: "Print one object a line.")
    var json = false

    func validate() throws {
        guard LogRequest(target: target) != nil else {
            throw ValidationError("'\(target)' is not SERVICE, SLOT or SLOT/CONTAINER")
        }
        guard (0...LogRequest.tailMax).contains(tail ?? 0) else {
            throw ValidationError("--tail must be from 0 to \(LogRequest.tailMax)")
        }
    }

    mutating func run() async throws {
        guard let request = LogRequest(target: target, follow: follow, tail: tail) else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try await connection.client.logs(request) { line in
            if json {
                Output.write(Array(try encoder.encode(line)) + [0x0A], to: 1)
                return
            }
            var text = timestamps ? line.time + " " : ""
            if request.ordinal == nil {
                text += "\(line.slot)/\(line.container) | "
            } else if request.container == nil {
                text += "\(line.container) | "
            }
            let bytes = Array((text + line.text + "\n").utf8)
            Output.write(bytes, to: line.stream == "stderr" ? 2 : 1)
        }
    }
}
