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
    /// The highest index any host has applied.
    private(set) var highestIndex = LogIndex.zero
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
        highestIndex = max(highestIndex, index)
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
            let clock = hosts[host].clock(at: now)
            if hosts[host].peer?.consensus.holdsLease(at: clock) == true { holders += 1 }
        }
        guard holders <= 1 else {
            throw Violation("rule 1: \(holders) hosts hold the lease at once")
        }
        for host in touched { try check(host) }
        touched = []
        if let broken { throw broken }
    }

    /// What must hold on a host to which something happened.
    private mutating func check(_ host: Int) throws(Violation) {
        // Never a copy of the peer: this is asked after every event.
        if hosts[host].peer?.consensus.role == .leaseholder,
            let epoch = hosts[host].peer?.consensus.epoch
        {
            try checker.leads(hosts[host].id, in: epoch)
        }
        if let index = hosts[host].peer?.appliedIndex, hosts[host].checkedIndex != index {
            hosts[host].checkedIndex = index
            guard let state = hosts[host].peer?.state else { return }
            try checker.applied(state, at: index)
            try checkCapacity(state)
        }
        guard hosts[host].facts.capacity.offered.fits(hosts[host].runningDemand) else {
            throw Violation("rule 4: h\(host + 1) runs more than it has")
        }
        if let room = options.volumeRoomBytes, hosts[host].volumeRoom.diskBytes > room {
            throw Violation(
                "rule 4: h\(host + 1) has promised \(hosts[host].volumeRoom.diskBytes >> 20) MiB to "
                    + "volumes, and has \(room >> 20) MiB")
        }
    }

    private func checkCapacity(_ state: ReplicatedState) throws(Violation) {
        for host in state.hosts where !host.registration.capacity.offered.fits(host.allocated) {
            throw Violation("rule 4: \(host.name) is given more than it has")
        }
    }

    /// Rules 5 and 6: what a host starts is placed there, and it knows all that was agreed when its
    /// agent started.
    mutating func checkOrder(_ order: SetOrder, of host: Int) {
        guard let peer = hosts[host].peer else { return }
        if peer.state.slot(order.placement.slot)?.placement != order.placement {
            broken = Violation("rule 5: h\(host + 1) starts \(order.placement.slot) unplaced")
        }
        checkCaughtUp(host, "starts \(order.placement.slot)")
    }

    /// Rule 6: what a host ends is placed there no more, by a later decision.
    mutating func checkStop(_ slot: SlotID, _ index: LogIndex, of host: Int) {
        guard let peer = hosts[host].peer else { return }
        if peer.state.slot(slot)?.placement?.index == index || peer.appliedIndex <= index {
            broken = Violation("rule 6: h\(host + 1) ends \(slot), which is placed there")
        }
        checkCaughtUp(host, "ends \(slot)")
    }

    private mutating func checkCaughtUp(_ host: Int, _ what: String) {
        guard let index = hosts[host].peer?.appliedIndex,
            index < hosts[host].clusterIndexAtStart
        else { return }
        broken = Violation(
            "rule 5: h\(host + 1) \(what) at index \(index), but \(hosts[host].clusterIndexAtStart) was agreed when its agent started"
        )
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
            let present = hosts.filter { !$0.isAway }.map(\.id).sorted()
            guard peer.membership.aliveIDs == present else {
                throw Violation(
                    "rule 9: \(peer.id.short) sees \(peer.membership.aliveIDs.count) of \(present.count) hosts alive"
                )
            }
        }
        guard peers.count(where: { $0.consensus.role == .leaseholder }) == 1 else {
            throw Violation("rule 7: nobody leads at rest")
        }
        guard first.appliedIndex == quietIndex else {
            throw Violation(
                "rule 8: the log still grows at rest: \(first.appliedIndex) after \(quietIndex.map { "\($0)" } ?? "-")"
            )
        }
        guard first.appliedIndex >= checker.acknowledgedIndex else {
            throw Violation(
                "rule 2: a write at index \(checker.acknowledgedIndex) was acknowledged and is lost"
            )
        }
        try checkVotersAtRest(first)
        try checkSetsAtRest(first.state)
    }

    /// Rule 2: an odd number votes, and from three live hosts on a majority of the voters outlives
    /// any one more host.
    ///
    /// A voter that will not return counts as what it is, dead.
    private func checkVotersAtRest(_ peer: Peer) throws(Violation) {
        let present = hosts.filter { !$0.isAway }.map(\.id)
        let voters = peer.consensus.voters
        let live = voters.count { present.contains($0) }
        let bearable = live - (voters.count / 2 + 1)
        guard voters.count % 2 == 1, voters.count <= 5, live >= min(present.count, 5) - 1,
            bearable >= (present.count >= 5 ? 2 : present.count >= 3 ? 1 : 0)
        else {
            throw Violation(
                "rule 2: \(voters.count) voters rest, \(live) of them among the "
                    + "\(present.count) live hosts")
        }
    }

    /// Rule 7: every runnable set runs, where it should, once; and nothing else does.
    private func checkSetsAtRest(_ state: ReplicatedState) throws(Violation) {
        for slot in state.services.flatMap(\.slots) {
            guard let placement = slot.placement, !slot.stranded else {
                guard !slot.pendingReason.isEmpty else {
                    throw Violation("rule 7: \(slot.slot) waits without a reason")
                }
                continue
            }
            guard let host = hosts.firstIndex(where: { $0.id == placement.host }),
                let set = hosts[host][slot.slot], set.placementIndex == placement.index
            else { throw Violation("rule 7: \(slot.slot) does not run on its host") }
            let demand = state.service(slot.slot.service)?.spec(revision: placement.revision)?
                .demand
            guard set.revision == placement.revision, slot.demand == demand else {
                throw Violation(
                    "rule 4: \(slot.slot) rests with the limits of revision \(set.revision), and "
                        + "\(placement.revision) is wanted, which takes \(slot.demand)")
            }
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
