import ArgumentParser
import ControlAPI
import Glibc
import Synchronization

/// `shoal image load`.
struct ImageLoadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "load", abstract: "Gives this host's agent an image from a file or folder.",
        discussion: """
            Takes an OCI layout or a `docker save` archive: a folder, a tar or a
            tar.gz. Other hosts fetch it from this one when they need it.

            EXAMPLES
              shoal image load web.tar
              shoal image load ./layout --reference demo/web:1
              docker save demo/web:1 | shoal image load -
            """)

    @OptionGroup var connection: ConnectionOptions
    @Argument(help: "The archive or folder; - is standard input.")
    var file: String
    @Option(help: "The name to give; several for an archive with several images.")
    var reference: [String] = []

    mutating func run() async throws {
        let source = try ImageSource(file)
        let progress = UploadProgress(total: source.size)
        let images = try await connection.client.loadImage(
            references: reference, size: source.size
        ) {
            let bytes = try await source.next()
            progress.add(bytes?.count)
            return bytes
        }
        Output.standardOutput(ImagesCommand.table(images))
    }
}

/// Shows on a terminal how much of an upload has left.
final class UploadProgress: Sendable {
    private let total: Int?
    private let state = Mutex((sent: 0, shown: 0))

    /// How many bytes pass between two lines.
    private static let step = 4 << 20

    init(total: Int?) {
        self.total = total
    }

    /// Counts bytes that left; nil is the end.
    func add(_ count: Int?) {
        guard Output.errorIsTerminal else { return }
        let sent: Int? = state.withLock { state in
            state.sent += count ?? 0
            guard count == nil || state.sent - state.shown >= UploadProgress.step else {
                return nil
            }
            state.shown = state.sent
            return state.sent
        }
        guard let sent else { return }
        let whole = total.map { " of \(HumanUnits.bytes($0))" } ?? ""
        let line = "uploaded \(HumanUnits.bytes(sent))\(whole)"
        Output.standardError("\r\u{1B}[K\(count == nil ? "" : line)")
    }
}
