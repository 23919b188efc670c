import Base
import ClusterModel
import ClusterState
import Membership

/// What a host tells the others of itself: by gossip what it holds, through the log what it is
/// and how its sets are.
extension Peer {
    /// Gossips what the admitted sets hold, so that others see what is free.
    mutating func updateAllocated(at now: Instant, into outputs: inout [PeerOutput]) {
        let allocated = state.host(id)?.allocated ?? Resources()
        guard facts.allocated != allocated else { return }
        facts.allocated = allocated
        facts.version += 1
        gossip(.updateFacts(facts), at: now, into: &outputs)
    }

    /// Takes what the agent found out about its host; what its sets hold is not the agent's to say.
    mutating func take(_ given: HostFacts, at now: Instant, into outputs: inout [PeerOutput]) {
        let (allocated, version) = (facts.allocated, facts.version)
        facts = given
        facts.allocated = allocated
        facts.version = version + 1
        hosted.stateChanged = true
        gossip(.updateFacts(facts), at: now, into: &outputs)
    }

    /// Makes the log know this host as it is.
    mutating func registerIfNeeded(at now: Instant) {
        let registration = HostRegistration(
            id: id, bootEpoch: bootEpoch, name: facts.name, address: address,
            capacity: facts.capacity, zone: facts.zone, pool: facts.pool,
            agentVersion: facts.agentVersion, abilities: facts.abilities)
        if let known = state.host(id), known.registration == registration {
            hosted.registrationRetryAt = nil
            return
        }
        if let number = hosted.registrationNumber, submissions.contains(number) { return }
        if let retryAt = hosted.registrationRetryAt, now < retryAt { return }
        hosted.registrationRetryAt = nil
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
    ///
    /// One report is on its way at a time. One that the log took but that changed nothing there is
    /// repeated slowly: a rule of the state that this version does not know must not fill the log.
    mutating func reportIfChanged(at now: Instant) {
        guard hosted.reportIsDue || hosted.sameReportsAt.map({ $0 <= now }) ?? false else { return }
        if let number = hosted.reportNumber, submissions.contains(number) { return }
        hosted.reportIsDue = false
        hosted.sameReportsAt = nil
        let reports = changedReports
        let sameAt = hosted.lastReportsAt + HostDuties.sameReportsRetry
        if !reports.isEmpty, reports == hosted.lastReports, now < sameAt {
            hosted.sameReportsAt = sameAt
            return
        }
        hosted.lastReports = reports
        guard !reports.isEmpty else { return }
        hosted.lastReportsAt = now
        // Compared again once this one is answered or given up.
        hosted.reportIsDue = true
        hosted.reportNumber = enqueue(
            .reportSets(host: id, bootEpoch: bootEpoch, reports: reports), ticket: nil, at: now)
    }

    /// What the log does not say yet of this host's sets.
    private var changedReports: [SetReport] {
        var reports: [SetReport] = []
        for (slot, set) in hosted.sets {
            guard let record = state.slot(slot), let placement = record.placement,
                placement.host == id, placement.index == set.placementIndex
            else { continue }
            let report = set.report(for: slot)
            if !report.matches(record.report) { reports.append(report) }
        }
        reports += waitingReports
        return Array(reports.prefix(Limits.items))
    }

    /// Says of placements that cannot start yet what they wait for.
    private var waitingReports: [SetReport] {
        guard mayActOnState else { return [] }
        return state.placements(on: id).compactMap { placement in
            let known = hosted[placement.slot]
            guard known?.placementIndex != placement.index else { return nil }
            let report = SetReport(
                slot: placement.slot, placementIndex: placement.index, phase: .starting,
                address: [],
                reason: known == nil
                    ? reasonToWait(placement)
                    : "waits until its predecessor on this host has ended",
                containers: [])
            let isSaid = report.matches(state.slot(placement.slot)?.report)
            return isSaid ? nil : report
        }
    }
}

extension Peer {
    /// Why a placement that nothing stands in the way of does not start.
    private func reasonToWait(_ placement: Placement) -> String {
        let service = state.service(placement.slot.service)
        if let service, let spec = service.spec(revision: placement.revision),
            let obstacle = volumeShortage(
                for: SetOrder(
                    placement: placement, spec: spec, subnetIndex: 0, owner: service.createdAt))
        {
            return "waits for room: this host \(obstacle.phrase)"
        }
        return "waits until sets that end on this host have freed their room"
    }
}

extension SetReport {
    /// True when the log says the same already.
    func matches(_ status: SetStatus?) -> Bool {
        guard let status else { return false }
        return status.phase == phase && status.address == address && status.reason == reason
            && status.containers == containers && status.revision == revision
    }
}

extension HostedSet {
    /// The set's status as it goes into the log.
    func report(for slot: SlotID) -> SetReport {
        SetReport(
            slot: slot, placementIndex: placementIndex, phase: phase,
            address: address.count == 4 ? address : [],
            reason: String(reason.prefix(500)),
            containers: containers.prefix(SpecLimits.containers).map {
                ContainerStatus(
                    name: $0.name, pid: $0.pid ?? 0, restarts: $0.restarts,
                    lastExit: $0.lastExit, running: $0.pid != nil)
            }, revision: revision)
    }

    /// Takes over new limits of the same decision; until they are in force it takes both's larger.
    mutating func take(resized order: SetOrder) {
        self.order = order
        resizeAt = nil
        resizeRefusal = ""
        demand = demand.union(order.spec.demand)
    }

    mutating func countRestart(of container: String, againAt: Instant) {
        guard let index = containers.firstIndex(where: { $0.name == container }) else { return }
        containers[index].restarts += 1
        containers[index].restartAt = againAt
    }

    /// Matches a set that was found running with its placement; counts go on where they were.
    mutating func adopt(_ order: SetOrder, lastReport: SetStatus?) {
        self.order = order
        for status in lastReport?.containers ?? [] {
            guard let index = containers.firstIndex(where: { $0.name == status.name })
            else { continue }
            // What the log holds was bounded by whoever wrote it, not by us.
            containers[index].restarts += min(max(status.restarts, 0), 1 << 32)
            containers[index].lastExit = containers[index].lastExit ?? status.lastExit
        }
    }
}
