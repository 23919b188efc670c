import Base
import ClusterModel
import Membership
import Testing

/// Whole clusters in virtual time.
@Suite struct ClusterTests {
    /// A cluster of `count` hosts that all know each other.
    private func cluster(
        of count: Int, seed: UInt64 = 1, config: MembershipConfig = MembershipConfig()
    ) -> VirtualNetwork {
        var network = VirtualNetwork(seed: seed, config: config)
        for _ in 0..<count { network.start() }
        let isWhole = network.run(atMost: .seconds(10)) { $0.isWhole }
        #expect(isWhole, "seed \(seed): \(count) hosts did not find each other")
        return network
    }

    @Test("hosts that join through one seed see each other with facts", arguments: [2, 3, 50])
    func joinersSeeEachOther(count: Int) {
        var network = cluster(of: count)
        #expect(network.now < Instant.zero + .seconds(count == 50 ? 5 : 2))
        network.run(for: .seconds(15))
        #expect(network.isWhole)
        #expect(network.deathCount == 0)
        #expect(network.hosts.dropFirst().allSatisfy { $0.core.hasJoined })
        #expect(network.hosts.allSatisfy { $0.core.aliveIDs.count == count })
        let sorted = network.hosts.allSatisfy { host in
            host.core.members.map(\.id) == host.core.members.map(\.id).sorted()
        }
        #expect(sorted)
        #expect(network.bytesMax <= network.config.datagramBytesMax)
        #expect(network.idleTicks == 0)
    }

    @Test("a join is tried again until the seed is there")
    func joinIsRetried() {
        var network = VirtualNetwork()
        network.start()
        network.hosts[0].isRunning = false
        network.start()
        network.run(for: .seconds(20))
        #expect(network.hosts[1].core.members.count == 1)
        network.hosts[0].isRunning = true
        let isWhole = network.run(atMost: .seconds(2)) { $0.isWhole }
        #expect(isWhole)
    }

    @Test("a crashed host of three is dead everywhere within 4 s", arguments: 1...40)
    func crashIsNoticed(seed: UInt64) {
        var network = cluster(of: 3, seed: seed)
        // Any phase of the probe rounds.
        network.run(for: .seconds(5) + .milliseconds(137) * Int(seed))
        network.hosts[2].isRunning = false
        let crash = network.now
        let isKnown = network.run(atMost: .seconds(4)) {
            $0.status(of: 2, at: 0) == .dead && $0.status(of: 2, at: 1) == .dead
        }
        #expect(isKnown, "seed \(seed): still \(String(describing: network.status(of: 2, at: 0)))")
        #expect(network.now - crash > .milliseconds(1_500), "it must have had time to refute")
        #expect(network.deathCount == 2)
    }

    @Test("a crashed host is dead everywhere soon", arguments: [2, 4, 5, 10, 50])
    func crashIsNoticedInLargerClusters(count: Int) {
        var network = cluster(of: count)
        network.run(for: .seconds(3))
        network.hosts[count - 1].isRunning = false
        let isKnown = network.run(atMost: .seconds(12)) { network in
            (0..<count - 1).allSatisfy { network.status(of: count - 1, at: $0) == .dead }
        }
        #expect(isKnown)
        #expect(network.deathCount == count - 1)
    }

    @Test(
        "no healthy host is declared dead at 10 % loss",
        arguments: [(3, 1), (3, 2), (3, 3), (10, 4)])
    func lossKillsNobody(count: Int, seed: UInt64) {
        var network = cluster(of: count, seed: seed)
        network.lossPerThousand = 100
        network.run(for: .seconds(60))
        #expect(network.deathCount == 0)
        network.lossPerThousand = 0
        network.run(for: .seconds(3))
        #expect(network.isWhole)
    }

    @Test("a host that stops for a while refutes", arguments: 1...10)
    func slowHostRefutes(seed: UInt64) {
        var network = cluster(of: 3, seed: seed)
        for round in 0..<10 {
            network.hosts[round % 3].pausedUntil = network.now + .milliseconds(1_500)
            network.run(for: .seconds(4))
        }
        #expect(network.deathCount == 0)
        #expect(network.isWhole)
        let suspected = network.hosts.contains { host in
            host.changes.contains { $0.member.status == .suspect }
        }
        #expect(suspected, "the test must have tested something")
    }

    @Test("a host that was stopped for long does not call the others dead")
    func stoppedHostDoesNotJudge() {
        var network = cluster(of: 5)
        network.hosts[0].pausedUntil = network.now + .seconds(30)
        network.run(for: .seconds(29))
        #expect(network.status(of: 0, at: 1) == .dead)
        let before = network.hosts[0].changes.count
        network.run(for: .seconds(15))
        let judged = network.hosts[0].changes.dropFirst(before).map(\.member)
        #expect(!judged.contains { $0.status == .dead })
        #expect(network.isWhole)
    }

    @Test("a partition heals", arguments: [(2, 1), (3, 1), (5, 2), (20, 7)])
    func partitionHeals(count: Int, apart: Int) {
        var network = cluster(of: count)
        for number in 0..<apart { network.hosts[number].side = 1 }
        network.run(for: .seconds(60))
        #expect(network.status(of: count - 1, at: 0) == .dead)
        #expect(network.status(of: 0, at: count - 1) == .dead)
        let deaths = network.deathCount
        for number in 0..<apart { network.hosts[number].side = 0 }
        let isWhole = network.run(atMost: .seconds(20)) { $0.isWhole }
        #expect(isWhole)
        network.run(for: .seconds(30))
        #expect(network.isWhole)
        #expect(network.deathCount == deaths, "healing must not kill anybody")
    }

    @Test("a restarted host is alive at once, also at another address", arguments: [false, true])
    func restartIsSeenAtOnce(isMoved: Bool) {
        var network = cluster(of: 3)
        network.hosts[2].isRunning = false
        network.run(for: .seconds(10))
        #expect(network.status(of: 2, at: 0) == .dead)
        let address = isMoved ? VirtualNetwork.address(77) : nil
        network.restart(2, address: address, seed: 0)
        let isWhole = network.run(atMost: .milliseconds(500)) { $0.isWhole }
        #expect(isWhole)
        let seen = network.hosts[1].core.member(VirtualNetwork.id(2))
        #expect(seen?.address == network.hosts[2].address)
        // Also without being declared dead in between.
        network.restart(2, seed: 1)
        #expect(network.run(atMost: .milliseconds(500)) { $0.isWhole })
    }

    @Test("an address that changes in a running host spreads")
    func runningHostMoves() {
        var network = cluster(of: 3)
        let address = VirtualNetwork.address(99)
        network.hosts[1].address = address
        network.give(1, .addressChanged(address))
        network.run(for: .seconds(5))
        #expect(network.isWhole)
        #expect(network.hosts[0].core.member(VirtualNetwork.id(1))?.address == address)
        #expect(network.deathCount == 0)
    }

    @Test("a host that leaves is left, not dead, everywhere within a second")
    func leavingIsNotDying() {
        var network = cluster(of: 10)
        network.give(4, .leave)
        network.run(for: .seconds(1))
        network.hosts[4].isRunning = false
        network.run(for: .seconds(1))
        for number in 0..<10 where number != 4 {
            #expect(network.status(of: 4, at: number) == .left)
        }
        network.run(for: .seconds(30))
        #expect(network.deathCount == 0)
        #expect(network.hosts[4].core.nextDeadline == nil)
        network.restart(4, seed: 0)
        #expect(network.run(atMost: .seconds(2)) { $0.isWhole })
    }

    @Test("a change of facts reaches everybody within two seconds, the newest last")
    func factsSpread() {
        var network = cluster(of: 20)
        for version in UInt64(2)...5 {
            var facts = VirtualNetwork.facts(7)
            facts.version = version
            facts.allocated = Resources(millicores: Int(version))
            network.give(7, .updateFacts(facts))
            network.run(for: .milliseconds(30))
        }
        network.run(for: .seconds(2))
        for host in network.hosts {
            let facts = host.core.member(VirtualNetwork.id(7))?.facts
            #expect(facts?.allocated.millicores == 5)
        }
    }

    @Test("news that nobody carried is found by comparing tables")
    func tablesAreCompared() {
        var network = cluster(of: 3)
        network.run(for: .seconds(5))
        network.lossPerThousand = 1_000
        var facts = VirtualNetwork.facts(0)
        facts.version = 2
        network.give(0, .updateFacts(facts))
        network.run(for: .milliseconds(450))
        network.lossPerThousand = 0
        let isWhole = network.run(atMost: .seconds(30)) { $0.isWhole }
        #expect(isWhole)
    }

    @Test("the same seed gives the same history, another seed another")
    func historyIsDeterministic() {
        func history(_ seed: UInt64) -> [Instant] {
            var network = cluster(of: 8, seed: seed)
            network.lossPerThousand = 100
            network.run(for: .seconds(20))
            return network.hosts.flatMap { $0.changes.map(\.at) }
        }
        #expect(history(5) == history(5))
        #expect(history(5) != history(6))
    }

    @Test("a quiet cluster sends about four datagrams per host and interval at most")
    func quietClusterIsQuiet() {
        var network = cluster(of: 50)
        network.run(for: .seconds(30))
        let before = network.sentCount
        network.run(for: .seconds(60))
        let perHostAndSecond = Double(network.sentCount - before) / 50 / 60
        #expect(perHostAndSecond < 5)
    }
}
