import Base
import ClusterModel
import ClusterState
import ControlAPI

/// What sets use: every host is asked for its own, many at once.
extension AgentBackend {
    /// How long a host may take to answer.
    private static let usagePatience = Duration.seconds(5)

    package func usage(service: String?, containers: Bool) async throws -> [UsageView] {
        let look = await look()
        if let service, look.state.service(service) == nil { throw notFound(service: service) }
        let hosts = look.state.hosts.filter { host in
            service.map { host.runs($0) } ?? true
        }.sorted { ($0.name, $0.id) < ($1.name, $1.id) }
        return await askEach(of: hosts) { host in
            await usage(
                of: host, service: service, containers: containers, isHere: host.id == look.me)
        }.flatMap { $0 }
    }

    /// One host's figures, or one row that says why there are none.
    private func usage(
        of host: HostRecord, service: String?, containers: Bool, isHere: Bool
    ) async -> [UsageView] {
        do {
            if isHere { return try await usageHere(service: service, containers: containers) }
            guard host.status == .active else { throw AgentError("it is lost") }
            let channel = PeerChannel(
                try await driver.openStream(
                    to: host.id,
                    header: PeerRequest.usage(service: service, containers: containers).encoded))
            defer { channel.cancel() }
            try await channel.expectReady(patience: AgentBackend.usagePatience)
            let answer = try await channel.receive(
                PeerUsage.self, patience: AgentBackend.usagePatience)
            guard let answer else { throw AgentError("the answer broke off") }
            return try answer.views()
        } catch {
            var row = UsageView(kind: "host", host: host.name)
            row.problem = "\(error)"
            return [row]
        }
    }

    /// This host's own figures.
    func usageHere(service: String?, containers: Bool) async throws -> [UsageView] {
        let name = await look().myName
        let (before, now) = try await sampler.usage()
        let elapsed = (now.at - before.at) / .microseconds(1)
        let microseconds = Int(elapsed)
        var views = [
            UsageView(
                host: name, now.machine, since: before.machine, microseconds: microseconds,
                pids: now.sets.reduce(0) { $0 + $1.usage.pids })
        ]
        for set in now.sets where service == nil || set.slot.service == service {
            let earlier = before.sets.first { $0.slot == set.slot }
            views.append(
                UsageView(
                    kind: "set", host: name, slot: set.slot, set.whole, since: earlier?.whole,
                    microseconds: microseconds))
            guard containers else { continue }
            for container in set.containers {
                let known = earlier?.containers.first { $0.name == container.name }
                views.append(
                    UsageView(
                        kind: "container", host: name, slot: set.slot, container: container.name,
                        container.usage, since: known?.usage, microseconds: microseconds))
            }
        }
        return views
    }

    func serveUsage(
        service: String?, containers: Bool, _ channel: PeerChannel
    ) async throws {
        let views: [UsageView]
        do {
            views = try await usageHere(service: service, containers: containers)
        } catch {
            return try await channel.refuse("\(error)")
        }
        try await channel.send(PeerReply.ready)
        try await channel.send(PeerUsage(views))
        await channel.finish()
    }
}

extension AgentBackend.Look {
    /// This host's name.
    var myName: String { name(of: me) }
}
