import ArgumentParser
import ClusterModel
import ControlAPI

/// `shoal volumes`.
struct VolumesCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "volumes",
        abstract: "Every volume: its host, its size, and what became of it.",
        discussion: """
            A volume belongs to its slot: web.3 runs only on the host that holds web.3/data, and
            waits for that host while it is lost. Volumes of deleted services are in the trash of
            their host until their time is up (keep-deleted in the configuration).

            EXAMPLES
              shoal volumes
              shoal volumes --json | jq -r '.[] | select(.state == "trash") | .volume'
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var listing: ListingOptions
    @Argument(help: "Only the volumes of this service.")
    var service: String?

    func items(_ client: ControlClient) async throws -> [VolumeView] {
        try await client.volumes().filter { service == nil || $0.service == service }
    }

    func text(_ items: [VolumeView]) -> String {
        var table = Table("VOLUME", "STATE", "HOST", "CLASS", "#SIZE", "#USED", "ID")
        for volume in items {
            table.add(
                volume.volume, volume.state, volume.host, volume.class,
                Quantity.display(bytes: volume.sizeBytes),
                Quantity.display(bytes: volume.usedBytes), volume.id)
        }
        return table.text
    }
}

/// `shoal trash`.
struct TrashCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "trash", abstract: "Deleted services, and the volumes that are kept of them.",
        discussion: """
            EXAMPLES
              shoal trash
              shoal restore web          brings it back, with its volumes
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
