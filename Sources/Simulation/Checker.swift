import Base
import ClusterModel
import ClusterState
import Consensus
import Membership
import PeerCore

/// Something that must never be, or that should have come to be and did not.
package struct Violation: Error, CustomStringConvertible {
    /// The rule (design, section 12) and what broke it.
    package let description: String

    init(_ description: String) { self.description = description }
}

/// Remembers what must not change.
struct Checker {
    /// The state's fingerprint by log index: equal on every host, at every time.
    private var fingerprints: [UInt64: UInt64] = [:]  // Only looked up, never iterated.
    /// The highest index any user was told of.
    private(set) var acknowledgedIndex = LogIndex.zero
    /// Who led in each epoch.
    private var leaders: [UInt64: HostID] = [:]  // Only looked up, never iterated.

    mutating func acknowledged(_ index: LogIndex) {
        acknowledgedIndex = max(acknowledgedIndex, index)
    }

    /// Rule 1: applied state is equal at equal indexes; a crash and a replay give the same again.
    mutating func applied(_ state: ReplicatedState, at index: LogIndex) throws(Violation) {
        let fingerprint = state.fingerprint
        if let known = fingerprints[index.value], known != fingerprint {
            throw Violation("rule 1: two hosts have applied different states at index \(index)")
        }
        fingerprints[index.value] = fingerprint
    }

    /// Rule 1: at most one leaseholder acts in an epoch.
    mutating func leads(_ host: HostID, in epoch: Epoch) throws(Violation) {
        if let known = leaders[epoch.value], known != host {
            throw Violation("rule 1: two hosts lead in epoch \(epoch)")
        }
        leaders[epoch.value] = host
    }
}

extension World {
    /// What must hold after every event.
    mutating func checkStep() throws(Violation) {
        var holders = 0
        for host in hosts.indices where hosts[host].peer?.consensus.role == .leaseholder {
            if hosts[host].peer?.consensus.holdsLease(at: now) == true { holders += 1 }
        }
        guard holders <= 1 else {
            throw Violation("rule 1: \(holders) hosts hold the lease at once")
        }
        for host in touched { try check(host) }
        touched = []
    }

    /// What must hold on a host to which something happened.
    private mutating func check(_ host: Int) throws(Violation) {
        guard let peer = hosts[host].peer else { return }
        if peer.consensus.role == .leaseholder {
            try checker.leads(peer.id, in: peer.consensus.epoch)
        }
        if hosts[host].checkedIndex != peer.appliedIndex {
            hosts[host].checkedIndex = peer.appliedIndex
            try checker.applied(peer.state, at: peer.appliedIndex)
            try checkCapacity(peer.state)
        }
        guard hosts[host].facts.capacity.fits(hosts[host].runningDemand) else {
            throw Violation("rule 4: h\(host + 1) runs more than it has")
        }
    }

    private func checkCapacity(_ state: ReplicatedState) throws(Violation) {
        for host in state.hosts where !host.registration.capacity.fits(host.allocated) {
            throw Violation("rule 4: \(host.name) is given more than it has")
        }
    }

    /// What must hold once faults have ended and time has passed.
    func checkRest() throws(Violation) {
        let peers = hosts.compactMap(\.peer)
        guard let first = peers.first else { throw Violation("no host is up") }
        for peer in peers {
            guard peer.appliedIndex == first.appliedIndex, peer.state == first.state else {
                throw Violation(
                    "rule 7: hosts rest at different states: \(peers.map { "\($0.appliedIndex)" })"
                )
            }
            guard peer.membership.aliveIDs.count == hosts.count else {
                throw Violation(
                    "rule 9: \(peer.id.short) sees \(peer.membership.aliveIDs.count) of \(hosts.count) hosts alive"
                )
            }
        }
        guard peers.count(where: { $0.consensus.role == .leaseholder }) == 1 else {
            throw Violation("rule 7: nobody leads at rest")
        }
        guard first.appliedIndex >= checker.acknowledgedIndex else {
            throw Violation(
                "rule 2: a write at index \(checker.acknowledgedIndex) was acknowledged and is lost"
            )
        }
        try checkSetsAtRest(first.state)
    }

    /// Rule 7: every runnable set runs, where it should, once; and nothing else does.
    private func checkSetsAtRest(_ state: ReplicatedState) throws(Violation) {
        for slot in state.services.flatMap(\.slots) {
            guard let placement = slot.placement else {
                guard !slot.pendingReason.isEmpty else {
                    throw Violation("rule 7: \(slot.slot) waits without a reason")
                }
                continue
            }
            guard let host = hosts.firstIndex(where: { $0.id == placement.host }),
                let set = hosts[host][slot.slot], set.placementIndex == placement.index
            else { throw Violation("rule 7: \(slot.slot) does not run on its host") }
            guard set.isRunning, slot.phase == .running else {
                throw Violation(
                    "rule 7: \(slot.slot) rests as \(slot.phase), processes \(set.isRunning)")
            }
        }
        for host in hosts.indices {
            for set in hosts[host].sets
            where state.slot(set.slot)?.placement?.index != set.placementIndex {
                throw Violation("rule 5: h\(host + 1) still runs the old \(set.slot)")
            }
        }
    }
}
