import ClusterModel
import HostControl
import HostPlan
import PeerCore

extension SetKeeper {
    /// Gives a running set the limits of an order: all of them, or none and the reason is told.
    ///
    /// A volume that could not grow to this size when an earlier order asked for it stands in the
    /// way of no later one: it is left as it is, the rest comes into force, and it is said why.
    ///
    /// The record comes last: after a crash in between, the next start finds the older revision
    /// in it and changes the limits again, which is harmless.
    func resize(_ order: SetOrder) async {
        let slot = order.placement.slot
        guard let set = sets[slot] else { return }
        let before = set.record
        let late = set.volumesLeft(by: order)
        guard before.revision != order.placement.revision || !late.isEmpty else {
            sets[slot]?.resizeRefusal = ""
            sets[slot]?.refusedOrder = nil
            return
        }
        var record = before
        record.spec = order.spec.with(sizes: late)
        record.revision = order.placement.revision
        do {
            if before.revision != order.placement.revision {
                try await setLimits(of: record)
                log.info("\(slot) has the limits of revision \(order.placement.revision)")
            }
            sets[slot]?.refusedOrder = nil
            sets[slot]?.resizeRefusal = ""
            for volume in late { await growLate(volume, order, &record) }
            if record != before { try keep(record) }
            sets[slot]?.record = record
        } catch {
            log.warning("\(slot) keeps the limits it has: \(error)")
            sets[slot]?.refusedOrder = order
            sets[slot]?.resizeRefusal = "\(error)"
            do { try await setRates(of: before) } catch {
                log.error("could not give \(slot) back the limits it had: \(error)")
                sets[slot]?.resizeRefusal += "; and it could not get back what it had: \(error)"
            }
        }
    }

    /// Growth comes last, because it alone cannot be undone; what forbids it is asked before anything
    /// is changed.
    private func setLimits(of record: SetRecord) async throws {
        try await volumes.checkGrowth(record.spec.volumes, of: record.slot)
        try await setRates(of: record)
        guard try await volumes.grow(record.spec.volumes, of: record.slot) else { return }
        // A volume that grew may lie on a further disk now.
        chain(record.slot, isQuick: true) { await self.renewCaps(record.slot) }
    }

    /// All limits but the sizes of volumes.
    private func setRates(of record: SetRecord) async throws {
        try await ensureGroups(of: record)
        try await host.updateBandwidth(slot: record.slot, network: record.spec.network)
    }

    /// Tries again to grow a volume to a size that was refused before; says why when it cannot.
    private func growLate(_ left: VolumeSpec, _ order: SetOrder, _ record: inout SetRecord) async {
        guard let position = record.spec.volumes.firstIndex(where: { $0.name == left.name }),
            let wanted = order.spec.volumes.first(where: { $0.name == left.name })
        else { return }
        do {
            try await volumes.grow([wanted], of: record.slot)
            record.spec.volumes[position].sizeBytes = wanted.sizeBytes
        } catch {
            let sentence =
                "volume \(left.name) keeps \(Quantity.display(bytes: left.sizeBytes)) and does not "
                + "get the \(Quantity.display(bytes: wanted.sizeBytes)) that are wanted: \(error)"
            let told = sets[record.slot]?.resizeRefusal ?? ""
            sets[record.slot]?.resizeRefusal = told.isEmpty ? sentence : "\(told); \(sentence)"
        }
    }
}

extension SetKeeper.HostedRecord {
    /// The volumes, with the sizes they have, that are to be left as they are at first: what this
    /// order wants of them was refused to an earlier one, or is left over from this one.
    fileprivate func volumesLeft(by order: SetOrder) -> [VolumeSpec] {
        record.spec.volumes.filter { volume in
            guard let wanted = order.spec.volumes.first(where: { $0.name == volume.name }),
                wanted.sizeBytes > volume.sizeBytes
            else { return false }
            if record.revision == order.placement.revision { return true }
            guard let refused = refusedOrder,
                refused.placement.revision != order.placement.revision
            else { return false }
            return refused.spec.volumes.contains {
                $0.name == volume.name && $0.sizeBytes == wanted.sizeBytes
            }
        }
    }
}

extension ServiceSpec {
    /// The spec with the sizes that these volumes have.
    fileprivate func with(sizes: [VolumeSpec]) -> ServiceSpec {
        var spec = self
        for position in spec.volumes.indices {
            let known = sizes.first { $0.name == spec.volumes[position].name }
            spec.volumes[position].sizeBytes = known?.sizeBytes ?? spec.volumes[position].sizeBytes
        }
        return spec
    }
}
