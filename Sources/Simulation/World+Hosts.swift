import Base
import ClusterModel
import ClusterState
import Consensus
import PeerCore

// MARK: - Agents that start and crash

extension World {
    /// Starts a host's agent from what its disk holds.
    mutating func start(host: Int) {
        guard hosts[host].peer == nil, !hosts[host].isAway else { return }
        hosts[host].bootEpoch.value += 1
        let seed = options.seed &* 1_000 &+ UInt64(host) &* 64 &+ hosts[host].bootEpoch.value
        var configuration = PeerConfiguration()
        // Small, so that snapshots are common.
        configuration.snapshotEvery = 40
        configuration.consensus.trailingEntries = 10
        let starting = hosts[host]
        let peer = Peer(
            id: starting.id, bootEpoch: starting.bootEpoch, address: starting.address,
            facts: starting.facts, restored: starting.disk.durable,
            configuration: configuration, random: RandomSource(seed: seed),
            now: starting.clock(at: now))
        hosts[host].peer = peer
        hosts[host].tickAt = nil
        hosts[host].isFlushing = false
        hosts[host].stalledUntil = .zero
        hosts[host].clusterIndexAtStart = checker.highestIndex
        say(host, "agent starts, boot epoch \(hosts[host].bootEpoch.value)")
        feed(
            .clock(WallTime(milliseconds: 1_700_000_000_000 + now.nanoseconds / 1_000_000)),
            to: host)
        let seeds = hosts.indices.filter { $0 != host }.map { hosts[$0].address }
        feed(.join(seeds), to: host)
        if let room = options.volumeRoomBytes {
            feed(.volumes(hosts[host].volumes), to: host)
            feed(.offer(VolumeOffer(diskBytes: room)), to: host)
        }
        feed(.inventory(hosts[host].sets.map(\.observation)), to: host)
        feed(.tick, to: host)
    }

    /// One flush at a time, with all that was written until it starts, as the real store does.
    mutating func flushIfIdle(_ host: Int) {
        guard !hosts[host].isFlushing, let ticket = hosts[host].disk.lastTicket else { return }
        hosts[host].isFlushing = true
        let slowest =
            now < hosts[host].diskSlowUntil ? Duration.milliseconds(1_500) : options.flushMax
        queue.schedule(
            .flushed(
                host: host, id: hosts[host].id, bootEpoch: hosts[host].bootEpoch, ticket: ticket),
            at: now + networkRandom.duration(in: .microseconds(50)...slowest))
    }

    /// The agent dies; what it had not flushed is lost, its sets run on.
    mutating func crashAgent(_ host: Int) {
        hosts[host].peer = nil
        hosts[host].disk.crash()
        say(host, "agent crashes")
    }

    /// The host dies with all its sets.
    mutating func crashHost(_ host: Int) {
        crashAgent(host)
        for var set in hosts[host].sets {
            for container in set.pids.indices where set.pids[container] != nil {
                set.pids[container] = nil
                set.exits[container] = ContainerExit(code: 137)
            }
            hosts[host][set.slot] = set
        }
        hosts[host].reboot(at: now)
        say(host, "host lost power")
    }

    /// The host is lost with its disk; another machine takes its address, with a key of its own.
    mutating func loseHost(_ host: Int) {
        crashAgent(host)
        lastIdentity += 1
        hosts[host].replace(by: HostID(testing: lastIdentity), at: now)
        say(host, "host is lost for good")
    }
}

// MARK: - The host's executor

extension World {
    mutating func run(_ order: SetOrder, on host: Int) {
        let slot = order.placement.slot
        let names = order.spec.containers.map(\.name)
        if let known = hosts[host][slot] {
            guard known.placementIndex == order.placement.index else {
                broken = Violation("rule 5: \(slot) is started while its old copy is there")
                return
            }
            if known.started { return resize(order, on: host) }
            // What is being made is made with the newest limits.
            hosts[host][slot]?.revision = order.placement.revision
            hosts[host][slot]?.demand = order.spec.demand
            hosts[host][slot]?.volumes = order.spec.volumes
        } else {
            hosts[host][slot] = SimulatedSet(
                slot: slot, placementIndex: order.placement.index, demand: order.spec.demand,
                volumes: order.spec.volumes, owner: order.owner, containers: names,
                revision: order.placement.revision,
                pids: Array(repeating: nil, count: names.count),
                exits: Array(repeating: nil, count: names.count))
        }
        report(host, slot)
        queue.schedule(
            .setStarted(host: host, slot, order.placement.index),
            at: now + networkRandom.duration(in: .milliseconds(20)...(.milliseconds(400))))
    }

    /// Changes the limits of a running set, or refuses, as when memory that is used cannot shrink.
    private mutating func resize(_ order: SetOrder, on host: Int) {
        let slot = order.placement.slot
        guard let known = hosts[host][slot] else { return }
        let isRefused =
            known.revision != order.placement.revision && faultsAreOn
            && networkRandom.happens(perThousand: options.startFailuresPerThousand)
        if isRefused {
            hosts[host][slot]?.resizeRefusal = "no luck"
        } else {
            hosts[host][slot]?.revision = order.placement.revision
            hosts[host][slot]?.demand = order.spec.demand
            hosts[host][slot]?.resizeRefusal = ""
            hosts[host][slot]?.volumes = order.spec.volumes
            makeVolumes(host, slot)
        }
        report(host, slot)
    }

    mutating func setStarted(_ host: Int, _ slot: SlotID, _ index: LogIndex) {
        guard hosts[host].peer != nil, var set = hosts[host][slot],
            set.placementIndex == index, !set.started
        else { return }
        makeVolumes(host, slot)
        guard !startFails() else { return fail(host, slot, index) }
        set.started = true
        for container in set.containers.indices where set.pids[container] == nil {
            set.pids[container] = newPid(host)
            set.exits[container] = nil
        }
        hosts[host][slot] = set
        say(host, "\(slot) runs")
        report(host, slot)
    }

    mutating func containerStarted(
        _ host: Int, _ slot: SlotID, _ index: LogIndex, _ name: String
    ) {
        guard hosts[host].peer != nil, var set = hosts[host][slot],
            set.placementIndex == index,
            let container = set.containers.firstIndex(of: name), set.pids[container] == nil
        else { return }
        guard !startFails() else { return fail(host, slot, index) }
        set.pids[container] = newPid(host)
        set.exits[container] = nil
        hosts[host][slot] = set
        say(host, "\(slot)/\(name) runs again")
        report(host, slot)
    }

    private mutating func startFails() -> Bool {
        faultsAreOn && networkRandom.happens(perThousand: options.startFailuresPerThousand)
    }

    /// Something could not be made: one time in two nothing of the set remains, as when its image
    /// was not to be had; otherwise what was made remains for the next attempt.
    private mutating func fail(_ host: Int, _ slot: SlotID, _ index: LogIndex) {
        say(host, "\(slot) fails to start")
        hosts[host][slot]?.started = false
        if let set = hosts[host][slot], !set.isRunning, networkRandom.happens(perThousand: 500) {
            hosts[host][slot] = nil
        }
        var seen =
            hosts[host][slot]?.observation
            ?? SetObservation(slot: slot, placementIndex: index, state: .starting)
        seen.state = .failed(reason: "no luck")
        feed(.observed(seen), to: host)
    }

    mutating func setGone(_ host: Int, _ slot: SlotID, _ index: LogIndex) {
        guard hosts[host].peer != nil else { return }
        if hosts[host][slot]?.placementIndex == index {
            hosts[host][slot] = nil
            say(host, "\(slot) ended")
        }
        guard hosts[host][slot] == nil else { return }
        feed(
            .observed(SetObservation(slot: slot, placementIndex: index, state: .gone)), to: host)
    }

    /// A container ends by itself.
    mutating func exitSomeContainer() {
        let host = Int.random(in: 0..<hosts.count, using: &faultRandom)
        let candidates = hosts[host].sets.filter { $0.started && $0.isRunning }
        guard var set = candidates.randomElement(using: &faultRandom),
            let container = set.pids.firstIndex(where: { $0 != nil })
        else { return }
        set.pids[container] = nil
        set.exits[container] = ContainerExit(
            code: [0, 1, 137].randomElement(using: &faultRandom) ?? 1,
            outOfMemory: faultRandom.happens(perThousand: 200))
        hosts[host][set.slot] = set
        say(host, "\(set.slot) exits")
        report(host, set.slot)
    }

    /// The first container of a set ends by itself.
    mutating func exitContainer(of slot: SlotID, on host: Int) {
        guard var set = hosts[host][slot], set.isRunning else { return }
        set.pids[0] = nil
        set.exits[0] = ContainerExit(code: 1)
        hosts[host][slot] = set
        say(host, "\(slot) exits")
        report(host, slot)
    }

    private mutating func report(_ host: Int, _ slot: SlotID) {
        guard let set = hosts[host][slot] else { return }
        feed(.observed(set.observation), to: host)
    }

    private mutating func newPid(_ host: Int) -> Int {
        hosts[host].lastPid += 1
        return hosts[host].lastPid
    }
}
