import Base
import ClusterModel
import Testing
import Wire

@testable import ClusterState

/// A slot with volumes moves as the log says, and nothing runs twice or loses its newest volumes.
@Suite("Moves of slots with volumes")
struct MoveTests {
    private static let db0 = SlotID(service: "db", ordinal: 0)
    private static let original = "00000000000000aa"
    private static let copy = "00000000000000bb"

    /// A cluster in which db.0 runs and its host has told of its volume.
    struct Moving {
        var cluster = Cluster.three()
        var source = HostID(testing: 0)
        var target = HostID(testing: 0)
        var owner = LogIndex.zero

        init() throws {
            let spec = Cluster.web("db", sets: 1) {
                $0.volumes = [VolumeSpec(name: "data", sizeBytes: 64 << 20, mount: "/data")]
            }
            cluster.apply(.applyService(spec))
            cluster.settle()
            cluster.reportAll()
            source = try #require(slot?.volumeHost)
            target = try #require(cluster.usable.first { $0 != source })
            owner = try #require(cluster.state.service("db")?.createdAt)
            tell([report(MoveTests.original)], of: source)
        }

        var slot: SlotRecord? { cluster.state.slot(MoveTests.db0) }
        var move: SlotMove? { cluster.state.move(of: MoveTests.db0) }

        func report(
            _ id: String, trashedAt: Int? = nil, owner: LogIndex? = nil
        ) -> VolumeReport {
            VolumeReport(
                slot: MoveTests.db0, name: "data", id: id, volumeClass: .loop,
                sizeBytes: 64 << 20, trashedAt: trashedAt, owner: owner ?? self.owner)
        }

        mutating func tell(_ volumes: [VolumeReport], of host: HostID) {
            cluster.apply(
                .reportVolumes(host: host, bootEpoch: BootEpoch(10), volumes: volumes), from: host)
        }

        @discardableResult
        mutating func start() -> CommandOutcome {
            cluster.apply(.startMove(MoveTests.db0, to: target))
        }

        @discardableResult
        mutating func step(_ step: MoveStep, of index: LogIndex? = nil) -> CommandOutcome {
            cluster.apply(.stepMove(MoveTests.db0, move: index ?? move?.index ?? .zero, step))
        }

        @discardableResult
        mutating func finish(heldAt: LogIndex? = nil) -> CommandOutcome {
            let copies = [MovedVolume(original: MoveTests.original, copy: MoveTests.copy)]
            return step(.finish(heldAt: heldAt ?? move?.heldAt ?? .zero, copies: copies))
        }

        mutating func settle() {
            cluster.settle()
            cluster.reportAll()
        }

        /// What each step leaves is read back as it was, and replaying changes nothing.
        func check(_ when: String) throws {
            #expect(
                try ReplicatedState(decoding: cluster.state.encoded) == cluster.state, "\(when)")
            var again = ReplicatedState()
            for (entry, index) in cluster.log {
                _ = again.apply(entry, at: index, epoch: Cluster.epoch)
            }
            #expect(again.fingerprint == cluster.state.fingerprint, "\(when)")
        }
    }

    @Test("copying, held, switched: the slot runs on its source, nowhere, on its target")
    func steps() throws {
        var moving = try Moving()
        let placement = try #require(moving.slot?.placement)
        #expect(moving.start().kinds == [.slotMoved])
        moving.settle()
        #expect(moving.slot?.placement == placement, "it runs on while it is copied")
        try moving.check("copying")

        moving.step(.hold)
        #expect(moving.slot?.placement == nil)
        #expect(moving.cluster.settle() == 0, "nobody places what is held")
        let forced = moving.cluster.apply(
            .decide(
                basedOn: moving.cluster.state.appliedIndex,
                decisions: [.place(Self.db0, host: moving.source, revision: 1)]))
        #expect(forced.kinds == [.decisionSkipped])
        #expect(moving.slot?.reason.contains("is held while its last changes go to") == true)
        let verdict = moving.cluster.state.verdict(
            on: Self.db0, placementIndex: placement.index, host: moving.source)
        guard case .stop = verdict else {
            Issue.record("the set on the source goes on: \(verdict)")
            return
        }
        try moving.check("held")

        #expect(moving.finish().kinds == [.slotMoved])
        #expect(moving.move == nil)
        moving.settle()
        #expect(moving.slot?.placement?.host == moving.target)
        #expect(moving.cluster.state.hasArrived(copy: Self.copy, on: moving.target))
        #expect(!moving.cluster.state.hasArrived(copy: Self.copy, on: moving.source))
        try moving.check("switched")
    }

    @Test("steps that come twice, late or of another move change nothing")
    func stale() throws {
        var moving = try Moving()
        moving.start()
        let first = try #require(moving.move)
        #expect(moving.start().events.isEmpty, "the same move begun again")
        #expect(moving.finish().refusal == .invalid, "not held yet")
        moving.step(.hold)
        let heldAt = try #require(moving.move?.heldAt)
        #expect(moving.step(.hold).events.isEmpty)
        #expect(moving.move?.heldAt == heldAt)

        // Held again: what was copied the first time is not the newest.
        moving.step(.release(reason: "the network is down"))
        #expect(moving.step(.release(reason: "again")).events.isEmpty)
        moving.settle()
        #expect(moving.slot?.placement?.host == moving.source)
        moving.step(.hold)
        #expect(moving.move?.heldAt != heldAt)
        #expect(moving.finish(heldAt: heldAt).refusal == .invalid)

        moving.step(.cancel(reason: "asked"))
        #expect(moving.move == nil)
        #expect(moving.step(.cancel(reason: "asked"), of: first.index).refusal == .invalid)
        #expect(moving.step(.hold, of: first.index).refusal == .invalid)
        moving.start()
        #expect(moving.step(.hold, of: first.index).refusal == .invalid, "of the move before")
        moving.settle()
        #expect(moving.slot?.placement?.host == moving.source)
        try moving.check("after all of it")
    }

    @Test("what cannot be is refused with a sentence")
    func refusals() throws {
        var moving = try Moving()
        let (source, target) = (moving.source, moving.target)
        func refusal(_ slot: SlotID, _ host: HostID) -> CommandRefusal.Code? {
            moving.cluster.apply(.startMove(slot, to: host)).refusal
        }
        #expect(refusal(SlotID(service: "no", ordinal: 0), target) == .serviceUnknown)
        #expect(refusal(SlotID(service: "db", ordinal: 1), target) == .serviceUnknown)
        #expect(refusal(Self.db0, source) == .invalid)
        #expect(refusal(Self.db0, HostID(testing: 77)) == .hostUnknown)
        moving.cluster.apply(.applyService(Cluster.web("web", sets: 1)))
        moving.cluster.settle()
        let web = SlotID(service: "web", ordinal: 0)
        #expect(moving.cluster.apply(.startMove(web, to: target)).refusal == .invalid)
        moving.start()
        let third = try #require(moving.cluster.usable.first { $0 != source && $0 != target })
        #expect(moving.cluster.apply(.startMove(Self.db0, to: third)).refusal == .invalid)
        moving.step(.cancel(reason: "asked"))
        let boot = BootEpoch(10)
        moving.cluster.apply(.declareHostLost(target, boot, reason: "silent"))
        #expect(moving.start().refusal == .noRoom)
        moving.cluster.apply(.declareHostReturned(target, boot))
        moving.cluster.apply(.declareHostLost(source, boot, reason: "silent"))
        #expect(moving.start().refusal == .hostUnknown)
    }

    @Test("a lost target gives a held slot back to its source; a lost source keeps it waiting")
    func losses() throws {
        var moving = try Moving()
        let boot = BootEpoch(10)
        moving.start()
        moving.step(.hold)
        moving.cluster.apply(.declareHostLost(moving.target, boot, reason: "silent"))
        moving.cluster.usable.removeAll { $0 == moving.target }
        moving.settle()
        #expect(moving.slot?.placement?.host == moving.source, "it runs on")
        #expect(moving.move?.heldAt == nil, "and the move waits")
        moving.cluster.apply(.declareHostReturned(moving.target, boot))
        moving.step(.hold)
        moving.cluster.apply(.declareHostLost(moving.source, boot, reason: "silent"))
        moving.settle()
        #expect(moving.slot?.placement == nil, "nothing starts without the newest of its volumes")
        moving.cluster.apply(.forgetHost(moving.source))
        #expect(moving.move == nil)
        try moving.check("after losses")
    }

    @Test("a slot or service that goes takes its move along")
    func gone() throws {
        for command in [Command.scale(service: "db", sets: 0), .deleteService("db")] {
            var moving = try Moving()
            moving.start()
            moving.step(.hold)
            moving.cluster.apply(command)
            #expect(moving.cluster.state.moves.isEmpty)
            try moving.check("\(command)")
        }
        var moving = try Moving()
        moving.start()
        moving.cluster.apply(.applyService(Cluster.web("db", sets: 1)))
        moving.settle()
        #expect(moving.cluster.state.moves.isEmpty, "without volumes nothing moves")
    }

    @Test("the originals go to the trash and belong to nobody, whatever became of the service")
    func leftBehind() throws {
        var moving = try Moving()
        moving.start()
        moving.step(.hold)
        moving.finish()
        // The source is away, and neither host has told of anything: the service goes and comes.
        moving.cluster.apply(.deleteService("db"))
        let before = moving.cluster.state.verdict(
            on: moving.report(Self.original), host: moving.source)
        guard case .stop(let reason) = before else {
            Issue.record("the original stays: \(before)")
            return
        }
        #expect(reason.contains("moved to host"))
        #expect(moving.cluster.state.isLeftBehind(moving.report(Self.original), on: moving.source))
        moving.cluster.apply(.restoreService("db"))
        #expect(moving.slot?.volumeHost == moving.target, "not the stale ones of the source")
        // Told, but in use still: they are not forgotten.
        moving.tell([moving.report(Self.original)], of: moving.source)
        moving.tell([moving.report(Self.copy)], of: moving.target)
        #expect(moving.cluster.state.finishedMoves.count == 1)
        try moving.check("told by one")
        moving.cluster.apply(.deleteService("db"))
        moving.cluster.apply(.restoreService("db"))
        #expect(moving.slot?.volumeHost == moving.target)
        // In the trash, and nobody's: both hosts know.
        moving.tell(
            [moving.report(Self.original, trashedAt: 9, owner: .zero)], of: moving.source)
        #expect(moving.cluster.state.finishedMoves.isEmpty)
        moving.cluster.apply(.deleteService("db"))
        moving.tell([moving.report(Self.copy, trashedAt: 10)], of: moving.target)
        moving.cluster.apply(.restoreService("db"))
        #expect(moving.slot?.volumeHost == moving.target)
        try moving.check("settled")
    }

    @Test("steps are read as they were written; a damaged one is refused")
    func forms() throws {
        let steps: [MoveStep] = [
            .hold, .release(reason: "why"), .cancel(reason: ""),
            .finish(
                heldAt: LogIndex(9),
                copies: [MovedVolume(original: Self.original, copy: Self.copy)]),
        ]
        for step in steps {
            let command = Command.stepMove(Self.db0, move: LogIndex(7), step)
            #expect(try Command(decoding: command.encoded) == command)
            for count in command.encoded.indices {
                #expect(throws: WireError.self) {
                    try Command(decoding: Array(command.encoded.prefix(count)))
                }
            }
        }
        #expect(throws: WireError.unknownCase(what: "step of a move", value: 9)) {
            try MoveStep(decoding: [9])
        }
        let start = Command.startMove(Self.db0, to: HostID(testing: 3))
        #expect(try Command(decoding: start.encoded) == start)
    }
}
