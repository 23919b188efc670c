import Base
import ClusterModel
import Wire

/// Everything the cluster agreed on: what the log's commands made, equal on every host.
///
/// A value: a copy is a snapshot. Tables are sorted arrays searched by halves, so that their
/// order, and with it the encoding and the fingerprint, is the same in every process.
package struct ReplicatedState: Equatable, Sendable {
    /// The last entry that was applied.
    package internal(set) var appliedIndex: LogIndex = .zero
    /// The lease term of that entry.
    package internal(set) var appliedEpoch: Epoch = .zero
    /// The hosts, sorted by identity.
    package internal(set) var hosts: [HostRecord] = []
    /// The services, sorted by name.
    package internal(set) var services: [ServiceRecord] = []
    /// The images, sorted by reference.
    package internal(set) var images: [ImageRecord] = []
    /// Deleted services, oldest first.
    package internal(set) var tombstones: [Tombstone] = []
    /// What each host last told of its volumes, sorted by identity.
    package internal(set) var hostVolumes: [HostVolumes] = []
    /// What is known of volumes' backups, sorted by slot, name and owner.
    package internal(set) var volumeBackups: [VolumeBackups] = []
    /// Slots on their way to another host, sorted by slot.
    package internal(set) var moves: [SlotMove] = []
    /// Moves that are over and not known to both hosts yet, oldest first.
    package internal(set) var finishedMoves: [FinishedMove] = []
    /// Sets of all services together.
    package internal(set) var setCount = 0
    /// The last events.
    var recentEvents = RecentList<Event>(maximum: Limits.events)
    /// The last requests and how they ended.
    var requests = RequestMemory()

    package init() {}

    /// The last events, oldest first.
    package var events: [Event] { recentEvents.elements }

    /// The host of this identity.
    package func host(_ id: HostID) -> HostRecord? {
        hostPosition(id).map { hosts[$0] }
    }

    /// The service of this name.
    package func service(_ name: String) -> ServiceRecord? {
        servicePosition(name).map { services[$0] }
    }

    /// The slot, if its service exists and has that many.
    package func slot(_ id: SlotID) -> SlotRecord? {
        guard let position = servicePosition(id.service), id.ordinal >= 0,
            id.ordinal < services[position].slots.count
        else { return nil }
        return services[position].slots[id.ordinal]
    }

    /// The image a reference leads to; one without tag or digest means its tag `latest`.
    package func image(_ reference: String) -> ImageRecord? {
        if let position = imagePosition(reference) { return images[position] }
        guard !ImageReference.hasTagOrDigest(reference) else { return nil }
        return imagePosition("\(reference):latest").map { images[$0] }
    }

    /// The placements on a host, sorted by slot; also those of a lost host that found no room yet.
    package func placements(on host: HostID) -> [Placement] {
        guard let position = hostPosition(host) else { return [] }
        return hosts[position].slots.compactMap { slot($0)?.placement }
    }
}

extension ReplicatedState {
    func hostPosition(_ id: HostID) -> Int? { hosts.position(of: id) { $0.registration.id } }
    func servicePosition(_ name: String) -> Int? { services.position(of: name) { $0.spec.name } }
    func imagePosition(_ reference: String) -> Int? {
        images.position(of: reference) { $0.reference }
    }
}

extension Array {
    /// The first position whose key is not below `key`, in an array sorted by that key.
    func lowerBound<Key: Comparable>(of key: Key, by keyOf: (Element) -> Key) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if keyOf(self[middle]) < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The position of the element with this key, in an array sorted by that key.
    func position<Key: Comparable>(of key: Key, by keyOf: (Element) -> Key) -> Int? {
        let position = lowerBound(of: key, by: keyOf)
        return position < count && keyOf(self[position]) == key ? position : nil
    }
}
