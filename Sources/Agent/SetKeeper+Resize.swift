import ClusterModel
import HostControl
import HostPlan
import PeerCore

extension SetKeeper {
    /// Gives a running set the limits of an order: all of them, or none and the reason is told.
    ///
    /// The record comes last: after a crash in between, the next start finds the older revision
    /// in it and changes the limits again, which is harmless.
    func resize(_ order: SetOrder) async {
        let slot = order.placement.slot
        guard let before = sets[slot]?.record, before.revision != order.placement.revision else {
            sets[slot]?.resizeRefusal = ""
            return
        }
        var record = before
        record.spec = order.spec
        record.revision = order.placement.revision
        do {
            try await setLimits(of: record)
            try keep(record)
            sets[slot]?.record = record
            sets[slot]?.resizeRefusal = ""
            log.info("\(slot) has the limits of revision \(order.placement.revision)")
        } catch {
            log.warning("\(slot) keeps the limits it has: \(error)")
            sets[slot]?.resizeRefusal = "\(error)"
            do { try await setLimits(of: before) } catch {
                log.error("could not give \(slot) back the limits it had: \(error)")
            }
        }
    }

    /// Volumes first: grown ones stay so, which harms nobody should a later step fail.
    private func setLimits(of record: SetRecord) async throws {
        try await volumes.grow(record.spec, of: record.slot)
        try await ensureGroups(of: record)
        try await host.updateBandwidth(slot: record.slot, network: record.spec.network)
    }
}
