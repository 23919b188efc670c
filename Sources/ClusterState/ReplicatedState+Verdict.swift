import Base
import ClusterModel

extension ReplicatedState {
    /// What a host should do with a set that it runs for the decision at `placementIndex`.
    ///
    /// Only a newer fact of the log stops a set: another placement, fewer slots, a tombstone.
    /// Where the log says nothing, or this copy of it is older than the decision, the answer is
    /// `unknown` and the set keeps running: absence never means delete.
    package func verdict(
        on slot: SlotID, placementIndex: LogIndex, host: HostID
    ) -> SetVerdict {
        guard placementIndex <= appliedIndex else { return .unknown }
        guard let service = service(slot.service) else {
            let deleted = tombstones.last { $0.service == slot.service }
            guard let deleted, deleted.index > placementIndex else { return .unknown }
            return .stop(reason: "service \(slot.service) was deleted")
        }
        guard service.createdAt <= placementIndex else {
            return .stop(reason: "service \(slot.service) was deleted and created again")
        }
        guard service.slots.indices.contains(slot.ordinal) else {
            guard service.shrunkAt > placementIndex else { return .unknown }
            return .stop(reason: "service \(slot.service) has only \(service.slots.count) sets")
        }
        return verdict(service.slots[slot.ordinal], placementIndex, host)
    }

    private func verdict(
        _ record: SlotRecord, _ placementIndex: LogIndex, _ id: HostID
    ) -> SetVerdict {
        if let placement = record.placement, placement.index == placementIndex {
            return placement.host == id ? .keep : .unknown
        }
        guard record.changedAt > placementIndex else { return .unknown }
        guard let placement = record.placement else {
            return .stop(reason: "the slot was taken from this host: \(record.pendingReason)")
        }
        guard placement.host != id else {
            return .stop(reason: "a newer decision for this host replaces it")
        }
        let name = host(placement.host)?.name ?? placement.host.short
        return .stop(reason: "the slot moved to host \(name)")
    }
}
