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
        let spec = placement.flatMap { service.spec(revision: $0.revision) } ?? service.spec
        var view = ExplanationView(
            slot: slot.description, phase: record.phase.rawValue,
            reason: [record.reason, record.pendingReason].first { !$0.isEmpty },
            host: placement.map { look.name(of: $0.host) },
            revision: placement?.revision ?? service.revision,
            limitsRevision: record.report.flatMap { $0.revision == 0 ? nil : $0.revision },
            demand: explanation.demand, room: explanation.room,
            best: explanation.best.map(look.name),
            hosts: explanation.hosts.map { HostChoiceView($0, placement: placement) }, spec: spec)
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
