import Base
import ClusterModel
import ClusterState

// MARK: - The volumes of virtual hosts

extension World {
    /// How long a virtual host keeps what is in its trash.
    private static let trashTime = Duration.seconds(15)

    /// Makes or grows what a set asks for; takes what is its own out of the trash.
    ///
    /// There is no check of room here: a host that runs what it has no room for is found by the
    /// checker.
    mutating func makeVolumes(_ host: Int, _ slot: SlotID) {
        guard let set = hosts[host][slot], !set.volumes.isEmpty else { return }
        let before = hosts[host].volumes
        for wanted in set.volumes {
            let known = hosts[host].volumes.lastIndex {
                $0.slot == slot && $0.name == wanted.name && $0.owner == set.owner
            }
            if let known {
                let size = hosts[host].volumes[known].sizeBytes
                hosts[host].volumes[known].trashedAt = nil
                hosts[host].volumes[known].sizeBytes = max(size, wanted.sizeBytes)
                continue
            }
            lastVolume += 1
            hosts[host].volumes.append(
                VolumeReport(
                    slot: slot, name: wanted.name, id: World.identity(of: lastVolume),
                    volumeClass: wanted.volumeClass, sizeBytes: wanted.sizeBytes,
                    owner: set.owner))
        }
        guard hosts[host].volumes != before else { return }
        say(host, "volumes of \(slot)")
        feed(.volumes(hosts[host].volumes), to: host)
    }

    /// Sixteen digits, so that the order of numbers is that of texts.
    private static func identity(of number: Int) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    mutating func trash(_ volumes: [VolumeReport], on host: Int) {
        for volume in volumes {
            guard
                let position = hosts[host].volumes.firstIndex(where: {
                    $0.id == volume.id && $0.trashedAt == nil
                })
            else { continue }
            hosts[host].volumes[position].trashedAt = Int(now.nanoseconds / 1_000_000_000)
            queue.schedule(
                .trashEmptied(host: host, id: hosts[host].id, volume: volume.id),
                at: now + World.trashTime)
            say(host, "\(volume.title) is in the trash")
        }
        feed(.volumes(hosts[host].volumes), to: host)
    }

    mutating func emptyTrash(_ host: Int, _ id: HostID, _ volume: String) {
        guard hosts[host].id == id,
            let position = hosts[host].volumes.firstIndex(where: { $0.id == volume }),
            hosts[host].volumes[position].trashedAt != nil
        else { return }
        hosts[host].volumes.remove(at: position)
        feed(.volumes(hosts[host].volumes), to: host)
    }

    /// Volumes that the sets of a service ask for, where this history has any.
    mutating func volumes(of service: String) -> [VolumeSpec] {
        guard options.volumeRoomBytes != nil, service != "batch" else { return [] }
        guard volumeRandom.happens(perThousand: 800) else { return [] }
        return [
            VolumeSpec(
                name: "data", sizeBytes: Int.random(in: 1...4, using: &volumeRandom) << 28,
                mount: "/data")
        ]
    }
}
