import Base
import ClusterModel

/// One entry on its way into the state: what events need to know, and the events so far.
struct Change {
    let index: LogIndex
    let epoch: Epoch
    let time: WallTime
    let request: RequestID
    private(set) var events: [Event] = []

    init(_ entry: CommandEnvelope, at index: LogIndex, epoch: Epoch) {
        self.index = index
        self.epoch = epoch
        time = entry.proposedAt
        request = entry.request
    }

    /// Records that something changed.
    mutating func note(_ kind: EventKind, _ subject: String, _ message: String) {
        events.append(
            Event(
                index: index, epoch: epoch, time: time, kind: kind, subject: subject.bounded,
                message: message.bounded, who: request.host))
    }
}

extension ReplicatedState {
    /// Applies the next entry of the log: whole, or not at all and with the reason.
    ///
    /// Deterministic: the same entries at the same indexes make the same state on every host. A
    /// request that was applied or refused before changes nothing and gets the same answer; a
    /// host's reports are numbered per set instead and do not displace remembered requests. An
    /// entry at or below `appliedIndex` is ignored.
    package mutating func apply(
        _ entry: CommandEnvelope, at index: LogIndex, epoch: Epoch
    ) -> CommandOutcome {
        guard index > appliedIndex else { return CommandOutcome(result: .duplicate) }
        appliedIndex = index
        appliedEpoch = epoch
        let isRemembered = !entry.isOwnReport
        if isRemembered, let result = requests.outcome(of: entry.request) {
            return CommandOutcome(result: result)
        }
        var change = Change(entry, at: index, epoch: epoch)
        do throws(CommandRefusal) {
            try perform(entry.command, &change)
        } catch {
            if isRemembered { requests.remember(entry.request, refusal: error) }
            return CommandOutcome(result: .refused(error))
        }
        if isRemembered { requests.remember(entry.request, refusal: nil) }
        for event in change.events { recentEvents.append(event) }
        return CommandOutcome(result: .applied, events: change.events)
    }

    /// Every case checks all it needs before it changes anything.
    private mutating func perform(
        _ command: Command, _ change: inout Change
    ) throws(CommandRefusal) {
        switch command {
        case .registerHost(let registration): try register(registration, &change)
        case .declareHostLost(let host, let bootEpoch, let reason):
            try declareLost(host, bootEpoch, reason: reason, &change)
        case .declareHostReturned(let host, let bootEpoch):
            try declareReturned(host, bootEpoch, &change)
        case .forgetHost(let host): try forget(host, &change)
        case .applyService(let spec): try applyService(spec, &change)
        case .scale(let service, let sets): try scale(service, to: sets, &change)
        case .resize(let service, let resize): try self.resize(service, by: resize, &change)
        case .takeBackLimits(let service, let revision):
            try takeBackLimits(service, revision: revision, &change)
        case .deleteService(let service): try deleteService(service, &change)
        case .registerImage(let image): try registerImage(image, &change)
        case .decide(let basedOn, let decisions): decide(decisions, basedOn: basedOn, &change)
        case .reportSets(let host, let bootEpoch, let reports):
            try report(reports, of: host, bootEpoch, &change)
        case .reportVolumes(let host, let bootEpoch, let volumes):
            try report(volumes, of: host, bootEpoch, &change)
        case .offerVolumes(let host, let bootEpoch, let offer):
            try take(offer, of: host, bootEpoch, &change)
        case .restoreService(let service): try restoreService(service, &change)
        case .reportBackups(let host, let backups): try report(backups, of: host, &change)
        case .forgetBackups(let slot, let volume, let owner):
            try forgetBackups(of: slot, volume, owner: owner, &change)
        case .restoreVolumes(let slot, let restoration, let replaces):
            try restore(slot, restoration, replaces: replaces, &change)
        case .reportRestoration(let slot, let index, let host, let problem):
            try restorationReported(slot, index: index, by: host, problem: problem, &change)
        case .startMove(let slot, let host): try startMove(of: slot, to: host, &change)
        case .stepMove(let slot, let move, let step):
            try stepMove(of: slot, move, step, &change)
        case .notice(let host, let bootEpoch, let notice):
            try take(notice, of: host, bootEpoch, &change)
        case .barrier: break
        }
    }
}

extension CommandEnvelope {
    /// True for reports that the host itself asked to log: numbered, so that repeating is harmless.
    fileprivate var isOwnReport: Bool {
        switch command {
        case .reportSets(let host, let bootEpoch, _), .reportVolumes(let host, let bootEpoch, _):
            return host == request.host && bootEpoch == request.bootEpoch
        default: return false
        }
    }
}
