import Base
import ClusterModel
import ClusterState
import Consensus
import PeerCore

/// One virtual host: a brain that may be down, a disk that stays, and sets that run without it.
struct SimulatedHost {
    /// Its identity and where it is reached.
    let id: HostID
    let address: SocketAddress
    /// What it offers.
    let facts: HostFacts
    /// The brain; nil while the agent is down.
    var peer: Peer?
    /// Counts starts of the agent.
    var bootEpoch = BootEpoch(0)
    /// Its log.
    var disk = SimulatedDisk()
    /// Its sets, sorted by slot: they outlive the agent, as conmon's do.
    var sets: [SimulatedSet] = []
    /// The instant of the last tick that was scheduled.
    var tickAt: Instant?
    /// When the disk is done with what it has.
    var diskFreeAt = Instant.zero
    /// The applied index that was checked last.
    var checkedIndex = LogIndex.zero
    /// The last process number it gave out.
    var lastPid = 1_000

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
    var containers: [String]
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
            }, demand: demand)
    }
}
