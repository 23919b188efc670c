import Base
import ClusterModel
import ClusterState
import Consensus
import Membership
import Testing

@testable import PeerCore
@testable import Simulation

/// Stories of whole clusters, each about one promise.
@Suite("Scenarios of whole clusters")
struct ScenarioTests {
    @Test("a host that returns after its sets were placed elsewhere stops its old copies")
    func returnedHostStopsOldCopies() throws {
        var world = try World.serving(sets: 6, hosts: 3)
        let leader = try #require(world.leader)
        let cut = try #require(
            world.hosts.indices.first { $0 != leader && !world.hosts[$0].sets.isEmpty })
        let old = world.hosts[cut].sets
        world.isolate(cut)
        try world.pass(.seconds(20))
        // Running work survives: it was placed elsewhere, but nobody told this host to end it.
        #expect(world.hosts[cut].sets.map(\.slot) == old.map(\.slot))
        let state = try #require(world.hosts[leader].peer?.state)
        for set in old {
            #expect(state.slot(set.slot)?.placement?.host != world.hosts[cut].id)
        }
        world.mend()
        try world.comeToRest()
        for set in old {
            #expect(world.hosts[cut][set.slot]?.placementIndex != set.placementIndex)
        }
    }

    @Test("no set starts or ends before the host has caught up since its agent's start")
    func nothingBeforeCaughtUp() throws {
        var world = try World.serving(sets: 6, hosts: 3)
        let leader = try #require(world.leader)
        let cut = try #require(
            world.hosts.indices.first { $0 != leader && !world.hosts[$0].sets.isEmpty })
        world.crashAgent(cut)
        world.submit(.deleteService("web"), at: leader)
        try world.pass(.seconds(2))
        let before = world.hosts[cut].sets.map(\.slot)
        world.isolate(cut)
        world.start(host: cut)
        try world.pass(.seconds(10))
        #expect(world.hosts[cut].sets.map(\.slot) == before)
        world.mend()
        try world.comeToRest()
        #expect(world.hosts[cut].sets.isEmpty)
    }

    @Test("a leaseholder killed while a service scales loses nothing that was acknowledged")
    func leaseholderKilledWhileScaling() throws {
        var world = try World.serving(sets: 2, hosts: 4)
        let leader = try #require(world.leader)
        let asked = try #require(world.hosts.indices.first { $0 != leader })
        let ticket = world.submit(.scale(service: "web", sets: 12), at: asked)
        while world.users.answer(to: ticket) == nil { try world.pass(.milliseconds(1)) }
        world.crashHost(leader)
        try world.pass(.seconds(15))
        let state = try #require(world.hosts[asked].peer?.state)
        let slots = try #require(state.service("web")?.slots)
        #expect(slots.count == 12)
        #expect(slots.allSatisfy { $0.phase == .running })
        #expect(slots.allSatisfy { $0.placement?.host != world.hosts[leader].id })
        world.start(host: leader)
        try world.comeToRest()
    }

    @Test("a write without quorum is refused with who is missing, when its time is up")
    func writeWithoutQuorum() throws {
        var world = try World.serving(sets: 2, hosts: 3)
        world.crashAgent(0)
        world.crashAgent(1)
        try world.pass(.seconds(10))
        let ticket = world.submit(.scale(service: "web", sets: 5), at: 2)
        try world.pass(.seconds(9))
        #expect(world.users.answer(to: ticket) == nil)
        try world.pass(.seconds(2))
        guard
            case .failed(.noLeaseholder(let waited, let alive, let voters)) =
                world.users.answer(to: ticket)
        else {
            Issue.record("the answer is \(String(describing: world.users.answer(to: ticket)))")
            return
        }
        #expect(waited >= .seconds(10) && alive == 1 && voters == 3)
        for host in 0..<2 { world.start(host: host) }
        try world.comeToRest()
    }

    @Test("voters grow from one to three to five with the cluster")
    func votersGrow() throws {
        var world = World(options: .calm(seed: 5, hosts: 5))
        for (running, voters) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5)] {
            world.start(host: running - 1)
            try world.pass(.seconds(8))
            #expect(world.hosts[0].peer?.consensus.voters.count == voters, "\(running) hosts")
        }
    }

    @Test("a dead voter is replaced when another can take its place, and stays a voter until then")
    func deadVoterReplaced() throws {
        for (hosts, isReplaced) in [(3, false), (4, true)] {
            var world = try World.serving(sets: 2, hosts: hosts)
            let leader = try #require(world.leader)
            let voters = try #require(world.hosts[leader].peer?.consensus.voters)
            let dead = try #require(
                world.hosts.indices.first { $0 != leader && voters.contains(world.hosts[$0].id) })
            world.crashAgent(dead)
            try world.pass(.seconds(15))
            let after = try #require(world.hosts[leader].peer?.consensus.voters)
            #expect(after.count == 3)
            #expect(after.contains(world.hosts[dead].id) == !isReplaced, "\(hosts) hosts")
        }
    }

    @Test("a lost machine that another one replaces loses nothing")
    func lostMachineReplaced() throws {
        var world = try World.serving(sets: 8, hosts: 3)
        let leader = try #require(world.leader)
        world.loseHost(leader)
        try world.pass(.seconds(5))
        world.start(host: leader)
        try world.comeToRest()
        #expect(world.hosts[leader].peer?.state.service("web")?.slots.count == 8)
        #expect(
            world.hosts[leader].peer?.consensus.voters == world.hosts.map(\.id).sorted())
    }

    @Test("after any number of replaced machines the loss of one more is borne")
    func machinesReplacedInTurn() throws {
        var world = try World.serving(sets: 4, hosts: 3)
        for host in [2, 1, 0, 2] {
            world.loseHost(host)
            try world.pass(.seconds(12))
            world.start(host: host)
            try world.pass(.seconds(12))
            let voters = try #require(world.hosts[host].peer?.consensus.voters)
            #expect(voters == world.hosts.map(\.id).sorted())
        }
        world.crashHost(0)
        try world.pass(.seconds(12))
        let ticket = world.submit(.scale(service: "web", sets: 5), at: 1)
        try world.pass(.seconds(3))
        guard case .applied(.applied) = world.users.answer(to: ticket) else {
            Issue.record("two of three hosts do not write")
            return
        }
        world.start(host: 0)
        try world.comeToRest()
    }

    @Test("five voters of which two are gone for good become three live ones")
    func votersShrinkToTheLiving() throws {
        var world = try World.serving(sets: 2, hosts: 5)
        let leader = try #require(world.leader)
        let gone = world.hosts.indices.filter { $0 != leader }.prefix(2)
        for (host, left) in zip(gone, [5, 3]) {
            world.crashAgent(host)
            try world.pass(.seconds(15))
            #expect(world.hosts[leader].peer?.consensus.voters.count == left)
        }
        let voters = try #require(world.hosts[leader].peer?.consensus.voters)
        #expect(!gone.contains { voters.contains(world.hosts[$0].id) })
        for host in gone { world.start(host: host) }
        try world.comeToRest()
        #expect(world.hosts[leader].peer?.consensus.voters.count == 5)
    }

    @Test("a host that starts without quorum knows what was agreed, and touches nothing")
    func knowsAlone() throws {
        var world = try World.serving(sets: 6, hosts: 3)
        try world.pass(.seconds(3))
        let agreed = try #require(world.hosts[2].peer?.appliedIndex)
        let before = world.hosts[2].sets.map(\.slot)
        for host in 0..<3 { world.crashAgent(host) }
        world.start(host: 2)
        try world.pass(.milliseconds(10))
        let peer = try #require(world.hosts[2].peer)
        #expect(peer.appliedIndex == agreed)
        #expect(peer.state.service("web")?.slots.count == 6)
        #expect(peer.leaseholderHeardAt == nil && !peer.consensus.hasHeardFromLeaseholder)
        // It may be long ago: nothing starts or ends, but what ends by itself starts again.
        world.exitContainer(of: before[0], on: 2)
        try world.pass(.seconds(10))
        #expect(world.hosts[2].sets.map(\.slot) == before)
        #expect(world.hosts[2].sets.allSatisfy { $0.isRunning })
        for host in 0..<2 { world.start(host: host) }
        try world.comeToRest()
        #expect(world.hosts[2].sets.map(\.slot) == before)
    }

    @Test("how many vote", arguments: VoteCase.all)
    func voteSizes(of vote: VoteCase) {
        #expect(
            VoteSize.best(live: vote.live, dead: vote.dead, voters: vote.voters) == vote.size)
    }

    @Test("a host that no running agent has ever met is lost after a grace, and its sets move")
    func unseenHostLost() throws {
        var world = try World.serving(sets: 6, hosts: 4)
        let leader = try #require(world.leader)
        let lost = try #require(
            world.hosts.indices.first { $0 != leader && !world.hosts[$0].sets.isEmpty })
        let old = world.hosts[lost].id
        // Everybody starts again, so that gossip has forgotten the lost one; the log has not.
        for host in world.hosts.indices where host != lost { world.crashAgent(host) }
        world.loseHost(lost)
        for host in world.hosts.indices where host != lost { world.start(host: host) }
        try world.pass(.seconds(10))
        let asked = lost == 0 ? 1 : 0
        #expect(world.hosts[asked].peer?.state.host(old)?.status == .active)
        try world.pass(.seconds(20))
        #expect(world.hosts[asked].peer?.state.host(old)?.status == .lost)
        #expect(world.hosts[asked].peer?.state.host(old)?.slots.isEmpty == true)
        world.start(host: lost)
        try world.comeToRest()
    }

    @Test("the same seed gives the same history")
    func sameSeedSameHistory() throws {
        var options = SimulationOptions(seed: 3)
        options.hosts = 3
        options.faultPhase = .seconds(20)
        options.restPhase = .seconds(100)
        var first = World(options: options)
        var second = World(options: options)
        try first.run()
        try second.run()
        #expect(first.fingerprint == second.fingerprint)
    }
}

/// Live hosts, dead voters, voters of any kind: how many should vote.
struct VoteCase: Sendable, CustomTestStringConvertible {
    var live: Int
    var dead: Int
    var voters: Int
    var size: Int

    var testDescription: String { "\(live) live hosts, \(dead) of \(voters) voters dead" }

    static let all = [
        // Growing.
        VoteCase(live: 1, dead: 0, voters: 1, size: 1),
        VoteCase(live: 2, dead: 0, voters: 1, size: 1),
        VoteCase(live: 3, dead: 0, voters: 1, size: 3),
        VoteCase(live: 4, dead: 0, voters: 3, size: 3),
        VoteCase(live: 5, dead: 0, voters: 3, size: 5),
        VoteCase(live: 90, dead: 0, voters: 5, size: 5),
        // Losing.
        VoteCase(live: 2, dead: 1, voters: 3, size: 3),
        VoteCase(live: 4, dead: 1, voters: 5, size: 5),
        VoteCase(live: 3, dead: 2, voters: 5, size: 3),
        VoteCase(live: 9, dead: 2, voters: 5, size: 5),
        // Replacing; and dead voters never raise the count.
        VoteCase(live: 3, dead: 1, voters: 3, size: 3),
        VoteCase(live: 4, dead: 1, voters: 3, size: 3),
        VoteCase(live: 4, dead: 2, voters: 5, size: 5),
        VoteCase(live: 4, dead: 1, voters: 4, size: 5),
        // What the fault left behind: four voters, one of them dead for ever.
        VoteCase(live: 3, dead: 1, voters: 4, size: 3),
        // Between two steps: the dead one is out, and its successor died before it was in.
        VoteCase(live: 2, dead: 0, voters: 2, size: 1),
        VoteCase(live: 3, dead: 0, voters: 2, size: 3),
    ]
}

extension World {
    /// A calm cluster that serves `web` with this many sets, all running.
    static func serving(sets: Int, hosts: Int) throws -> World {
        var world = World(options: .calm(seed: 1, hosts: hosts))
        for host in 0..<hosts { world.start(host: host) }
        try world.pass(.seconds(8))
        world.submit(.registerImage(.demo), at: 0)
        try world.pass(.seconds(1))
        let ticket = world.submit(.applyService(.web(sets: sets)), at: 0)
        try world.pass(.seconds(5))
        guard case .applied(.applied) = world.users.answer(to: ticket) else {
            throw Violation("the service was not applied")
        }
        return world
    }

    /// Lets this much time pass.
    mutating func pass(_ time: Duration) throws { try advance(to: now + time) }

    /// Which host leads.
    var leader: Int? { hosts.indices.first { hosts[$0].peer?.consensus.role == .leaseholder } }
}

extension ImageRecord {
    static let demo = ImageRecord(
        reference: "demo/app:1", manifestDigest: "sha256:" + String(repeating: "a", count: 64),
        sizeBytes: 1_000, loadedBy: HostID(testing: 1))
}

extension ServiceSpec {
    /// A service of small sets.
    static func web(sets: Int) -> ServiceSpec {
        ServiceSpec(
            name: "web", sets: sets,
            containers: [
                ContainerSpec(
                    name: "app", image: "demo/app:1",
                    cpu: CPUSpec(requestMillicores: 100, limitMillicores: 500),
                    memory: MemorySpec(requestBytes: 64 << 20, limitBytes: 128 << 20))
            ])
    }
}
