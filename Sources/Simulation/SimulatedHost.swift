import Base
import ClusterModel
import ClusterState
import Consensus
import PeerCore

/// One virtual host: a brain that may be down, a disk that stays, and sets that run without it.
struct SimulatedHost {
    /// Its identity and where it is reached.
    private(set) var id: HostID
    let address: SocketAddress
    /// What it offers.
    private(set) var facts: HostFacts
    /// Where its own clock starts.
    private(set) var bootedAt: Instant
    /// How much faster than true time its clock runs, in millionths.
    private(set) var driftPerMillion: Int64
    /// True while no machine stands in this place: a visitor that has not come, or has gone for good.
    var isAway = false
    /// While this lasts, the agent gets no processor time.
    var stalledUntil = Instant.zero
    /// While this lasts, flushing takes long.
    var diskSlowUntil = Instant.zero
    /// How far the cluster was when the agent started: it may order nothing before it is there.
    var clusterIndexAtStart = LogIndex.zero
    /// Ticks in the present second.
    var tickCount = 0
    /// The second they are counted in.
    var tickSecond: Int64 = 0
    /// The brain; nil while the agent is down.
    var peer: Peer?
    /// Counts starts of the agent.
    var bootEpoch = BootEpoch(0)
    /// This start of its agent.
    var identity: PeerIdentity { PeerIdentity(hostID: id, bootEpoch: bootEpoch) }
    /// Its log.
    var disk = SimulatedDisk()
    /// Its sets, sorted by slot: they outlive the agent, as conmon's do.
    var sets: [SimulatedSet] = []
    /// Its volumes, sorted by identity: they outlive agent and host, not the loss of its disk.
    var volumes: [VolumeReport] = []
    /// The instant of the last tick that was scheduled.
    var tickAt: Instant?
    /// True while the disk writes; what comes meanwhile goes into the next flush together.
    var isFlushing = false
    /// The applied index that was checked last.
    var checkedIndex = LogIndex.zero
    /// The last process number it gave out.
    var lastPid = 1_000

    init(
        id: HostID, address: SocketAddress, facts: HostFacts, bootedAt: Instant,
        driftPerMillion: Int64
    ) {
        self.id = id
        self.address = address
        self.facts = facts
        self.bootedAt = bootedAt
        self.driftPerMillion = driftPerMillion
    }

    /// The machine starts again, and its clock with it.
    mutating func reboot(at now: Instant) { bootedAt = now }

    /// Another machine in the same place: nothing remains but address, name and clock.
    mutating func replace(by id: HostID, at now: Instant) {
        self = SimulatedHost(
            id: id, address: address, facts: facts, bootedAt: now,
            driftPerMillion: driftPerMillion)
    }

    /// What the host's own clock says at a true instant.
    func clock(at instant: Instant) -> Instant {
        let elapsed = instant.nanoseconds - bootedAt.nanoseconds
        return Instant(nanoseconds: elapsed + elapsed / 1_000_000 * driftPerMillion)
    }

    /// A true instant at which the host's own clock says at least this.
    func trueInstant(of clock: Instant) -> Instant {
        let elapsed = clock.nanoseconds / (1_000_000 + driftPerMillion) * 1_000_000
        var instant = Instant(nanoseconds: bootedAt.nanoseconds + elapsed)
        while self.clock(at: instant) < clock {
            instant = instant + (clock - self.clock(at: instant)) + .nanoseconds(1)
        }
        return instant
    }

    subscript(slot: SlotID) -> SimulatedSet? {
        get { sets.first { $0.slot == slot } }
        set {
            let position = sets.firstIndex { $0.slot >= slot } ?? sets.count
            let exists = position < sets.count && sets[position].slot == slot
            switch (newValue, exists) {
            case (let set?, true): sets[position] = set
            case (let set?, false): sets.insert(set, at: position)
            case (nil, true): sets.remove(at: position)
            case (nil, false): break
            }
        }
    }

    /// What its volumes take together.
    var volumeRoom: VolumeRoom { VolumeLedger(volumes).held }

    /// What the sets on this host take together while any of their processes runs.
    var runningDemand: Resources {
        sets.filter { $0.isRunning }.reduce(Resources()) { $0 + $1.demand }
    }
}

/// One set on a virtual host.
struct SimulatedSet {
    var slot: SlotID
    var placementIndex: LogIndex
    var demand: Resources
    /// The volumes that it is to have, and the creation of the service they are for.
    var volumes: [VolumeSpec] = []
    var owner = LogIndex.zero
    var containers: [String]
    /// The revision whose limits are in force.
    var revision: UInt64
    /// Why newer ones are not.
    var resizeRefusal = ""
    var started = false
    var pids: [Int?] = []
    var exits: [ContainerExit?] = []

    var isRunning: Bool { pids.contains { $0 != nil } }

    /// What the host's executor would report.
    var observation: SetObservation {
        SetObservation(
            slot: slot, placementIndex: placementIndex, state: started ? .started : .starting,
            address: [10, 64, 0, 2],
            containers: containers.indices.compactMap { index in
                guard index < pids.count, pids[index] != nil || exits[index] != nil else {
                    return nil
                }
                return ContainerObservation(
                    name: containers[index], pid: pids[index], exit: exits[index])
            }, demand: demand, revision: revision, resizeRefusal: resizeRefusal)
    }
}
