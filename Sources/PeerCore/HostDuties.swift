import Base
import ClusterModel
import ClusterState
import Consensus
import Membership

/// The sets on this host: what should run here against what does.
///
/// Reconciliation, not a script: every pass compares the agreed placements with what was observed
/// and orders the difference. Two rules keep running work safe. No set starts or ends before the
/// host has caught up with the leaseholder since its agent's start (a container that ended by
/// itself is started again in its set without asking anyone); and a set the state knows nothing of
/// is left alone, because absence never means delete.
struct HostDuties: Sendable {
    /// Sorted by slot.
    private(set) var sets: [(slot: SlotID, set: HostedSet)] = []
    /// False until the host has said what it found running.
    private(set) var hasInventory = false
    /// True when placements may have changed since the last pass.
    var stateChanged = true
    /// The number of the status report on its way into the log.
    var reportNumber: UInt64?
    /// The number of the registration on its way into the log.
    var registrationNumber: UInt64?
    /// When a refused registration is tried again.
    var registrationRetryAt: Instant?
    /// How long after a refusal.
    static let registrationRetry = Duration.seconds(10)
    /// True when the sets or the state changed since the reports were last compared.
    var reportIsDue = true
    /// What was reported last.
    var lastReports: [SetReport] = []
    /// The host's volumes; nil until it has said what it holds.
    var volumes: [VolumeReport]?
    /// True while the log says otherwise of the host's volumes.
    var volumesAreUntold = false
    /// Volumes that were ordered into the trash since the host last told of its volumes.
    var trashOrdered: Set<String> = []
    /// The number of the volumes' report on its way into the log.
    var volumesNumber: UInt64?
    /// What the host can promise to volumes; nil until it has said.
    var offer: VolumeOffer?
    /// The number of that offer on its way into the log.
    var offerNumber: UInt64?
    /// The offer that was sent last, and when the same is sent again.
    var lastOffer: (offer: VolumeOffer, retryAt: Instant)?
    /// True while the log says otherwise of the host's offer.
    var offerIsUntold = false
    /// What was reported of volumes last, and when the same is sent again.
    var lastVolumes: (volumes: [VolumeReport], retryAt: Instant)?
    /// When they were.
    var lastReportsAt = Instant.zero
    /// When the same reports are sent again; nil while none wait for that.
    var sameReportsAt: Instant?
    /// How long after reports that changed nothing the same ones are sent again.
    static let sameReportsRetry = Duration.seconds(10)
    /// How long an ordered restart may take before it is ordered again.
    static let restartPatience = Duration.seconds(60)
    /// The earliest thing that is due at a set; kept, because it is asked for at every input.
    private var setDeadline: Instant?

    /// The host's first word: what it found running when the agent started.
    mutating func take(
        inventory found: [SetObservation], configuration: PeerConfiguration, at now: Instant
    ) {
        hasInventory = true
        stateChanged = true
        for observation in found {
            insert(
                HostedSet(
                    placementIndex: observation.placementIndex, demand: observation.demand,
                    state: .starting), for: observation.slot)
            take(observation, configuration: configuration, at: now)
        }
    }

    /// The host's word on one set.
    ///
    /// Word on a decision that was replaced meanwhile is dropped.
    mutating func take(
        _ observation: SetObservation, configuration: PeerConfiguration, at now: Instant
    ) {
        guard let position = position(of: observation.slot),
            sets[position].set.placementIndex == observation.placementIndex
        else { return }
        stateChanged = true
        if observation.state == .gone {
            sets.remove(at: position)
        } else {
            sets[position].set.observe(observation, configuration: configuration, now: now)
        }
        setDeadline = earliestDeadline
    }

    var nextDeadline: Instant? {
        var earliest = setDeadline
        for due in [registrationRetryAt, sameReportsAt, volumesRetryAt, offerRetryAt] {
            guard let due else { continue }
            earliest = min(earliest ?? due, due)
        }
        return earliest
    }

    /// When volumes that the log does not know as they are should be told again.
    private var volumesRetryAt: Instant? {
        guard let lastVolumes, volumesAreUntold else { return nil }
        return lastVolumes.retryAt
    }

    /// When an offer that the log does not know should be told again.
    private var offerRetryAt: Instant? { offerIsUntold ? lastOffer?.retryAt : nil }

    private var earliestDeadline: Instant? {
        var earliest: Instant?
        for position in sets.indices {
            guard let due = sets[position].set.nextDeadline else { continue }
            earliest = min(earliest ?? due, due)
        }
        return earliest
    }

    /// True when a set is due for something.
    func isSetDue(at now: Instant) -> Bool { setDeadline.map { $0 <= now } ?? false }

    /// What the sets on this host take together, also those that are being ended.
    var demand: Resources { sets.reduce(Resources()) { $0 + $1.set.demand } }

    subscript(slot: SlotID) -> HostedSet? { position(of: slot).map { sets[$0].set } }

    /// Changes one set in place.
    mutating func update(_ slot: SlotID, _ change: (inout HostedSet) -> Void) {
        guard let position = position(of: slot) else { return }
        change(&sets[position].set)
        reportIsDue = true
        setDeadline = earliestDeadline
    }

    mutating func insert(_ set: HostedSet, for slot: SlotID) {
        let position = sets.partitioningIndex { $0.slot >= slot }
        if position < sets.count, sets[position].slot == slot {
            sets[position].set = set
        } else {
            sets.insert((slot, set), at: position)
        }
        setDeadline = earliestDeadline
    }

    private func position(of slot: SlotID) -> Int? {
        let position = sets.partitioningIndex { $0.slot >= slot }
        return position < sets.count && sets[position].slot == slot ? position : nil
    }
}

extension Array {
    /// The first position whose element satisfies the condition, in an array sorted by it.
    func partitioningIndex(where condition: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = low + (high - low) / 2
            if condition(self[middle]) {
                high = middle
            } else {
                low = middle + 1
            }
        }
        return low
    }
}

extension Peer {
    /// True once this host knows what the leaseholder knows, so that it may start and end sets.
    package var mayActOnState: Bool { hosted.hasInventory && consensus.hasHeardFromLeaseholder }

    mutating func performHostDuties(at now: Instant, into outputs: inout [PeerOutput]) {
        if mayActOnState, hosted.stateChanged {
            hosted.stateChanged = false
            hosted.reportIsDue = true
            endWhatMustNotRun(into: &outputs)
            startWhatIsMissing(into: &outputs)
            trashWhatIsUnwanted(into: &outputs)
            updateAllocated(at: now, into: &outputs)
        }
        // After the newest orders, so that none is repeated that was replaced just now.
        restartWhatIsDue(at: now, into: &outputs)
        guard mayActOnState else { return }
        registerIfNeeded(at: now)
        reportIfChanged(at: now)
        reportVolumesIfChanged(at: now)
        offerVolumesIfChanged(at: now)
    }

    // MARK: Starting and ending

    private mutating func startWhatIsMissing(into outputs: inout [PeerOutput]) {
        guard let host = state.host(id) else { return }
        for placement in state.placements(on: id) {
            guard
                let spec = state.service(placement.slot.service)?.spec(revision: placement.revision)
            else { continue }
            let order = SetOrder(
                placement: placement, spec: spec, subnetIndex: host.subnetIndex,
                owner: state.service(placement.slot.service)?.createdAt ?? .zero)
            guard let known = hosted[placement.slot] else {
                // What still ends here counts too: the host never runs more than it has. The
                // placement waits until the host reports that enough is gone.
                guard (facts.capacity.offered - hosted.demand).fits(spec.demand),
                    volumeShortage(for: order) == nil
                else { continue }
                hosted.insert(
                    HostedSet(
                        placementIndex: placement.index, demand: spec.demand, order: order,
                        state: .starting), for: placement.slot)
                outputs.append(.run(order))
                continue
            }
            guard known.placementIndex == placement.index, known.stopReason == nil,
                known.order?.placement.revision != placement.revision
            else { continue }
            // New limits wait for room, too, like a new set; what takes no more needs none.
            let others = hosted.demand - known.demand
            let taken = known.demand.union(spec.demand)
            guard taken == known.demand || (facts.capacity.offered - others).fits(taken),
                volumeShortage(for: order) == nil
            else { continue }
            let lastReport = state.slot(placement.slot)?.report
            hosted.update(placement.slot) {
                if $0.order == nil { $0.adopt(order, lastReport: lastReport) }
                $0.take(resized: order)
            }
            outputs.append(.run(order))
        }
    }

    private mutating func endWhatMustNotRun(into outputs: inout [PeerOutput]) {
        for (slot, set) in hosted.sets where set.stopReason == nil {
            switch state.verdict(on: slot, placementIndex: set.placementIndex, host: id) {
            case .keep:
                break
            case .stop(let reason):
                hosted.update(slot) { $0.stopReason = reason }
                outputs.append(
                    .stop(slot, placementIndex: set.placementIndex, reason: reason))
            case .unknown:
                guard !set.isToldUnknown else { break }
                hosted.update(slot) { $0.isToldUnknown = true }
                outputs.append(.note(.unknownSet(slot)))
            }
        }
    }

    private mutating func restartWhatIsDue(at now: Instant, into outputs: inout [PeerOutput]) {
        guard hosted.isSetDue(at: now) else { return }
        for (slot, set) in hosted.sets where set.stopReason == nil {
            if let retryAt = set.retryAt, retryAt <= now {
                hosted.update(slot) { $0.retryAt = nil }
                if let order = set.order {
                    hosted.update(slot) { $0.state = .starting }
                    outputs.append(.run(order))
                }
            }
            if let resizeAt = set.resizeAt, resizeAt <= now {
                hosted.update(slot) { $0.resizeAt = nil }
                if let order = set.order { outputs.append(.run(order)) }
            }
            for container in set.containers {
                guard let restartAt = container.restartAt, restartAt <= now else { continue }
                // Due again, should the order or its answer be lost; seen running, it no longer is.
                hosted.update(slot) {
                    $0.countRestart(
                        of: container.name, againAt: now + HostDuties.restartPatience)
                }
                outputs.append(
                    .restart(
                        slot, placementIndex: set.placementIndex, container: container.name))
            }
        }
    }
}
