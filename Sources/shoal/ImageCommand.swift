import ArgumentParser

/// `shoal image`: what can be done with images; only `load` as yet.
struct ImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image", abstract: "Loads images; `images` lists them.",
        discussion: """
            EXAMPLES
              shoal image load web.tar
            """,
        subcommands: [ImageLoadCommand.self])
}
