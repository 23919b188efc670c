import ArgumentParser
import ControlAPI

/// `shoal images`.
struct ImagesCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "images",
        abstract: "Every image: its digest, its size, whether this host has it.",
        discussion: """
            EXAMPLES
              shoal images
              shoal image load web.tar      adds one
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var listing: ListingOptions

    func items(_ client: ControlClient) async throws -> [ImageView] { try await client.images() }

    func text(_ items: [ImageView]) -> String { ImagesCommand.table(items) }

    /// Images as a table.
    static func table(_ images: [ImageView]) -> String {
        var table = Table("IMAGE", "#SIZE", "HERE", "DIGEST")
        for image in images {
            table.add(
                image.reference, HumanUnits.bytes(image.sizeBytes), image.present ? "yes" : "no",
                String(image.digest.prefix(19)))
        }
        return table.text
    }
}
