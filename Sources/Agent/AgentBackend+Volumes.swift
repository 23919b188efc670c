import Base
import ClusterModel
import ClusterState
import ControlAPI

/// Volumes and deleted services, from this host's copy of the cluster's state.
extension AgentBackend {
    package func volumes() async throws -> [VolumeView] {
        let look = await look()
        return look.state.hostVolumes.flatMap { told in
            told.volumes.map { look.view(of: $0, on: told.host) }
        }.sorted { ($0.service, $0.volume, $0.id) < ($1.service, $1.volume, $1.id) }
    }

    /// What a host can promise to volumes and has promised.
    func volumeRoom(of host: HostRecord?, _ look: Look) -> [VolumeRoomView] {
        guard let host, let offer = host.volumeOffer else { return [] }
        let promised = look.state.volumesPromised(on: host.id)
        var rooms = [
            VolumeRoomView(
                classes: offer.hasLoop ? ["loop", "directory"] : ["directory"],
                capacityBytes: offer.diskBytes, promisedBytes: promised.diskBytes)
        ]
        if let pool = offer.poolBytes {
            rooms.append(
                VolumeRoomView(
                    classes: ["lvm"], capacityBytes: pool, promisedBytes: promised.poolBytes))
        }
        return rooms
    }

    package func trash() async throws -> [TrashView] {
        let look = await look()
        return look.state.tombstones.map { tombstone in
            let volumes = look.state.hostVolumes.flatMap { told in
                told.volumes.filter {
                    $0.slot.service == tombstone.service && $0.owner == tombstone.createdAt
                }.map { look.view(of: $0, on: told.host) }
            }
            return TrashView(
                service: tombstone.service, deletedAt: tombstone.time.rfc3339,
                sets: tombstone.spec.sets, volumes: volumes)
        }
    }

    package func restore(service: String) async throws -> ApplyResult {
        let index = try await write(.restoreService(service))
        let after = await look().state.service(service)
        return ApplyResult(
            service: service, revision: after?.revision ?? 0, index: index.value,
            outcome: .created)
    }
}
