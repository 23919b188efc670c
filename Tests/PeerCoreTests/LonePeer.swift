import Base
import ClusterModel
import ClusterState
import Consensus
import Membership
import PeerCore

/// One brain alone: the only voter, with a disk that is done at once and a host played by the test.
struct LonePeer {
    var peer: Peer
    private(set) var now = Instant(nanoseconds: 1_000_000_000)
    /// Everything that was ordered, with when.
    private(set) var outputs: [(at: Instant, output: PeerOutput)] = []

    static let id = HostID(testing: 1)

    init(
        name: String = "h1", restored: RestoredLog = ConsensusCore.bootstrap(voter: LonePeer.id),
        inventory: [SetObservation] = []
    ) {
        peer = Peer(
            id: LonePeer.id, bootEpoch: BootEpoch(2),
            address: SocketAddress(10, 0, 0, 1, port: 7_400),
            facts: HostFacts(
                name: name,
                capacity: Resources(millicores: 4_000, memoryBytes: 4 << 30, sets: 40)),
            restored: restored, configuration: PeerConfiguration(),
            random: RandomSource(seed: 7), now: now)
        feed(.inventory(inventory))
    }

    /// Hands an input in, with what it makes durable.
    mutating func feed(_ input: PeerInput) {
        var inputs = [input]
        while !inputs.isEmpty {
            var produced: [PeerOutput] = []
            peer.handle(inputs.removeFirst(), at: now, into: &produced)
            for output in produced {
                outputs.append((now, output))
                if case .persist(let request) = output {
                    inputs.append(.persisted(ticket: request.ticket))
                }
            }
        }
    }

    /// Lets time pass, tick by tick.
    mutating func pass(_ time: Duration) {
        let end = now + time
        while let due = peer.nextDeadline, due <= end {
            now = max(due, now + .microseconds(1))
            feed(.tick)
        }
        now = end
        feed(.tick)
    }

    /// A lone host that serves one set of `web`, started and running.
    static func serving() -> (LonePeer, SetOrder?) {
        var lone = LonePeer()
        lone.pass(.seconds(3))
        lone.feed(.submit(ticket: 1, .registerImage(.demo)))
        lone.feed(.submit(ticket: 2, .applyService(.web(sets: 1))))
        lone.pass(.seconds(1))
        let order = lone.runs.last?.order
        if let order { lone.see(order, .started, [ContainerObservation(name: "app", pid: 100)]) }
        return (lone, order)
    }

    /// The host reports on the set of an order.
    mutating func see(
        _ order: SetOrder, _ state: SetObservation.State, _ containers: [ContainerObservation] = []
    ) {
        feed(
            .observed(
                SetObservation(
                    slot: order.placement.slot, placementIndex: order.placement.index,
                    state: state, address: [10, 64, 0, 2], containers: containers,
                    demand: order.spec.demand)))
    }

    /// The orders to run sets.
    var runs: [(at: Instant, order: SetOrder)] {
        outputs.compactMap { entry in
            if case .run(let order) = entry.output { (entry.at, order) } else { nil }
        }
    }

    /// When containers were ordered to start again.
    var restarts: [Instant] {
        outputs.compactMap { entry in
            if case .restart = entry.output { entry.at } else { nil }
        }
    }

    /// The sets that were ordered to end.
    var stops: [SlotID] {
        outputs.compactMap { entry in
            if case .stop(let slot, _, _) = entry.output { slot } else { nil }
        }
    }

    /// What an operator would read.
    var notes: [PeerNote] {
        outputs.compactMap { entry in
            if case .note(let note) = entry.output { note } else { nil }
        }
    }
}
