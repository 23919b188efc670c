import ArgumentParser
import ControlAPI

/// `shoal hosts`.
struct HostsCommand: ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "hosts", abstract: "Every host: alive or not, its role, what is free on it.",
        discussion: """
            Free amounts are what sets may still ask for, not what is idle. Volumes of class loop
            and directory share the host's disk; those in the trash take room too.

            EXAMPLES
              shoal hosts
              shoal hosts --watch
              shoal hosts --json | jq -r '.[] | select(.status != "alive") | .name'
            """)

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var listing: ListingOptions

    func items(_ client: ControlClient) async throws -> [HostView] { try await client.hosts() }

    func text(_ items: [HostView]) -> String {
        var table = Table(
            "HOST", "STATUS", "ROLE", "ADDRESS", "ZONE", "POOL", "#SETS", "#CPU FREE",
            "#MEMORY FREE", "#VOLUMES FREE", "ID")
        for host in items {
            let role = host.leaseholder ? "leaseholder" : host.voter ? "voter" : "follower"
            table.add(
                host.name, host.status, role, host.address, "\(host.datacenter)/\(host.rack)",
                host.pool, "\(host.sets)",
                "\(HumanUnits.cpu(host.cpuMillicoresFree)) of \(HumanUnits.cpu(host.cpuMillicores))",
                "\(HumanUnits.bytes(host.memoryBytesFree)) of \(HumanUnits.bytes(host.memoryBytes))",
                host.volumes.map(text).joined(separator: ", "), String(host.id.prefix(10)))
        }
        return table.text
    }

    private func text(_ room: VolumeRoomView) -> String {
        (room.classes == ["lvm"] ? "lvm " : "")
            + "\(HumanUnits.bytes(room.freeBytes)) of \(HumanUnits.bytes(room.capacityBytes))"
    }
}
