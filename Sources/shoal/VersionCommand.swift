import ArgumentParser
import ControlAPI

/// `shoal version`.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Prints the version of this program.",
        discussion: """
            EXAMPLES
              shoal version
            """)

    func run() {
        Output.standardOutput("shoal \(ShoalVersion.text)\n")
    }
}
