import ArgumentParser
import ClusterModel
import ControlAPI
import Glibc

/// `shoal volumes`.
struct VolumesCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "volumes",
        abstract: "Every volume: its host, its size, and what became of it.",
        discussion: """
            A volume belongs to its slot: web.3 runs only on the host that holds web.3/data, and
            waits for that host while it is lost. Volumes of deleted services are in the trash of
            their host until their time is up (keep-deleted in the configuration). Snapshots are
            listed as SLOT/VOLUME@LABEL.

            EXAMPLES
              shoal volumes
              shoal volumes --json | jq -r '.[] | select(.state == "trash") | .volume'
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var listing: ListingOptions
    @Argument(help: "Only the volumes of this service.")
    var service: String?

    func items(_ client: ControlClient) async throws -> [VolumeView] {
        let volumes = try await client.volumes()
        guard let service else { return volumes }
        let own = volumes.filter { $0.service == service }
        // A service without volumes has none to list; a deleted one those in the trash.
        if own.isEmpty, try await !client.services().contains(where: { $0.name == service }) {
            throw ControlError(
                .notFound, "there is no service \(service)",
                next: "`shoal services` lists those there are")
        }
        return own
    }

    func text(_ items: [VolumeView]) -> String {
        var table = Table("VOLUME", "STATE", "HOST", "CLASS", "#SIZE", "#USED", "ID")
        for volume in items {
            table.add(
                volume.volume, volume.state, volume.host, volume.class,
                Quantity.display(bytes: volume.sizeBytes),
                Quantity.display(bytes: volume.usedBytes), volume.id)
        }
        let problems = items.compactMap { volume in
            volume.problem.map {
                Output.printable("\(volume.volume) on \(volume.host): \($0)") + "\n"
            }
        }
        return table.text + (problems.isEmpty ? "" : "\n" + problems.joined())
    }
}

/// `shoal trash`.
struct TrashCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trash", abstract: "Deleted services, and the volumes that are kept of them.",
        discussion: """
            `shoal volumes` lists every volume in a trash with its identity, also those that went
            there alone: removed snapshots, and what a volume was before it was made smaller.

            EXAMPLES
              shoal trash
              shoal restore web                     brings a service back, with its volumes
              shoal trash restore 3f0c9a1be2d45788 --as test.0/data
              shoal trash rm 3f0c9a1be2d45788       removes one volume for good
            """,
        subcommands: [
            TrashListCommand.self, TrashRestoreCommand.self, TrashRemoveCommand.self,
        ],
        defaultSubcommand: TrashListCommand.self)
}

/// `shoal trash list`, which `shoal trash` is.
struct TrashListCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Deleted services, and the volumes that are kept of them.",
        discussion: """
            EXAMPLES
              shoal trash
              shoal trash --json | jq '.[].volumes'
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var listing: ListingOptions

    func items(_ client: ControlClient) async throws -> [TrashView] { try await client.trash() }

    func text(_ items: [TrashView]) -> String {
        var table = Table("SERVICE", "DELETED", "#SETS", "#VOLUMES", "#KEPT")
        for service in items {
            table.add(
                service.service, service.deletedAt, "\(service.sets)",
                "\(service.volumes.count)", Quantity.display(bytes: service.volumeBytes))
        }
        return table.text
    }
}

/// `shoal trash restore`.
struct TrashRestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Takes one volume or snapshot out of the trash.",
        discussion: """
            It gets its name back, or another. It then belongs to nobody until a slot of its name is
            made: that slot runs on its host and uses it. `shoal restore` brings back a whole service.

            EXAMPLES
              shoal trash restore 3f0c9a1be2d45788
              shoal trash restore 3f0c9a1be2d45788 --as test.0/data
            """)

    @OptionGroup var operation: VolumeOperationOptions
    @Argument(help: "The volume's identity, as `shoal volumes` shows it.")
    var id: String
    @Option(name: .customLong("as"), help: "Another name: SLOT/VOLUME.")
    var name: String?

    mutating func run() async throws {
        try await operation.report(.restore(id: id, name: name))
    }
}

/// `shoal trash rm`.
struct TrashRemoveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Removes one volume of the trash for good.",
        discussion: """
            Asks first when typed at a terminal; nothing brings the volume back afterwards.

            EXAMPLES
              shoal trash rm 3f0c9a1be2d45788
            """)

    @OptionGroup var operation: VolumeOperationOptions
    @Argument(help: "The volume's identity, as `shoal volumes` shows it.")
    var id: String
    @Flag(name: .shortAndLong, help: "Do not ask.")
    var yes = false

    mutating func run() async throws {
        if !yes, isatty(0) == 1, !confirmed() {
            Output.standardError("shoal: \(Output.printable(id)) was not removed\n")
            throw ExitCode(1)
        }
        try await operation.report(.purge(id: id))
    }

    private func confirmed() -> Bool {
        Output.standardError("Remove the volume \(Output.printable(id)) for good? [y/N] ")
        return ["y", "yes"].contains(readLine()?.lowercased() ?? "")
    }
}

/// `shoal restore`.
struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Brings a deleted service back, with its volumes.",
        discussion: """
            EXAMPLES
              shoal trash
              shoal restore web --wait
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var waiting: WaitOptions
    @Argument(help: "The deleted service.")
    var service: String

    mutating func run() async throws {
        let client = connection.client
        let result = try await client.restore(service: service)
        Output.standardOutput("\(service) restored\n")
        if waiting.wait {
            var wait = Waiting(client: client, options: waiting)
            try await wait.untilRunning([result])
        }
    }
}
