import Base
import ClusterModel
import ControlAPI

/// What is left of a deleted service on the hosts that ran it.
extension AgentBackend {
    package func remains(_ request: RemainsRequest) async throws -> [RemainsView] {
        let look = await look()
        let asked = Set(request.hosts)
        // A host that was forgotten meanwhile runs nothing of ours any more.
        let hosts = look.state.hosts.map(\.id).filter { asked.contains($0.description) }
        return await askEach(of: hosts) { await remains(of: request.service, at: $0, look) }
            .compactMap { $0 }.sorted { $0.host < $1.host }
    }

    /// Nil when a host has nothing left.
    private func remains(of service: String, at host: HostID, _ look: Look) async -> RemainsView? {
        do {
            let slots =
                host == look.me
                ? await keeper.slots(of: service) : try await ask(host, about: service)
            guard !slots.isEmpty else { return nil }
            return RemainsView(host: look.name(of: host), sets: slots.map(\.description))
        } catch {
            return RemainsView(host: look.name(of: host), sets: [], problem: "\(error)")
        }
    }

    private func ask(_ host: HostID, about service: String) async throws -> [SlotID] {
        let channel = try await open(.remains(service: service), at: host)
        defer { channel.cancel() }
        try await channel.confirm()
        guard let answer = try await channel.receive(PeerRemains.self, patience: .seconds(5))
        else { throw AgentError("the answer broke off") }
        return answer.slots
    }
}

extension SetKeeper {
    /// The sets of a service on this host, those that are being ended included.
    func slots(of service: String) -> [SlotID] {
        sets.keys.filter { $0.service == service }.sorted()
    }
}
