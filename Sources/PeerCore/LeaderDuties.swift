import Base
import ClusterModel
import ClusterState
import Consensus
import Membership
import Scheduling

/// What only the leaseholder does: turn liveness into decisions, and write them into the log.
///
/// It acts only while it holds the lease and has applied everything up to its own epoch, so it
/// never decides from an old picture. One batch of placements is on its way at a time.
struct LeaderDuties: Sendable {
    /// Since when this host leads; nil while it does not.
    private(set) var since: Instant?
    /// True when a host came, went or was judged since the hosts were last looked at.
    var hostsChanged = true
    /// True when the state changed since the last pass.
    private(set) var stateChanged = true
    /// The request numbers of decisions on their way into the log.
    var inFlight: [UInt64] = []
    /// The verdicts on hosts on their way into the log: host and request number.
    var verdicts: [(host: HostID, number: UInt64)] = []
    /// Active hosts of which gossip knows nothing that would say how they are, sorted; since when.
    var unseen: [(host: HostID, since: Instant)] = []
    /// Lost hosts, sorted, and since when this leaseholder has known.
    var lost: [(host: HostID, since: Instant)] = []
    /// The requests to restore volumes on their way into the log.
    var restoring: [UInt64] = []
    /// The hosts that new sets may go to, sorted.
    var usable: [HostID] = []
    /// When the duties are looked at again without an event.
    var lookAgainAt: Instant?
    /// The followers last given to the log.
    var followers: [HostID] = []
    /// The voters last wanted.
    var wantedVoters: [HostID] = []

    /// How often the duties are looked at when nothing happens: for hosts never heard of.
    static let interval = Duration.seconds(1)
    /// How often a leader without a valid lease looks whether it has one again.
    static let leaseInterval = Duration.milliseconds(100)

    mutating func roleChanged(leads: Bool, at now: Instant) {
        guard leads != (since != nil) else { return }
        self = LeaderDuties()
        since = leads ? now : nil
    }

    mutating func applied(_ entry: CommandEnvelope, own: Bool) {
        stateChanged = true
        if entry.command.isAboutHosts { hostsChanged = true }
        guard own else { return }
        inFlight.removeAll { $0 == entry.request.number }
        verdicts.removeAll { $0.number == entry.request.number }
    }

    mutating func stateReplaced() {
        stateChanged = true
        hostsChanged = true
    }

    /// True when there may be something to do.
    ///
    /// Hosts are looked at only when one of them changed or the interval is over, because that takes time for each of them.
    mutating func startPass(at now: Instant) -> Bool {
        if (lookAgainAt ?? now) <= now { hostsChanged = true }
        guard stateChanged || hostsChanged else { return false }
        stateChanged = false
        if hostsChanged { lookAgainAt = now + LeaderDuties.interval }
        return true
    }

    /// The lease is not held just now: what waits is done when it is.
    mutating func postpone(at now: Instant) {
        if (lookAgainAt ?? now) <= now { lookAgainAt = now + LeaderDuties.leaseInterval }
    }

    var nextDeadline: Instant? { since == nil ? nil : lookAgainAt }
}

extension Peer {
    mutating func performLeaderDuties(at now: Instant, into outputs: inout [PeerOutput]) {
        guard leader.since != nil else { return }
        guard consensus.holdsLease(at: now), appliedEpoch == consensus.epoch else {
            leader.postpone(at: now)
            return
        }
        guard leader.startPass(at: now) else { return }
        if leader.hostsChanged {
            leader.hostsChanged = false
            let alive = membership.aliveIDs
            replicate(to: alive, at: now, into: &outputs)
            judgeHosts(at: now)
            chooseVoters(alive: alive, at: now, into: &outputs)
            // A suspect keeps what it has, but gets nothing new.
            leader.usable = alive.filter { membership.member($0)?.status == .alive }
            restoreWhatIsLost(at: now)
        }
        place(at: now)
    }

    /// Every live host follows the log, voter or not.
    private mutating func replicate(
        to alive: [HostID], at now: Instant, into outputs: inout [PeerOutput]
    ) {
        let voters = consensus.voters
        let followers = alive.filter { $0 != id && !voters.contains($0) }
        guard followers != leader.followers else { return }
        leader.followers = followers
        log(.setFollowers(followers), at: now, into: &outputs)
    }

    /// Places what waits, one batch on its way at a time.
    private mutating func place(at now: Instant) {
        leader.inFlight.removeAll { !submissions.contains($0) }
        guard leader.inFlight.isEmpty, leader.verdicts.isEmpty else { return }
        let decisions = scheduler.plan(
            state, usable: leader.usable, maximum: configuration.decisionsMax)
        guard !decisions.isEmpty else { return }
        leader.inFlight.append(
            enqueue(
                .decide(basedOn: appliedIndex, decisions: decisions), ticket: nil,
                needsLease: true, at: now))
    }
}

extension Command {
    /// True for what changes which hosts there are, or how they are.
    fileprivate var isAboutHosts: Bool {
        switch self {
        case .registerHost, .declareHostLost, .declareHostReturned, .forgetHost: true
        default: false
        }
    }
}
