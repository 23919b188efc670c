import Base
import ClusterModel
import Membership
import Testing

/// One core against messages made by hand.
@Suite struct CoreTests {
    /// A core and a clock.
    private struct Bench {
        var core: MembershipCore
        var now = Instant.zero
        var outputs: [MembershipOutput] = []

        init(config: MembershipConfig = MembershipConfig()) {
            core = MembershipCore(
                id: VirtualNetwork.id(0), bootEpoch: BootEpoch(10),
                address: VirtualNetwork.address(0), facts: VirtualNetwork.facts(0),
                config: config, random: RandomSource(seed: 1), now: .zero)
        }

        /// What host `from` says, at incarnation 1 unless told otherwise.
        mutating func receive(
            _ updates: [MemberUpdate], from: Int, epoch: UInt64 = 10, incarnation: UInt64 = 1,
            body: MembershipMessage.Body = .gossip
        ) {
            let sender = MembershipMessage.Sender(
                incarnation: incarnation, isPresent: true, address: VirtualNetwork.address(from),
                health: 0)
            core.handle(
                .received(
                    MembershipMessage(sender: sender, body: body, updates: updates),
                    from: VirtualNetwork.id(from), bootEpoch: BootEpoch(epoch),
                    address: VirtualNetwork.address(from)),
                at: now, into: &outputs)
        }

        /// Ticks as promised until `end`.
        mutating func run(until end: Instant) {
            while let deadline = core.nextDeadline, deadline <= end {
                now = max(now, deadline)
                core.handle(.tick, at: now, into: &outputs)
            }
            now = end
        }

        func status(_ number: Int) -> MemberStatus? {
            core.member(VirtualNetwork.id(number))?.status
        }

        var own: Member? { core.member(VirtualNetwork.id(0)) }
    }

    private func update(
        _ number: Int, _ status: MemberStatus, epoch: UInt64 = 10, incarnation: UInt64 = 1,
        accusers: [Int] = [], age: UInt64 = 0
    ) -> MemberUpdate {
        MemberUpdate(
            id: VirtualNetwork.id(number), bootEpoch: BootEpoch(epoch), incarnation: incarnation,
            status: status, address: VirtualNetwork.address(number), ageSeconds: age,
            accusers: accusers.map { VirtualNetwork.id($0) })
    }

    @Test("of two beliefs the newer wins in either order")
    func mergingIsCommutative() {
        var beliefs: [MemberUpdate] = []
        for epoch in [10, 11] as [UInt64] {
            for incarnation in [1, 2] as [UInt64] {
                for status in MemberStatus.allCases {
                    beliefs.append(
                        update(5, status, epoch: epoch, incarnation: incarnation, accusers: [1]))
                }
            }
        }
        for (place, older) in beliefs.enumerated() {
            for newer in beliefs[place...] {
                for pair in [[older, newer], [newer, older]] {
                    var bench = Bench()
                    bench.receive([], from: 1)
                    for belief in pair { bench.receive([belief], from: 1) }
                    let member = bench.core.member(newer.id)
                    #expect(member?.status == newer.status)
                    #expect(member?.incarnation == newer.incarnation)
                    #expect(member?.bootEpoch == newer.bootEpoch)
                }
            }
        }
    }

    @Test(
        "whatever is said of us is contradicted by the next incarnation",
        arguments: [1, 7, 1 << 40, UInt64.max - 1, UInt64.max],
        [MemberStatus.suspect, .dead, .left])
    func refutation(incarnation: UInt64, status: MemberStatus) {
        var bench = Bench()
        bench.receive([update(0, status, incarnation: incarnation)], from: 1)
        #expect(bench.own?.status == .alive)
        #expect(bench.own?.incarnation == (incarnation == .max ? .max : incarnation + 1))
        let answered = bench.outputs.contains {
            if case .send(let message, let target, _) = $0 {
                return target == VirtualNetwork.address(1)
                    && message.sender.incarnation == bench.own?.incarnation
            }
            return false
        }
        #expect(answered, "the accuser must hear at once")
    }

    @Test("an old belief or one about another start of ours is not contradicted")
    func harmlessBeliefs() {
        var bench = Bench()
        bench.receive([update(0, .suspect, incarnation: 5)], from: 1)
        bench.receive([update(0, .dead, incarnation: 5)], from: 1)
        bench.receive([update(0, .dead, epoch: 9, incarnation: 50)], from: 1)
        bench.receive([update(0, .dead, epoch: 11, incarnation: 50)], from: 1)
        #expect(bench.own?.incarnation == 6)
    }

    @Test("accusers shorten a suspicion, made-up ones and doubtful ones do not")
    func accusersShortenSuspicion() {
        func silence(_ accusers: [Int]) -> Duration {
            var bench = Bench()
            for peer in 1...5 { bench.receive([], from: peer) }
            bench.receive([update(5, .suspect, accusers: accusers)], from: 1)
            let start = bench.now
            for _ in 0..<200 where bench.status(5) == .suspect {
                bench.run(until: bench.now + .milliseconds(50))
                // Everybody but the suspect keeps talking; none of our own probes gets an answer.
                for peer in 1...4 { bench.receive([], from: peer, body: .ack(sequence: 0)) }
            }
            return bench.now - start
        }
        let lone = silence([1])
        let two = silence([1, 2])
        let three = silence([1, 2, 3])
        #expect(three < two && two < lone)
        #expect(three <= .milliseconds(1_600))
        #expect(silence([900, 901, 902, 5]) >= lone)
    }

    @Test("an old table's death is only a suspicion")
    func tableDeathsAreSuspicions() {
        var bench = Bench()
        bench.receive([], from: 1)
        bench.receive([], from: 2)
        bench.receive([update(2, .dead)], from: 1, body: .syncPage(number: 1, next: nil))
        #expect(bench.status(2) == .suspect)
        bench.receive([], from: 2, incarnation: 2)
        #expect(bench.status(2) == .alive)
        bench.receive([update(2, .dead, incarnation: 2)], from: 1)
        #expect(bench.status(2) == .dead)
    }

    @Test("a message from an older start is ignored whole")
    func olderStartsAreIgnored() {
        var bench = Bench()
        bench.receive([], from: 1, epoch: 10)
        bench.receive([update(2, .alive)], from: 1, epoch: 9)
        #expect(bench.status(2) == nil)
        bench.receive([], from: 1, epoch: 11)
        #expect(bench.core.member(VirtualNetwork.id(1))?.bootEpoch == BootEpoch(11))
    }

    @Test("the tables stay within their bounds, the longest dead goes first")
    func tablesAreBounded() {
        var config = MembershipConfig()
        config.membersMax = 20
        config.deadMax = 5
        var bench = Bench(config: config)
        for number in 1...10 { bench.receive([], from: number) }
        for number in 100..<130 {
            bench.receive([update(number, .dead, age: UInt64(1_000 - number))], from: 1)
            #expect(bench.core.members.count <= 20)
        }
        let dead = bench.core.members.filter { $0.status == .dead }.map(\.id)
        #expect(dead.sorted() == (125..<130).map { VirtualNetwork.id($0) }.sorted())
        for number in 200..<300 { bench.receive([], from: number) }
        #expect(bench.core.members.count == 20)
        #expect(bench.core.aliveIDs.count == 20)
    }

    @Test("the dead are forgotten after the retention, whoever tells of them")
    func deadAreForgotten() {
        var config = MembershipConfig()
        config.deadRetention = .seconds(100)
        var bench = Bench(config: config)
        bench.receive([update(7, .dead, age: 50), update(8, .left, age: 150)], from: 1)
        #expect(bench.status(7) == .dead)
        #expect(bench.status(8) == nil)
        bench.run(until: .zero + .seconds(130))
        #expect(bench.status(7) == nil)
    }

    @Test("facts that could not travel are not taken over, our own are cut")
    func longFacts() {
        let long = String(repeating: "x", count: 250)
        let facts = HostFacts(
            version: 9, name: long, capacity: Resources(), zone: Zone(datacenter: long, rack: long))
        var bench = Bench()
        var telling = update(1, .alive)
        telling.facts = facts
        bench.receive([telling], from: 1)
        #expect(bench.core.member(VirtualNetwork.id(1)) != nil)
        #expect(bench.core.member(VirtualNetwork.id(1))?.facts == nil)
        bench.core.handle(.updateFacts(facts), at: bench.now, into: &bench.outputs)
        #expect(bench.own?.facts?.name.utf8.count == 80)
        #expect(bench.own?.facts?.version == 9)
    }

    @Test("a tick at the deadline moves the deadline on")
    func deadlinesMoveOn() {
        var bench = Bench()
        #expect(bench.core.nextDeadline == nil)
        bench.core.handle(
            .join([VirtualNetwork.address(1)]), at: bench.now, into: &bench.outputs)
        for number in 1...4 { bench.receive([update(number + 10, .dead)], from: number) }
        for _ in 0..<5_000 {
            guard let deadline = bench.core.nextDeadline else { break }
            #expect(deadline > bench.now)
            bench.now = max(bench.now, deadline)
            bench.core.handle(.tick, at: bench.now, into: &bench.outputs)
        }
        #expect(bench.now > .zero + .seconds(60))
    }

    @Test("the defaults have no problems, broken settings name each")
    func problemsAreNamed() {
        #expect(MembershipConfig().problems() == [])
        var broken = MembershipConfig()
        broken.datagramBytesMax = 10
        broken.probeTimeout = .seconds(5)
        #expect(broken.problems().count == 2)
    }
}
