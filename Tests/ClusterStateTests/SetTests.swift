import Base
import ClusterModel
import Testing
import Wire

@testable import ClusterState

/// Decisions, reports and verdicts.
@Suite struct SetTests {
    static let h1 = HostID(testing: 1)
    static let h2 = HostID(testing: 2)
    static let web0 = SlotID(service: "web", ordinal: 0)

    /// Three hosts, and `web.0` of one set placed on the first.
    static func placed() -> (cluster: Cluster, placement: Placement) {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Cluster.web(sets: 1)))
        cluster.apply(
            .decide(
                basedOn: cluster.state.appliedIndex,
                decisions: [.place(web0, host: h1, revision: 1)]))
        let placement = Placement(
            slot: web0, host: h1, revision: 1, epoch: Cluster.epoch,
            index: cluster.state.appliedIndex)
        return (cluster, placement)
    }

    @Test("a placement carries the epoch and index of the entry that decided it")
    func placement() {
        let (cluster, placement) = SetTests.placed()
        #expect(cluster.state.slot(SetTests.web0)?.placement == placement)
        #expect(cluster.state.slot(SetTests.web0)?.phase == .starting)
        #expect(cluster.state.placements(on: SetTests.h1) == [placement])
        #expect(cluster.state.host(SetTests.h1)?.allocated == Cluster.web().demand)
    }

    @Test("a stale decision is skipped with an event, the others of its batch are not")
    func staleDecisions() {
        var (cluster, _) = SetTests.placed()
        cluster.apply(.applyService(Cluster.web("db", sets: 2)))
        cluster.apply(.declareHostLost(SetTests.h2, BootEpoch(10), reason: "test"))
        let db0 = SlotID(service: "db", ordinal: 0)
        let db1 = SlotID(service: "db", ordinal: 1)
        let stale: [SlotDecision] = [
            .place(SlotID(service: "gone", ordinal: 0), host: SetTests.h1, revision: 1),
            .place(SlotID(service: "db", ordinal: 2), host: SetTests.h1, revision: 1),
            .place(db0, host: SetTests.h2, revision: 1),
            .place(db0, host: HostID(testing: 77), revision: 1),
            .place(db0, host: SetTests.h1, revision: 9),
            .place(SetTests.web0, host: SetTests.h1, revision: 1),
            .unplace(db0, reason: "test"),
        ]
        let outcome = cluster.apply(
            .decide(
                basedOn: cluster.state.appliedIndex,
                decisions: stale + [.place(db1, host: SetTests.h1, revision: 1)]))
        let skipped = Array(repeating: EventKind.decisionSkipped, count: stale.count)
        #expect(outcome.kinds == skipped + [.setPlaced])
        #expect(cluster.state.slot(db0)?.placement == nil)
        #expect(cluster.state.slot(db1)?.placement?.host == SetTests.h1)
    }

    @Test("decisions on a slot that changed after the state they are based on are skipped")
    func basedOn() {
        var (cluster, placement) = SetTests.placed()
        let before = LogIndex(placement.index.value - 1)
        let outcome = cluster.apply(
            .decide(
                basedOn: before,
                decisions: [.place(SetTests.web0, host: SetTests.h2, revision: 1)]))
        #expect(outcome.kinds == [.decisionSkipped])
        #expect(cluster.state.slot(SetTests.web0)?.placement == placement)
    }

    @Test("a placement beyond the host's capacity is skipped")
    func capacity() {
        var cluster = Cluster.three(memory: 100 << 20)
        cluster.apply(.applyService(Cluster.web(sets: 2)))
        let decisions = (0..<2).map {
            SlotDecision.place(
                SlotID(service: "web", ordinal: $0), host: SetTests.h1, revision: 1)
        }
        let outcome = cluster.apply(
            .decide(basedOn: cluster.state.appliedIndex, decisions: decisions))
        #expect(outcome.kinds == [.setPlaced, .decisionSkipped])
        #expect(outcome.events.last?.message.contains("lacks memory") == true)
    }

    @Test("a host's report is taken for its own current placement only")
    func reports() {
        var (cluster, placement) = SetTests.placed()
        func send(
            _ cluster: inout Cluster, _ report: SetReport, host: HostID = SetTests.h1,
            boot: UInt64 = 10
        ) -> [EventKind] {
            cluster.apply(
                .reportSets(host: host, bootEpoch: BootEpoch(boot), reports: [report]),
                from: host, boot: boot
            ).kinds
        }
        let good = Cluster.report(placement, .running)
        var other = good
        other.placementIndex = LogIndex(1)
        var unknown = good
        unknown.slot.ordinal = 5
        #expect(send(&cluster, other) == [])
        #expect(send(&cluster, unknown) == [])
        #expect(send(&cluster, good, host: SetTests.h2) == [])
        #expect(send(&cluster, good, boot: 9) == [])
        #expect(cluster.state.slot(SetTests.web0)?.phase == .starting)
        #expect(send(&cluster, good) == [.setRunning])
        #expect(cluster.state.slot(SetTests.web0)?.phase == .running)
        #expect(cluster.state.slot(SetTests.web0)?.address == [10, 1, 2, 3])
        #expect(send(&cluster, good) == [])
        var failed = good
        failed.phase = .failed
        failed.reason = "no such program"
        #expect(send(&cluster, failed) == [.setFailed])
    }

    @Test("a report that arrives behind a newer one of its host is ignored")
    func lateReport() {
        var (cluster, placement) = SetTests.placed()
        for (number, phase) in [(8, SetPhase.running), (7, .failed), (8, .failed)] {
            let request = RequestID(
                host: SetTests.h1, bootEpoch: BootEpoch(10), number: UInt64(number))
            cluster.apply(
                CommandEnvelope(
                    request: request, proposedAt: WallTime(milliseconds: 0),
                    command: .reportSets(
                        host: SetTests.h1, bootEpoch: BootEpoch(10),
                        reports: [Cluster.report(placement, phase)])))
        }
        #expect(cluster.state.slot(SetTests.web0)?.phase == .running)
    }

    @Test("each kill for lack of memory is one event")
    func outOfMemory() {
        var (cluster, placement) = SetTests.placed()
        let killed = ContainerExit(code: 137, outOfMemory: true)
        let steps: [(SetPhase, Int, ContainerExit?, Bool, [EventKind])] = [
            (.running, 0, nil, true, [.setRunning]),
            (.backingOff, 0, killed, false, [.setOutOfMemory, .setBackingOff]),
            (.running, 1, killed, true, [.setRunning]),
            (.backingOff, 1, killed, false, [.setOutOfMemory, .setBackingOff]),
            (.running, 2, killed, true, [.setRunning]),
            (.running, 3, killed, true, [.setOutOfMemory]),
            (.backingOff, 3, ContainerExit(code: 1), false, [.setBackingOff]),
        ]
        for (phase, restarts, exit, running, kinds) in steps {
            var report = Cluster.report(placement, phase)
            report.containers = [
                ContainerStatus(
                    name: "app", pid: 1, restarts: restarts, lastExit: exit, running: running)
            ]
            let outcome = cluster.apply(
                .reportSets(host: SetTests.h1, bootEpoch: BootEpoch(10), reports: [report]),
                from: SetTests.h1)
            #expect(outcome.kinds == kinds)
        }
        #expect(cluster.state.events.last?.message.contains("exited with 1") == true)
    }

    @Test("a lost host's sets keep their place until they move, and come back if they did not")
    func lostAndReturned() {
        var (cluster, placement) = SetTests.placed()
        cluster.reportAll()
        cluster.apply(.declareHostLost(SetTests.h1, BootEpoch(10), reason: "silent"))
        let slot = cluster.state.slot(SetTests.web0)
        #expect(slot?.phase == .pending)
        #expect(slot?.reason == "its host was lost")
        #expect(slot?.placement == placement)
        var returned = cluster
        returned.apply(.declareHostReturned(SetTests.h1, BootEpoch(10)))
        #expect(returned.state.slot(SetTests.web0)?.phase == .running)
        #expect(returned.verdict(placement) == .keep)
        cluster.settle()
        cluster.apply(.declareHostReturned(SetTests.h1, BootEpoch(10)))
        #expect(cluster.state.slot(SetTests.web0)?.placement?.host == SetTests.h2)
        guard case .stop(let reason) = cluster.verdict(placement) else {
            Issue.record("the old copy must stop")
            return
        }
        #expect(reason.contains("h2"))
        #expect(cluster.state.host(SetTests.h1)?.slots == [])
    }

    /// What happens after `web.0` was placed on h1, and what h1 is told then.
    static let verdicts: [(String, [Command], String)] = [
        ("nothing", [], "keep"),
        ("host lost", [.declareHostLost(h1, BootEpoch(10), reason: "x")], "keep"),
        ("deleted", [.deleteService("web")], "stop"),
        ("deleted and created again", [.deleteService("web"), .applyService(one)], "stop"),
        ("scaled to zero", [.scale(service: "web", sets: 0)], "stop"),
        (
            "scaled down and up",
            [.scale(service: "web", sets: 0), .scale(service: "web", sets: 1)],
            "stop"
        ),
        (
            "moved", [.decide(basedOn: late, decisions: [.place(web0, host: h2, revision: 1)])],
            "stop"
        ),
        ("taken away", [.decide(basedOn: late, decisions: [.unplace(web0, reason: "x")])], "stop"),
        (
            "host forgotten", [.declareHostLost(h1, BootEpoch(10), reason: "x"), .forgetHost(h1)],
            "stop"
        ),
    ]
    static let one = Cluster.web(sets: 1)
    static let late = LogIndex(100)

    @Test("a host stops a set only for a newer fact")
    func verdictAfterChange() {
        for (name, commands, expected) in SetTests.verdicts {
            var (cluster, placement) = SetTests.placed()
            for command in commands { #expect(cluster.apply(command).result == .applied) }
            let verdict = cluster.verdict(placement)
            let word =
                switch verdict {
                case .keep: "keep"
                case .stop: "stop"
                case .unknown: "unknown"
                }
            #expect(word == expected, "\(name)")
            #expect(cluster.verdict(placement, index: LogIndex(1_000)) == .unknown, "\(name)")
        }
    }

    @Test("a set that the log never heard of keeps running")
    func unknownSets() {
        let (cluster, placement) = SetTests.placed()
        var other = placement
        other.slot.service = "nope"
        #expect(cluster.verdict(other) == .unknown)
        other = placement
        other.slot.ordinal = 7
        #expect(cluster.verdict(other) == .unknown)
        #expect(
            ReplicatedState().verdict(on: other.slot, placementIndex: .zero, host: other.host)
                == .unknown)
    }
}

extension Cluster {
    func verdict(_ placement: Placement, index: LogIndex? = nil) -> SetVerdict {
        state.verdict(
            on: placement.slot, placementIndex: index ?? placement.index, host: placement.host)
    }
}
