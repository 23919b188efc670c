import Base
import ClusterModel

/// What the volumes of one set ask of one host.
package struct VolumeNeed: Equatable, Sendable {
    /// The host that a slot's volumes are on.
    package struct Holder: Equatable, Sendable {
        /// Its identity.
        package var id: HostID
        /// Its name, for people.
        package var name: String

        package init(id: HostID, name: String) {
            self.id = id
            self.name = name
        }
    }

    /// The classes of the set's volumes.
    package var classes: [VolumeClass] = []
    /// What is to be promised to them beyond what they have there.
    package var room = VolumeRoom()
    /// Where they are; nil while they are nowhere yet.
    package var holder: Holder?

    /// The need of a set without volumes.
    package init() {}

    /// The need of a set whose volumes are nowhere yet.
    package init(_ volumes: [VolumeSpec]) {
        classes = volumes.map(\.volumeClass)
        room = VolumeRoom(volumes)
    }
}

extension VolumeOffer {
    /// What is missing for volumes beside what is promised; nil when they fit.
    ///
    /// What has its room already needs no more, also on a host that promised too much.
    package func shortage(for need: VolumeNeed, promised: VolumeRoom) -> PlacementObstacle? {
        if need.classes.contains(.lvm), poolBytes == nil { return .lacksThinPool }
        if need.classes.contains(.loop), !hasLoop { return .lacksLoopDevices }
        let free = VolumeRoom(diskBytes: diskBytes, poolBytes: poolBytes ?? 0).beyond(promised)
        if need.room.poolBytes > free.poolBytes {
            return .lacksVolumeRoom(
                .lvm, freeBytes: free.poolBytes, ofBytes: poolBytes ?? 0)
        }
        if need.room.diskBytes > free.diskBytes {
            let named = need.classes.first { $0 != .lvm } ?? .loop
            return .lacksVolumeRoom(named, freeBytes: free.diskBytes, ofBytes: diskBytes)
        }
        return nil
    }
}

/// The volumes that a host holds, looked up by the slot they belong to.
package struct VolumeLedger: Sendable {
    /// What all of them take, those in the trash too.
    package let held: VolumeRoom
    /// Sorted by slot, then name, then identity.
    private let volumes: [VolumeReport]

    package init(_ volumes: [VolumeReport]) {
        held = volumes.reduce(VolumeRoom()) { $0 + VolumeRoom($1.sizeBytes, of: $1.volumeClass) }
        self.volumes = volumes.sorted { ($0.slot, $0.name, $0.id) < ($1.slot, $1.name, $1.id) }
    }

    /// What a slot's volumes need beyond what they have here.
    ///
    /// A set takes its volume out of the trash when the service is the one it was made for, and one
    /// that belongs to nobody as its own.
    package func growth(
        of slot: SlotID, to wanted: [VolumeSpec], owner: LogIndex
    ) -> VolumeRoom {
        wanted.reduce(VolumeRoom()) { sum, volume in
            let known = size(of: volume, slot: slot, owner: owner)
            return sum
                + VolumeRoom(volume.sizeBytes, of: volume.volumeClass)
                .beyond(VolumeRoom(known, of: volume.volumeClass))
        }
    }

    /// The size of the volume that the slot's set would use; 0 when it would be made.
    private func size(of wanted: VolumeSpec, slot: SlotID, owner: LogIndex) -> Int {
        var best: VolumeReport?
        var position = volumes.lowerBound(of: slot) { $0.slot }
        while position < volumes.count, volumes[position].slot == slot {
            let volume = volumes[position]
            position += 1
            guard volume.name == wanted.name, volume.snapshot == nil,
                volume.owner == owner || volume.isSpare, volume.volumeClass == wanted.volumeClass
            else { continue }
            if let known = best, !volume.isBefore(known) { continue }
            best = volume
        }
        return best?.sizeBytes ?? 0
    }
}

extension VolumeReport {
    /// In use comes first, then what went into the trash last.
    fileprivate func isBefore(_ other: VolumeReport) -> Bool {
        guard let trashedAt else { return other.trashedAt != nil }
        return other.trashedAt.map { trashedAt > $0 } ?? false
    }
}

extension ReplicatedState {
    /// What a host has promised to volumes: those it holds, in its trash too, and what those of the
    /// sets placed there are still to get.
    package func volumesPromised(on host: HostID) -> VolumeRoom {
        hostPosition(host).map { volumesPromised(on: $0, VolumeLedger(volumes(of: host))) }
            ?? VolumeRoom()
    }

    /// The same for the host at a position, `ledger` being of its volumes, without what a slot is
    /// still to get.
    func volumesPromised(
        on host: Int, _ ledger: VolumeLedger, without spared: SlotID? = nil
    ) -> VolumeRoom {
        var promised = ledger.held
        for slot in hosts[host].slots where slot != spared {
            guard let position = servicePosition(slot.service),
                services[position].slots.indices.contains(slot.ordinal),
                let revision = services[position].slots[slot.ordinal].placement?.revision,
                let spec = services[position].spec(revision: revision), !spec.volumes.isEmpty
            else { continue }
            promised =
                promised
                + ledger.growth(
                    of: slot, to: spec.volumes, owner: services[position].createdAt)
        }
        return promised
    }

    /// What the volumes of a slot need on the host whose volumes are in `ledger`.
    package func volumeNeed(
        of slot: SlotRecord, _ spec: ServiceSpec, owner: LogIndex, beside ledger: VolumeLedger
    ) -> VolumeNeed {
        guard !spec.volumes.isEmpty else { return VolumeNeed() }
        var need = VolumeNeed(spec.volumes)
        need.room = ledger.growth(of: slot.slot, to: spec.volumes, owner: owner)
        need.holder = slot.volumeHost.map {
            VolumeNeed.Holder(id: $0, name: host($0)?.name ?? $0.short)
        }
        return need
    }

    /// Takes in what a host can promise to volumes.
    mutating func take(
        _ offer: VolumeOffer, of id: HostID, _ bootEpoch: BootEpoch, _ change: inout Change
    ) throws(CommandRefusal) {
        guard let position = hostPosition(id) else {
            throw CommandRefusal(.hostUnknown, "host \(id.short) is not registered")
        }
        guard offer.isSane else {
            throw CommandRefusal(.invalid, "what it offers to volumes is out of range")
        }
        guard bootEpoch >= hosts[position].bootEpoch, hosts[position].volumeOffer != offer else {
            return
        }
        hosts[position].volumeOffer = offer
        change.note(.hostChanged, hosts[position].name, "offers \(offer.summary)")
    }
}

extension VolumeOffer {
    /// The offer in words.
    var summary: String {
        "\(Quantity.display(bytes: diskBytes)) for \(hasLoop ? "loop and directory" : "directory") "
            + "volumes, "
            + (poolBytes.map { "\(Quantity.display(bytes: $0)) for lvm volumes" }
                ?? "no thin pool for lvm volumes")
    }
}
