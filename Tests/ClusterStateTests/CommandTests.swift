import Base
import ClusterModel
import Testing
import Wire

@testable import ClusterState

/// What each command does, and when it is refused.
@Suite struct CommandTests {
    static let h1 = HostID(testing: 1)
    static let spec = Cluster.web()

    /// A command on three hosts with the service `web` placed, and the code it is refused with.
    static let refusals: [(Command, CommandRefusal.Code)] = [
        (.applyService(Cluster.web("Bad")), .invalid),
        (.applyService(Cluster.web("a") { $0.containers[0].image = "nope:1" }), .imageUnknown),
        (.applyService(Cluster.web("a") { $0.network.publish = [port] }), .portTaken),
        (.applyService(Cluster.web("a", sets: 100_000)), .tooMany),
        (.scale(service: "nope", sets: 1), .serviceUnknown),
        (.scale(service: "web", sets: -1), .invalid),
        (.scale(service: "web", sets: 100_001), .invalid),
        (.deleteService("nope"), .serviceUnknown),
        (.forgetHost(h1), .hostActive),
        (.forgetHost(HostID(testing: 77)), .hostUnknown),
        (.declareHostLost(h1, BootEpoch(9), reason: "x"), .hostStale),
        (.declareHostLost(HostID(testing: 77), BootEpoch(9), reason: "x"), .hostUnknown),
        (.declareHostReturned(h1, BootEpoch(9)), .hostStale),
        (.registerHost(changed { $0.bootEpoch = BootEpoch(9) }), .hostStale),
        (.registerHost(changed { $0.name = "" }), .invalid),
        (.registerHost(changed { $0.pool = "a b" }), .invalid),
        (.registerHost(changed { $0.zone.rack = "" }), .invalid),
        (.registerHost(changed { $0.capacity.memoryBytes = -1 }), .invalid),
        (.registerHost(changed { $0.capacity.sets = Int.max }), .invalid),
        (.registerImage(Cluster.image("Bad Name")), .invalid),
        (.registerImage(Cluster.image("a", digit: "z")), .invalid),
        (
            .reportSets(host: HostID(testing: 77), bootEpoch: BootEpoch(1), reports: []),
            .hostUnknown
        ),
    ]

    static let port = PublishedPort(port: 80, hostPort: 18_080)

    static func changed(_ change: (inout HostRegistration) -> Void) -> HostRegistration {
        var registration = Cluster.registration(1)
        change(&registration)
        return registration
    }

    static func withWeb() -> Cluster {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Cluster.web { $0.network.publish = [port] }))
        cluster.apply(.applyService(Cluster.web("big", sets: 100_000)))
        cluster.settle(maximum: 50, plansMax: 1)
        return cluster
    }

    @Test("what is wrong is refused with a typed reason and changes nothing")
    func refusals() {
        let prepared = CommandTests.withWeb()
        for (command, code) in CommandTests.refusals {
            var cluster = prepared
            let outcome = cluster.apply(command)
            #expect(outcome.refusal == code, "\(command)")
            #expect(outcome.events.isEmpty)
            #expect(cluster.state.services == prepared.state.services)
            #expect(cluster.state.hosts == prepared.state.hosts)
            #expect(cluster.state.images == prepared.state.images)
            #expect(cluster.state.events == prepared.state.events)
            guard case .refused(let refusal) = outcome.result else { continue }
            #expect(refusal.message.count > 20)
        }
        var cluster = prepared
        let outcome = cluster.apply(CommandTests.refusals[1].0)
        guard case .refused(let refusal) = outcome.result else { return }
        #expect(refusal.message.contains("nope:1"))
        #expect(refusal.message.contains("shoal image load"))
    }

    @Test("a host gets the lowest free subnet and keeps it until it is forgotten")
    func subnets() {
        var cluster = Cluster.three()
        #expect(["h1", "h2", "h3"].map { cluster.host($0)?.subnetIndex } == [0, 1, 2])
        let h2 = Cluster.registration(2)
        cluster.apply(.declareHostLost(h2.id, h2.bootEpoch, reason: "test"))
        cluster.apply(.registerHost(Cluster.registration(4)))
        #expect(cluster.host("h4")?.subnetIndex == 3)
        #expect(cluster.apply(.forgetHost(h2.id)).kinds == [.hostForgotten])
        cluster.apply(.registerHost(Cluster.registration(5)))
        #expect(cluster.host("h5")?.subnetIndex == 1)
    }

    @Test("registering again changes what changed, and brings a lost host back")
    func registersAgain() {
        var cluster = Cluster.three()
        #expect(cluster.apply(.registerHost(Cluster.registration(1))).kinds == [])
        let newer = CommandTests.changed { $0.bootEpoch = BootEpoch(11) }
        #expect(cluster.apply(.registerHost(newer)).kinds == [.hostChanged])
        let lost = cluster.apply(.declareHostLost(newer.id, BootEpoch(11), reason: "test"))
        #expect(lost.kinds == [.hostLost])
        #expect(cluster.host("h1")?.status == .lost)
        #expect(cluster.apply(.registerHost(newer)).kinds == [.hostReturned])
        #expect(cluster.host("h1")?.status == .active)
        cluster.apply(.declareHostLost(newer.id, BootEpoch(11), reason: "test"))
        let returned = cluster.apply(.declareHostReturned(newer.id, BootEpoch(11)))
        #expect(returned.kinds == [.hostReturned])
    }

    @Test("only a changed template makes a new revision")
    func revisions() {
        var cluster = Cluster.three()
        let spec = Cluster.web()
        #expect(cluster.apply(.applyService(spec)).kinds == [.serviceCreated])
        #expect(cluster.apply(.applyService(spec)) == CommandOutcome(result: .applied))
        #expect(
            cluster.apply(.applyService(Cluster.web(sets: 8))).kinds == [.serviceScaled])
        #expect(
            cluster.apply(.applyService(Cluster.web(sets: 8) { $0.priority = 60 })).kinds
                == [.serviceChanged])
        #expect(cluster.state.service("web")?.revision == 1)
        for pids in 1...20 {
            let outcome = cluster.apply(
                .applyService(Cluster.web { $0.containers[0].pidsMax = pids }))
            #expect(outcome.kinds.first == .serviceChanged)
        }
        let service = cluster.state.service("web")
        #expect(service?.revision == 21)
        #expect(service?.revisions.map(\.number) == Array(12...21))
        #expect(service?.spec(revision: 12)?.containers[0].pidsMax == 11)
        #expect(service?.spec(revision: 11) == nil)
    }

    @Test("a revision that placed sets still run is kept, up to a bound")
    func revisionsInUse() {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Cluster.web(sets: 100)))
        cluster.settle()
        for pids in 1...30 {
            cluster.apply(
                .applyService(
                    Cluster.web(sets: 100) { $0.containers[0].command = ["sleep", "\(pids)"] }))
        }
        let numbers = cluster.state.service("web")?.revisions.map(\.number)
        #expect(numbers == [1] + Array(22...31))
    }

    @Test("an image without a tag is the one tagged latest; a reference can move")
    func images() {
        var cluster = Cluster.three()
        cluster.apply(.registerImage(Cluster.image("app:latest")))
        #expect(cluster.state.image("app")?.reference == "app:latest")
        #expect(cluster.state.image("app:2") == nil)
        #expect(cluster.apply(.registerImage(Cluster.image("app:latest"))).kinds == [])
        let moved = cluster.apply(.registerImage(Cluster.image("app:latest", digit: "b")))
        #expect(moved.kinds == [.imageRegistered])
        #expect(cluster.state.images.count == 2)
    }

    @Test("a request that comes twice gets its first answer and changes nothing")
    func duplicates() {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Cluster.web()))
        let request = RequestID(
            host: CommandTests.h1, bootEpoch: BootEpoch(10), number: 1)
        for (command, again) in [
            (Command.scale(service: "web", sets: 2), CommandOutcome.Result.duplicate),
            (.scale(service: "nope", sets: 2), .refused(CommandRefusal(.invalid, ""))),
        ] {
            var request = request
            request.number += UInt64(cluster.log.count)
            let entry = CommandEnvelope(
                request: request, proposedAt: WallTime(milliseconds: 1), command: command)
            let first = cluster.apply(entry)
            cluster.apply(.scale(service: "web", sets: 5))
            let before = cluster.state
            let second = cluster.apply(entry)
            if again == .duplicate {
                #expect(first.result == .applied)
                #expect(second.result == .duplicate)
            } else {
                #expect(second.result == first.result)
                #expect(second.refusal == .serviceUnknown)
            }
            #expect(second.events.isEmpty)
            #expect(cluster.state.services == before.services)
            #expect(cluster.state.events == before.events)
        }
    }

    @Test("an entry that is not above the last one is ignored")
    func oldEntries() {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Cluster.web()))
        let before = cluster.state
        for (entry, index) in cluster.log {
            _ = cluster.state.apply(entry, at: index, epoch: Cluster.epoch)
        }
        #expect(cluster.state == before)
    }

    @Test("the rows of requests and events are bounded")
    func bounds() {
        var cluster = Cluster.three()
        cluster.apply(.applyService(Cluster.web()))
        for round in 0..<5_000 {
            cluster.apply(.scale(service: "web", sets: 1 + round % 2))
        }
        #expect(cluster.state.events.count == Limits.events)
        #expect(cluster.state.requests.order.count == Limits.requests)
        let indexes = cluster.state.events.map(\.index)
        #expect(indexes == indexes.sorted())
        #expect(indexes.last == cluster.state.appliedIndex)
    }
}
