import Base
import ClusterModel
import ClusterState
import ControlAPI
import Membership

/// Taking a host that will not come back out of the cluster.
extension AgentBackend {
    package func forget(host text: String, withVolumes: Bool) async throws -> ForgetResult {
        let look = await look()
        let host = try look.state.host(called: text, preferring: .lost)
        let member = look.members.first { $0.id == host.id }
        guard member?.status.isPresent != true, host.status == .lost else {
            let state = member?.status.isPresent == true ? "alive" : "not counted as lost yet"
            throw ControlError(
                .refused, "host \(host.name) is \(state) and has \(host.slots.count) sets",
                next: "end its agent and wait until `shoal hosts` calls it lost")
        }
        let held = look.volumesWaitedFor(on: host.id)
        guard held.isEmpty || withVolumes else {
            let names = held.prefix(5).joined(separator: ", ") + (held.count > 5 ? ", ..." : "")
            throw ControlError(
                .refused,
                "host \(host.name) holds \(held.count) volumes that sets wait for: \(names)",
                next: "bring it back, or bring the volumes back from backups first; "
                    + "`shoal forget \(text) --yes` gives them up")
        }
        let index = try await write(.forgetHost(host.id))
        return ForgetResult(
            host: HostReference(id: host.id.description, name: host.name), index: index.value,
            volumes: held)
    }
}

extension AgentBackend.Look {
    /// Volumes in use of slots that wait for this host.
    fileprivate func volumesWaitedFor(on host: HostID) -> [String] {
        state.volumes(of: host).filter { volume in
            volume.trashedAt == nil && state.slot(volume.slot)?.volumeHost == host
        }.map { "\($0.slot)/\($0.name)" }.sorted()
    }
}
