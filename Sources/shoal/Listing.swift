import ArgumentParser
import ControlAPI
import FoundationEssentials
import Glibc

/// How a command finds the agent.
struct ConnectionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The agent's socket; SHOAL_SOCKET names it too.", valueName: "path"))
    var socket: String?

    /// A client of that agent.
    var client: ControlClient {
        let variable = getenv("SHOAL_SOCKET").map { String(cString: $0) } ?? ""
        let named = socket ?? (variable.isEmpty ? nil : variable)
        return ControlClient(socketPath: named ?? ControlClient.defaultSocketPath)
    }
}

/// How a listing is printed.
struct ListingOptions: ParsableArguments {
    @Flag(help: "Print an array of objects, quantities in base units.")
    var json = false

    @Flag(help: "Print anew every second until Ctrl-C; with --json one array a line, on change.")
    var watch = false
}

/// A command that prints a list of objects.
protocol ListingCommand: AsyncParsableCommand {
    associatedtype Item: Encodable & Sendable

    var connection: ConnectionOptions { get }
    var listing: ListingOptions { get }

    /// Asks the agent.
    func items(_ client: ControlClient) async throws -> [Item]
    /// The items for people.
    func text(_ items: [Item]) -> String
}

extension ListingCommand {
    mutating func run() async throws {
        let client = connection.client
        guard listing.watch else {
            let items = try await items(client)
            Output.standardOutput(listing.json ? try jsonText(items) : text(items))
            return
        }
        var shown = try await show(client, after: nil)
        while true {
            try await Task.sleep(for: .seconds(1))
            do {
                shown = try await show(client, after: shown)
            } catch let error as ControlError {
                // The agent may come back: that is what one watches for.
                if shown != "" { Output.report(error) }
                shown = ""
            }
        }
    }

    /// Prints what has changed; a terminal is drawn anew.
    private func show(_ client: ControlClient, after shown: String?) async throws -> String {
        let items = try await items(client)
        let text = listing.json ? try jsonText(items) : text(items)
        if Output.isTerminal, !listing.json {
            Output.standardOutput("\u{1B}[H\u{1B}[2J" + text)
        } else if text != shown {
            let gap = shown == nil || listing.json ? "" : "\n"
            Output.standardOutput(gap + text)
        }
        return text
    }

    private func jsonText(_ items: [Item]) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting =
            listing.watch
            ? [.sortedKeys, .withoutEscapingSlashes]
            : [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(items), as: UTF8.self) + "\n"
    }
}
