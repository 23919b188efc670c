import Base
import ClusterModel
import ClusterState
import Scheduling

/// Restoring volumes of lost hosts elsewhere, where their service says `restore-on-loss`.
extension Peer {
    /// Decides what is due; one batch is on its way at a time.
    ///
    /// How long a host is lost counts from when this leaseholder learned it: no clock is shared, and
    /// a change of the lease makes the wait longer, never shorter.
    mutating func restoreWhatIsLost(at now: Instant) {
        noteLostHosts(at: now)
        leader.restoring.removeAll { !submissions.contains($0) }
        guard leader.restoring.isEmpty, !leader.lost.isEmpty else { return }
        let lost = leader.lost
        let due = scheduler.restorations(state, usable: leader.usable) { host in
            let position = lost.partitioningIndex { $0.host >= host }
            guard position < lost.count, lost[position].host == host else { return nil }
            return now - lost[position].since
        }
        for (slot, restoration) in due {
            leader.restoring.append(
                enqueue(
                    .restoreVolumes(slot, restoration, replaces: false), ticket: nil,
                    needsLease: true, at: now))
        }
    }

    private mutating func noteLostHosts(at now: Instant) {
        let known = leader.lost
        leader.lost = state.hosts.filter { $0.status == .lost }.map { host in
            let position = known.partitioningIndex { $0.host >= host.id }
            let isKnown = position < known.count && known[position].host == host.id
            return (host.id, isKnown ? known[position].since : now)
        }
    }
}
