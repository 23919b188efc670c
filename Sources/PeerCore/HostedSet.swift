import Base
import ClusterModel
import ClusterState

/// One set on this host, as its brain keeps it: what was ordered, what was seen, what is due.
struct HostedSet: Sendable {
    /// The decision it runs for.
    var placementIndex: LogIndex
    /// What it takes of the host.
    var demand = Resources()
    /// What was ordered; nil for a set found running that was not yet matched with a placement.
    var order: SetOrder?
    /// What the host last said.
    var state: SetObservation.State
    /// Its address; empty while it has none.
    var address: [UInt8] = []
    /// Its containers, in the order of the spec.
    var containers: [HostedContainer] = []
    /// True once the operator was told that the state knows nothing of it.
    var isToldUnknown = false
    /// Why it is being ended; nil while it should run.
    var stopReason: String?
    /// When a failed set is tried again.
    var retryAt: Instant?
    /// Failures to make it, in a row.
    var failures = 0
    /// The revision whose limits are in force; 0 while none are.
    var revision: UInt64 = 0
    /// Why the limits of its order are not in force; empty when they are, or nobody tried yet.
    var resizeRefusal = ""
    /// When refused limits are tried again.
    var resizeAt: Instant?

    /// How long after a refusal limits are tried again: memory may be free by then.
    static let resizeRetry = Duration.seconds(10)

    /// Where the set is in its life, as listings show it.
    var phase: SetPhase {
        if stopReason != nil { return .stopping }
        switch state {
        case .starting: return .starting
        case .failed: return .failed
        case .gone: return .stopping
        case .started:
            return containers.contains { $0.exit != nil } ? .backingOff : .running
        }
    }

    /// The earliest thing that is due.
    var nextDeadline: Instant? {
        guard stopReason == nil else { return nil }
        var earliest = [retryAt, resizeAt].compactMap(\.self).min()
        for container in containers {
            guard let due = container.restartAt else { continue }
            earliest = min(earliest ?? due, due)
        }
        return earliest
    }

    /// Why it is not running, in words for people; empty while it is.
    var reason: String {
        if let stopReason { return stopReason }
        if case .failed(let reason) = state { return reason }
        guard let dead = containers.first(where: { $0.exit != nil }), let exit = dead.exit else {
            guard let order, !resizeRefusal.isEmpty else { return "" }
            // In force but for the volumes that could not grow.
            if revision == order.placement.revision { return resizeRefusal }
            return "keeps the limits of revision \(revision): those of revision "
                + "\(order.placement.revision) are refused: \(resizeRefusal)"
        }
        let cause =
            exit.outOfMemory
            ? "was killed: \(exit.outOfMemoryReason)" : "exited with \(exit.code)"
        return "container \(dead.name) \(cause); restart \(dead.restarts + 1) is due"
    }
}

/// One container of a hosted set.
struct HostedContainer: Sendable {
    /// Its name in the set.
    var name: String
    /// The process, while it runs.
    var pid: Int?
    /// How it ended, until it is started again.
    var exit: ContainerExit?
    /// How its life before this one ended.
    var lastExit: ContainerExit?
    /// How often it was started again.
    var restarts = 0
    /// Exits in a row without a long run between.
    var exitsInRow = 0
    /// When it was seen running.
    var startedAt: Instant?
    /// When it is due to be started again.
    var restartAt: Instant?
}

extension HostedSet {
    /// Takes in the host's report and plans restarts of what exited.
    mutating func observe(
        _ observation: SetObservation, configuration: PeerConfiguration, now: Instant
    ) {
        state = observation.state
        if !observation.address.isEmpty { address = observation.address }
        switch observation.state {
        case .failed:
            failures += 1
            retryAt = now + delay(after: failures, configuration)
        case .started:
            failures = 0
            retryAt = nil
        case .starting, .gone:
            break
        }
        for seen in observation.containers {
            observe(seen, configuration: configuration, now: now)
        }
        observeLimits(observation, now: now)
    }

    /// Until the newest limits are in force, the set takes the larger of both.
    private mutating func observeLimits(_ observation: SetObservation, now: Instant) {
        revision = observation.revision
        if order == nil || revision == 0 || revision == order?.placement.revision {
            resizeRefusal = ""
            resizeAt = nil
            if let order, revision != 0 { demand = order.spec.demand }
            guard order != nil, revision != 0 else { return }
        }
        resizeRefusal = observation.resizeRefusal
        if !resizeRefusal.isEmpty { resizeAt = now + HostedSet.resizeRetry }
    }

    private mutating func observe(
        _ seen: ContainerObservation, configuration: PeerConfiguration, now: Instant
    ) {
        let known = containers.firstIndex { $0.name == seen.name }
        var container = known.map { containers[$0] } ?? HostedContainer(name: seen.name)
        if let exit = seen.exit {
            if container.exit == nil {
                let ran = container.startedAt.map { now - $0 } ?? .zero
                container.exitsInRow =
                    ran >= configuration.restartReset ? 1 : container.exitsInRow + 1
                container.exit = exit
                container.lastExit = exit
                container.restartAt = now + delay(after: container.exitsInRow, configuration)
            }
            container.pid = nil
            container.startedAt = nil
        } else if let pid = seen.pid {
            if container.pid != pid { container.startedAt = now }
            container.pid = pid
            container.exit = nil
            container.restartAt = nil
        }
        if let known {
            containers[known] = container
        } else {
            containers.append(container)
        }
    }

    /// Doubles from the shortest delay to the longest.
    private func delay(after failures: Int, _ configuration: PeerConfiguration) -> Duration {
        let doublings = min(max(failures - 1, 0), 16)
        let delay = configuration.restartDelayMin.inNanoseconds << Int64(doublings)
        return .nanoseconds(min(delay, configuration.restartDelayMax.inNanoseconds))
    }
}
