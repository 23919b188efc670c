import Base
import Testing

@testable import Consensus

@Suite("Consensus under random faults")
struct RandomFaultTests {
    /// Small bounds, so that pipelining, chunks and compaction happen often.
    private var tiny: ConsensusConfig {
        var config = ConsensusConfig()
        config.messageEntriesMax = 3
        config.inflightMessagesMax = 3
        config.snapshotChunkBytes = 50
        config.trailingEntries = 8
        return config
    }

    /// Goal: the log's and the lease's rules hold whatever fails, and the cluster recovers.
    ///
    /// Method: 60 virtual seconds of losses, partitions, crashes, voter changes, hand-overs and
    /// snapshots, with clocks that drift; the harness checks after every event; then all is healed.
    @Test("nothing is lost, nobody shares the lease, and all recover", arguments: 1...100)
    func seed(_ seed: UInt64) throws {
        do {
            try run(seed)
        } catch {
            Issue.record("seed \(seed): \(error)")
        }
    }

    private func run(_ seed: UInt64) throws {
        var random = RandomSource(seed: seed).fork("faults")
        let count = Int.random(in: 3...6, using: &random)
        var cluster = ClusterHarness(hosts: count, seed: seed, config: tiny)
        cluster.snapshotEvery = 20
        if seed % 2 == 0 {
            // Just within the drift that the lease bears: 1,000 ms to 800 ms.
            for host in cluster.hosts.indices {
                cluster.hosts[host].clockRate = random.happens(perThousand: 500) ? 900 : 1_120
            }
        }
        cluster.snapshotPadding = 120
        cluster.wantedVoters = cluster.ids(Array(0..<min(count, 3)))
        try cluster.startAll()
        try cluster.run(for: .seconds(4))
        let end = cluster.now + .seconds(60)
        var ticket: UInt64 = 0
        while cluster.now < end {
            try fault(&cluster, &random)
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                for host in cluster.hosts.indices {
                    ticket += 1
                    try cluster.input(.propose(ticket: ticket, [UInt8(ticket % 251)]), to: host)
                }
                try cluster.run(
                    for: random.duration(in: .milliseconds(10) ... .milliseconds(200)))
            }
        }
        try recover(&cluster)
    }

    private func fault(_ cluster: inout ClusterHarness, _ random: inout RandomSource) throws {
        let hosts = cluster.hosts.indices
        let host = Int.random(in: hosts, using: &random)
        switch Int.random(in: 0..<17, using: &random) {
        case 0, 1: cluster.crash(host)
        case 2: if let leader = cluster.leaseholder { cluster.crash(leader) }
        case 3, 4, 5: for host in hosts { try cluster.start(host) }
        case 6: cluster.isolate(hosts.filter { _ in random.happens(perThousand: 500) })
        case 7, 8: cluster.blocked = []
        case 9: cluster.lossPerThousand = [0, 20, 100, 300].randomElement(using: &random) ?? 0
        case 10:
            let wanted = hosts.filter { _ in random.happens(perThousand: 600) }
            if !wanted.isEmpty { cluster.wantedVoters = cluster.ids(wanted) }
        case 11, 12: try cluster.bounce(hosts.filter { _ in random.happens(perThousand: 700) })
        case 13:
            // One direction, or both, between a host and some others.
            for other in hosts where random.happens(perThousand: 400) {
                if random.happens(perThousand: 700) { cluster.block(from: host, to: other) }
                if random.happens(perThousand: 700) { cluster.block(from: other, to: host) }
            }
        case 14:
            for host in hosts {
                let slow = random.happens(perThousand: 300)
                cluster.hosts[host].diskDelayMax = .milliseconds(slow ? 800 : 15)
            }
        default:
            let target = cluster.hosts[host].id
            let leader = cluster.leaseholder
            for host in hosts { try cluster.input(.transferLease(to: target), to: host) }
            guard let leader, random.happens(perThousand: 500) else { return }
            for other in hosts { cluster.block(from: other, to: leader) }
        }
    }

    private func recover(_ cluster: inout ClusterHarness) throws {
        cluster.blocked = []
        cluster.lossPerThousand = 0
        for host in cluster.hosts.indices { cluster.hosts[host].diskDelayMax = .milliseconds(15) }
        try cluster.startAll()
        let led = try cluster.run(atMost: .seconds(15)) { $0.leaseholder != nil }
        guard led, let leader = cluster.leaseholder else {
            throw Violation(description: "nobody holds the lease after everything was healed")
        }
        let before = cluster.committed.count
        try cluster.input(.propose(ticket: .max, [255]), to: leader)
        let applied = try cluster.run(atMost: .seconds(15)) { cluster in
            cluster.committed.count > before && cluster.allApplied
        }
        guard applied else { throw Violation(description: "not all hosts caught up") }
        let wanted = (cluster.wantedVoters ?? []).sorted()
        let settled = try cluster.run(atMost: .seconds(20)) { cluster in
            cluster.leaseholder.map { cluster.hosts[$0].core?.voters == wanted } ?? false
        }
        guard settled else { throw Violation(description: "the voters are not the wanted ones") }
        guard cluster.hosts.allSatisfy({ $0.core?.hasHeardFromLeaseholder == true }) else {
            throw Violation(description: "a host has not noticed that it is up to date")
        }
    }
}
