import Base
import ClusterModel
import ClusterState
import ControlAPI
import Membership

/// Taking a host that will not come back out of the cluster.
extension AgentBackend {
    package func forget(host text: String, withVolumes: Bool) async throws -> ForgetResult {
        let look = await look()
        let host = try look.hostToForget(text)
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
    /// The host of that name, or of an identity that begins so; of several of one name the lost one.
    fileprivate func hostToForget(_ text: String) throws(ControlError) -> HostRecord {
        var found = state.hosts.filter { $0.name == text }
        if found.isEmpty, text.count >= HostID.shortestPrefix {
            found = state.hosts.filter { $0.id.description.hasPrefix(text.lowercased()) }
        }
        let lost = found.filter { $0.status == .lost }
        if found.count > 1, lost.count == 1 { found = lost }
        guard let host = found.first else {
            throw ControlError(
                .notFound, "there is no host \(text)",
                next: "`shoal hosts` lists those there are, with names and identities")
        }
        guard found.count == 1 else {
            throw ControlError(
                .refused, "\(found.count) hosts are called \(text)",
                next: "name one by its identity: "
                    + found.prefix(5).map { String($0.id.description.prefix(10)) }
                    .joined(separator: ", "))
        }
        return host
    }

    /// Volumes in use of slots that wait for this host.
    fileprivate func volumesWaitedFor(on host: HostID) -> [String] {
        state.volumes(of: host).filter { volume in
            volume.trashedAt == nil && state.slot(volume.slot)?.volumeHost == host
        }.map { "\($0.slot)/\($0.name)" }.sorted()
    }
}

extension HostID {
    /// How much of an identity names a host: what listings show.
    fileprivate static let shortestPrefix = 10
}
