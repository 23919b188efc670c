import Base
import ClusterModel
import ClusterState
import Consensus
import Membership

/// The sets on this host: what should run here against what does.
///
/// Reconciliation, not a script: every pass compares the agreed placements with what was observed
/// and orders the difference. Two rules keep running work safe. Nothing starts or ends before the
/// host has caught up with the leaseholder since its agent's start; and a set the state knows
/// nothing of is left alone, because absence never means delete.
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
    /// Sets of which the operator was told that nobody knows them.
    var toldUnknown: [SlotID] = []

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

    /// The host's word on one set. Word on a decision that was replaced meanwhile is dropped.
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
    }

    var nextDeadline: Instant? {
        var earliest: Instant?
        for entry in sets {
            guard let due = entry.set.nextDeadline else { continue }
            earliest = min(earliest ?? due, due)
        }
        return earliest
    }

    /// What the sets on this host take together, also those that are being ended.
    var demand: Resources { sets.reduce(Resources()) { $0 + $1.set.demand } }

    subscript(slot: SlotID) -> HostedSet? { position(of: slot).map { sets[$0].set } }

    /// Changes one set in place.
    mutating func update(_ slot: SlotID, _ change: (inout HostedSet) -> Void) {
        guard let position = position(of: slot) else { return }
        change(&sets[position].set)
    }

    mutating func insert(_ set: HostedSet, for slot: SlotID) {
        let position = sets.partitioningIndex { $0.slot >= slot }
        if position < sets.count, sets[position].slot == slot {
            sets[position].set = set
        } else {
            sets.insert((slot, set), at: position)
        }
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
    var mayActOnState: Bool { hosted.hasInventory && consensus.hasHeardFromLeaseholder }

    mutating func performHostDuties(at now: Instant, into outputs: inout [PeerOutput]) {
        restartWhatIsDue(at: now, into: &outputs)
        guard mayActOnState else { return }
        if hosted.stateChanged {
            hosted.stateChanged = false
            endWhatMustNotRun(into: &outputs)
            startWhatIsMissing(into: &outputs)
            updateAllocated(at: now, into: &outputs)
        }
        registerIfNeeded(at: now)
        reportIfChanged(at: now)
    }

    // MARK: Starting and ending

    private mutating func startWhatIsMissing(into outputs: inout [PeerOutput]) {
        guard let host = state.host(id) else { return }
        for placement in state.placements(on: id) {
            guard let spec = state.service(placement.slot.service)?.spec(revision: placement.revision)
            else { continue }
            let order = SetOrder(
                placement: placement, spec: spec, subnetIndex: host.subnetIndex)
            guard let known = hosted[placement.slot] else {
                // What still ends here counts too: the host never runs more than it has. The
                // placement waits until the host reports that enough is gone.
                guard (facts.capacity - hosted.demand).fits(spec.demand) else { continue }
                hosted.insert(
                    HostedSet(
                        placementIndex: placement.index, demand: spec.demand, order: order,
                        state: .starting), for: placement.slot)
                outputs.append(.run(order))
                continue
            }
            guard known.placementIndex == placement.index, known.order == nil else { continue }
            hosted.update(placement.slot) { $0.order = order }
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
                guard !hosted.toldUnknown.contains(slot) else { break }
                hosted.toldUnknown.append(slot)
                outputs.append(.note(.unknownSet(slot)))
            }
        }
    }

    private mutating func restartWhatIsDue(at now: Instant, into outputs: inout [PeerOutput]) {
        guard let due = hosted.nextDeadline, due <= now else { return }
        for (slot, set) in hosted.sets where set.stopReason == nil {
            if let retryAt = set.retryAt, retryAt <= now {
                hosted.update(slot) { $0.retryAt = nil }
                if let order = set.order {
                    hosted.update(slot) { $0.state = .starting }
                    outputs.append(.run(order))
                }
            }
            for container in set.containers {
                guard let restartAt = container.restartAt, restartAt <= now else { continue }
                hosted.update(slot) { $0.countRestart(of: container.name) }
                outputs.append(
                    .restart(
                        slot, placementIndex: set.placementIndex, container: container.name))
            }
        }
    }

    // MARK: Saying what is

    /// Gossips what the admitted sets hold, so that others see what is free.
    private mutating func updateAllocated(at now: Instant, into outputs: inout [PeerOutput]) {
        let allocated = state.host(id)?.allocated ?? Resources()
        guard facts.allocated != allocated else { return }
        facts.allocated = allocated
        facts.version += 1
        gossip(.updateFacts(facts), at: now, into: &outputs)
    }

    /// Makes the log know this host as it is.
    private mutating func registerIfNeeded(at now: Instant) {
        let registration = HostRegistration(
            id: id, bootEpoch: bootEpoch, name: facts.name, address: address,
            capacity: facts.capacity, zone: facts.zone, pool: facts.pool,
            agentVersion: facts.agentVersion)
        if let known = state.host(id), known.registration == registration { return }
        if let number = hosted.registrationNumber, submissions.contains(number) { return }
        if let retryAt = hosted.registrationRetryAt, now < retryAt { return }
        hosted.registrationNumber = enqueue(
            .registerHost(registration), ticket: nil, at: now)
    }

    /// A refused registration is tried again after a while: the operator may mend the cause.
    mutating func registrationAnswered(
        _ outcome: CommandOutcome, at now: Instant, into outputs: inout [PeerOutput]
    ) {
        guard case .refused(let refusal) = outcome.result else { return }
        hosted.registrationRetryAt = now + HostDuties.registrationRetry
        outputs.append(.note(.registrationRefused(refusal.message)))
    }

    /// Sends what changed in the status of this host's sets: transitions, never heartbeats.
    private mutating func reportIfChanged(at now: Instant) {
        if let number = hosted.reportNumber, submissions.contains(number) { return }
        var reports: [SetReport] = []
        for (slot, set) in hosted.sets {
            let report = set.report(for: slot)
            guard let record = state.slot(slot), let placement = record.placement,
                placement.host == id, placement.index == set.placementIndex,
                !report.matches(record.report)
            else { continue }
            reports.append(report)
        }
        guard !reports.isEmpty else { return }
        hosted.reportNumber = enqueue(
            .reportSets(host: id, bootEpoch: bootEpoch, reports: reports), ticket: nil, at: now)
    }
}

extension SetReport {
    /// True when the log says the same already.
    func matches(_ status: SetStatus?) -> Bool {
        guard let status else { return false }
        return status.phase == phase && status.address == address && status.reason == reason
            && status.containers == containers
    }
}

extension HostedSet {
    /// The set's status as it goes into the log.
    func report(for slot: SlotID) -> SetReport {
        SetReport(
            slot: slot, placementIndex: placementIndex, phase: phase, address: address,
            reason: String(reason.prefix(500)),
            containers: containers.map {
                ContainerStatus(
                    name: $0.name, pid: $0.pid ?? 0, restarts: $0.restarts,
                    lastExit: $0.lastExit, running: $0.pid != nil)
            })
    }

    mutating func countRestart(of container: String) {
        guard let index = containers.firstIndex(where: { $0.name == container }) else { return }
        containers[index].restarts += 1
        containers[index].restartAt = nil
    }
}
