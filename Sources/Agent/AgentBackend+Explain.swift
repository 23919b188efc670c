import Base
import ClusterModel
import ClusterState
import ControlAPI
import HostPlan
import Scheduling

/// Why a set is where it is: from this host's copy of the state; what of its limits does not hold,
/// from the host that runs it.
extension AgentBackend {
    /// How long that host may take to answer.
    private static let notesPatience = Duration.seconds(5)

    package func explain(_ slot: SlotID) async throws -> ExplanationView {
        let look = await look()
        let usable = look.members.filter { $0.status == .alive }.map(\.id).sorted()
        guard let record = look.state.slot(slot), let service = look.state.service(slot.service),
            let explanation = Scheduler().explain(slot: slot, state: look.state, usable: usable)
        else {
            throw ControlError(
                .notFound, "there is no set \(slot)", next: "`shoal sets` lists them")
        }
        let placement = record.placement
        let limits = LimitsLook(of: record, service, look.state)
        var view = ExplanationView(
            slot: slot.description, phase: record.phase.rawValue,
            reason: [record.reason, record.pendingReason].first { !$0.isEmpty },
            host: placement.map { look.name(of: $0.host) },
            revision: placement?.revision ?? service.revision,
            limitsRevision: record.report.flatMap { $0.revision == 0 ? nil : $0.revision },
            demand: explanation.demand, room: explanation.room,
            best: explanation.best.map(look.name),
            hosts: explanation.hosts.map { HostChoiceView($0, placement: placement) },
            spec: limits.inForce)
        view.wanted = limits.view
        view.notes = look.volumeProblems()[slot] ?? []
        guard let placement, !record.stranded else { return view }
        do {
            view.notes += try await notes(
                on: slot, of: placement.host, isHere: placement.host == look.me)
        } catch {
            view.notesProblem = (error as? ControlError)?.message ?? "\(error)"
        }
        return view
    }

    private func notes(on slot: SlotID, of host: HostID, isHere: Bool) async throws -> [String] {
        if isHere { return try await keeper.notes(slot) }
        let channel = try await open(.notes(slot: slot), at: host)
        defer { channel.cancel() }
        try await channel.confirm()
        let notes = try await channel.receive(PeerNotes.self, patience: AgentBackend.notesPatience)
        guard let notes else { throw AgentError("the answer broke off") }
        return notes.sentences
    }

    func serveNotes(_ slot: SlotID, _ channel: PeerChannel) async throws {
        let sentences: [String]
        do {
            sentences = try await keeper.notes(slot)
        } catch {
            return try await channel.refuse((error as? ControlError)?.message ?? "\(error)")
        }
        try await channel.send(PeerReply.ready)
        try await channel.send(PeerNotes(sentences: sentences))
        await channel.finish()
    }
}

/// The limits that a set has and those that are wanted of it, as the log knows them.
private struct LimitsLook {
    /// What is in force, volumes with the sizes they have; what is wanted while nothing is.
    private(set) var inForce: ServiceSpec
    /// What is wanted instead; nil while it is in force.
    private(set) var view: WantedLimitsView?

    init(of slot: SlotRecord, _ service: ServiceRecord, _ state: ReplicatedState) {
        let revision = slot.placement?.revision ?? service.revision
        let wanted = service.spec(revision: revision) ?? service.spec
        inForce = wanted
        guard let placement = slot.placement, let reported = slot.report?.revision, reported > 0,
            let spec = service.spec(revision: reported)
        else { return }
        inForce = spec
        var back = spec
        let held = state.volumesHeld(by: service)
        for position in inForce.volumes.indices {
            let name = inForce.volumes[position].name
            let own = state.volumes(of: placement.host).first {
                $0.slot == slot.slot && $0.name == name && $0.owner == service.createdAt
                    && $0.snapshot == nil && $0.trashedAt == nil
            }
            if let own { inForce.volumes[position].sizeBytes = own.sizeBytes }
            // Other sets of the service may have larger ones by now, which stay so.
            let most = held.first { $0.name == name }?.sizeBytes ?? 0
            let size = max(inForce.volumes[position].sizeBytes, most)
            let limit = wanted.volumes.first { $0.name == name }?.sizeBytes
            back.volumes[position].sizeBytes = min(size, limit ?? size)
        }
        let lacksSize = wanted.volumes.contains { volume in
            inForce.volumes.contains { $0.name == volume.name && $0.sizeBytes < volume.sizeBytes }
        }
        guard reported != revision || lacksSize else { return }
        view = WantedLimitsView(
            revision: revision, spec: wanted, takeBack: back.resizeCommands(from: wanted))
    }
}

extension SetKeeper {
    /// What of a set's limits this host does not enforce, charge or tell, each sentence once.
    func notes(_ slot: SlotID) async throws -> [String] {
        guard let set = sets[slot] else {
            throw ControlError(.notFound, "\(slot) is not on its host yet, or not any more")
        }
        let spec = set.record.spec
        let found = try await host.notes(
            slot: slot, containers: spec.containers.map { ($0.name, CgroupLimits($0)) },
            network: spec.network, folders: try await volumes.deviceFolders(spec, of: slot))
        var notes: [String] = []
        for sentence in found + set.notices.sorted() where !notes.contains(sentence) {
            notes.append(sentence)
        }
        return notes + (await volumes.notes(spec))
    }
}

extension VolumeKeeper {
    /// Which of a set's volumes have a soft limit here.
    func notes(_ spec: ServiceSpec) async -> [String] {
        let folders = spec.volumes.filter { $0.volumeClass == .directory }.map(\.name)
        guard !folders.isEmpty, await !store.hasProjectQuota else { return [] }
        let names = folders.joined(separator: ", ")
        return [
            "the file system of this host's data folder does not count by project, so the limit of "
                + (folders.count == 1 ? "volume \(names) is" : "volumes \(names) are")
                + " soft: writing stops up to a second after it is reached"
        ]
    }
}

extension HostChoiceView {
    init(_ host: HostExplanation, placement: Placement?) {
        self.init(
            host: host.name, id: host.host.description, isPlacedHere: placement?.host == host.host,
            obstacle: host.obstacle?.phrase, setsInDatacenter: host.setsInDatacenter,
            setsInRack: host.setsInRack, setsOnHost: host.setsOnHost, freeShare: host.freeShare)
    }
}
