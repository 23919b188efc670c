import Base
import ClusterModel
import ContainerRuntime
import HostControl
import HostPlan
import ImageStore
import PeerCore

/// Carries out the brain's orders on this host's sets: image, network, cgroup, file system,
/// containers; and tells the brain what it sees.
///
/// Orders for one set run one after the other, those of different sets side by side. Every step is
/// idempotent: a crash between any two is repaired by the next order for the same set.
package actor SetKeeper {
    /// The most sets that are made or ended at once: enough to overlap waiting, few enough that a
    /// burst of a hundred does not starve what already runs.
    static let concurrentMaximum = 8
    /// How long a container may take to end after its stop signal.
    static let stopGrace = Duration.seconds(5)
    /// How long after a failure ports are published again.
    private static let publishRetry = Duration.seconds(2)

    let host: HostControl
    let runtime: ContainerRuntime
    let store: ImageStore
    let supply: ImageSupply
    let volumes: VolumeKeeper
    let log: AgentLog
    /// Prefix of this host's container names.
    let instance: String
    /// What this host can do beyond what every host can, and allows.
    let abilities: HostAbilities
    private let network: IPv4Network
    let records: SetRecords
    private let report: @Sendable (SetObservation) -> Void
    /// Tells the cluster of what happened once.
    let notices: HostNotices

    /// The sets on this host, as far as their making has come.
    var sets: [SlotID: HostedRecord] = [:]
    private var chains: [SlotID: Task<Void, Never>] = [:]
    private var chainNumbers: [SlotID: Int] = [:]
    private var lastChain = 0
    private var slotsFree = SetKeeper.concurrentMaximum
    private var slotWaiters: [CheckedContinuation<Void, Never>] = []
    private var addresses: AddressBook?
    private var preparedSubnet: Int?
    private var preparing: Task<Void, any Error>?
    private var published: [PublishedBackend]?
    private var publishing: Task<Void, Never>?
    private var publishAgain = false
    /// Why ports could not be published last; empty when they could.
    private var publishTrouble = ""

    /// A set and what was made of it.
    struct HostedRecord {
        var record: SetRecord
        /// False once the brain wants it gone: what is being made stops at the next step.
        var wanted = true
        var pids: [String: Int] = [:]
        var exits: [String: ContainerExit] = [:]
        /// Why its newest limits are not in force; empty when they are.
        var resizeRefusal = ""
        /// The order whose limits were refused last.
        var refusedOrder: SetOrder?
        /// Kernel kills for want of memory that were counted before the present run.
        var oomKillsBefore: [String: Int] = [:]
        /// Kernel kills for want of memory in runs of each container that are over.
        var oomKillsPast: [String: Int] = [:]
        /// What was counted when kills in the present run were told last.
        var oomKillsTold: [String: Int] = [:]
        /// When they were told last, in any run.
        var killsToldAt: [String: ContinuousClock.Instant] = [:]
        /// What it asks for and this host does not have, as far as it was said.
        var notices: Set<String> = []
        /// The devices that its caps were last set on; nil when this start of the agent has not.
        var cappedDevices: [BlockDevice]?
    }

    init(
        host: HostControl, runtime: ContainerRuntime, store: ImageStore, supply: ImageSupply,
        volumes: VolumeKeeper, instance: String, abilities: HostAbilities,
        network: IPv4Network, folder: String, log: AgentLog,
        notices: HostNotices,
        report: @escaping @Sendable (SetObservation) -> Void
    ) throws {
        self.host = host
        self.runtime = runtime
        self.store = store
        self.supply = supply
        self.volumes = volumes
        self.instance = instance
        self.abilities = abilities
        self.network = network
        self.log = log
        self.notices = notices
        self.report = report
        records = try SetRecords(folder: folder)
    }

    /// Takes an order; it is carried out after the earlier ones for the same set.
    package func take(_ order: PeerDriver.HostOrder) {
        switch order {
        case .run(let order):
            // What runs already only gets new limits: that waits for nobody's image.
            let isRunning = sets[order.placement.slot]?.record.started == true
            chain(order.placement.slot, isQuick: isRunning) { await self.run(order) }
        case .trashVolumes(let volumes, let reason):
            Task { await self.volumes.trash(volumes, reason: reason) }
        case .restart(let slot, let index, let container):
            chain(slot) { await self.restart(slot, index, container: container) }
        case .stop(let slot, let index, let reason):
            if sets[slot]?.record.placementIndex == index.value { sets[slot]?.wanted = false }
            log.info("ending \(slot): \(reason)")
            chain(slot, isQuick: true) { await self.stop(slot, index) }
        }
    }

    /// The container's name for the runtime.
    func containerID(_ slot: SlotID, _ container: String) -> String {
        "\(instance)-\(slot)-\(container)"
    }

    /// The name of a set's log file reader.
    func logReader(_ slot: SlotID, _ container: String) -> LogReader {
        LogReader(path: runtime.logPath(containerID(slot, container)))
    }

    /// The containers of a set on this host; nil when it is not here.
    func containers(of slot: SlotID) -> [String]? {
        sets[slot]?.record.spec.containers.map(\.name)
    }

    /// True when nothing of a slot's set is here, nor being made or ended.
    func isGone(_ slot: SlotID) -> Bool { sets[slot] == nil && chains[slot] == nil }

    // MARK: One after the other, and not too many at once

    /// Ending and resizing are never kept waiting by making: what waits for an image must not block
    /// what frees room.
    func chain(
        _ slot: SlotID, isQuick: Bool = false, _ work: @escaping @Sendable () async -> Void
    ) {
        let before = chains[slot]
        lastChain += 1
        let number = lastChain
        chainNumbers[slot] = number
        chains[slot] = Task {
            await before?.value
            if !isQuick { await self.enter() }
            await work()
            if !isQuick { self.leave() }
            self.finished(slot, number)
        }
    }

    private func finished(_ slot: SlotID, _ number: Int) {
        guard chainNumbers[slot] == number else { return }
        chains[slot] = nil
        chainNumbers[slot] = nil
    }

    /// Does something that may take long and uses little of this host, such as waiting for a peer's
    /// image, without keeping one of the places for sets that are being made.
    func withoutPlace<Value: Sendable>(
        _ work: () async throws -> Value
    ) async throws -> Value {
        leave()
        do {
            let value = try await work()
            await enter()
            return value
        } catch {
            await enter()
            throw error
        }
    }

    private func enter() async {
        if slotsFree > 0 {
            slotsFree -= 1
        } else {
            await withCheckedContinuation { slotWaiters.append($0) }
        }
    }

    private func leave() {
        if slotWaiters.isEmpty {
            slotsFree += 1
        } else {
            slotWaiters.removeFirst().resume()
        }
    }

    // MARK: The host's own network

    /// Makes the bridge once the host's subnet is known, and gives the set an address of it.
    func address(for slot: SlotID, subnetIndex: Int) async throws -> IPv4Address {
        if preparedSubnet != subnetIndex {
            if preparing == nil {
                preparing = Task { try await self.prepare(subnetIndex) }
            }
            defer { preparing = nil }
            try await preparing?.value
        }
        guard let address = addresses?.assign(slot) else {
            throw AgentError(
                "the host's network \(addresses?.subnet.description ?? "?") has no free address: lower sets-max or end sets"
            )
        }
        return address
    }

    /// Makes the bridge for a set that has its address, when the log has not said yet which subnet
    /// is this host's: a container that ended is started again without asking anybody.
    func prepareNetwork(of record: SetRecord) async throws {
        guard preparedSubnet == nil, let address = IPv4Address(bytes: record.address),
            let index = network.hostSubnetIndex(of: address)
        else { return }
        _ = try await self.address(for: record.slot, subnetIndex: index)
    }

    private func prepare(_ subnetIndex: Int) async throws {
        guard let subnet = network.hostSubnet(index: subnetIndex) else {
            throw AgentError(
                "the cluster network \(network) has no subnet number \(subnetIndex): it has room for \(network.hostSubnetCount) hosts"
            )
        }
        if let own = HostAddress.addresses(exceptOf: host.settings.bridge).first(where: {
            subnet.contains($0)
        }) {
            throw AgentError(
                "this host has the address \(own) itself, in the network \(subnet) of its sets: set cluster-network to one that no host is in, on every host"
            )
        }
        try await host.prepare(subnetIndex: subnetIndex)
        if let problem = await host.translationProblem { log.warning("\(problem)") }
        let existing = sets.values.compactMap { set in
            IPv4Address(bytes: set.record.address).map {
                AddressBook.Assignment(slot: set.record.slot, address: $0)
            }
        }
        addresses = AddressBook(subnet: subnet, existing: existing)
        preparedSubnet = subnetIndex
    }

    func releaseAddress(_ slot: SlotID) { addresses?.release(slot) }

    // MARK: Published ports

    /// Brings the host's published ports in line with the sets that run; one change at a time, and
    /// what changes meanwhile goes into the next.
    func publish() {
        if publishing != nil {
            publishAgain = true
            return
        }
        publishing = Task {
            repeat {
                self.publishAgain = false
                await self.publishNow()
            } while self.publishAgain
            self.publishing = nil
        }
    }

    private func publishNow() async {
        let wanted = backends()
        // Before the host's network is made there is nothing to publish to.
        guard preparedSubnet != nil, wanted != published else { return }
        do {
            try await host.publish(wanted)
            published = wanted
            publishTrouble = ""
        } catch {
            // Once, not every few seconds.
            if publishTrouble != "\(error)" {
                log.error("could not publish ports, and will try again: \(error)")
            }
            publishTrouble = "\(error)"
            Task {
                try? await Task.sleep(for: SetKeeper.publishRetry)
                self.publish()
            }
        }
    }

    private func backends() -> [PublishedBackend] {
        var backends: [PublishedBackend] = []
        let running = sets.values.filter { $0.wanted && $0.record.started && !$0.pids.isEmpty }
            .sorted { $0.record.slot < $1.record.slot }
        for set in running {
            guard let address = IPv4Address(bytes: set.record.address) else { continue }
            for port in set.record.spec.network.publish {
                let target = PublishedBackend.Target(
                    address: address, port: UInt16(clamping: port.port))
                let transport = PublishedBackend.Transport(rawValue: port.transport) ?? .tcp
                let known = backends.firstIndex {
                    $0.hostPort == UInt16(clamping: port.hostPort) && $0.transport == transport
                }
                if let known {
                    backends[known].targets.append(target)
                } else {
                    backends.append(
                        PublishedBackend(
                            service: set.record.slot.service,
                            hostPort: UInt16(clamping: port.hostPort), transport: transport,
                            targets: [target]))
                }
            }
        }
        return backends
    }

    /// Makes a changed record durable.
    func keep(_ record: SetRecord) throws { try records.write(record) }

    // MARK: What the brain hears

    /// Tells the brain what is known of a set.
    func tell(_ slot: SlotID, _ state: SetObservation.State) {
        guard let set = sets[slot] else { return }
        report(observation(of: set, state))
    }

    func tellGone(_ slot: SlotID, _ index: LogIndex) {
        report(SetObservation(slot: slot, placementIndex: index, state: .gone))
    }

    func tellFailed(_ order: SetOrder, _ reason: String) {
        if sets[order.placement.slot] != nil {
            tell(order.placement.slot, .failed(reason: reason))
        } else {
            report(
                SetObservation(
                    slot: order.placement.slot, placementIndex: order.placement.index,
                    state: .failed(reason: reason)))
        }
    }

    func observation(
        of set: HostedRecord, _ state: SetObservation.State
    ) -> SetObservation {
        SetObservation(
            slot: set.record.slot, placementIndex: LogIndex(set.record.placementIndex),
            state: state, address: set.record.address,
            containers: set.record.spec.containers.compactMap { container in
                let pid = set.pids[container.name]
                let exit = pid == nil ? set.exits[container.name] : nil
                guard pid != nil || exit != nil else { return nil }
                return ContainerObservation(name: container.name, pid: pid, exit: exit)
            }, demand: set.record.spec.demand, revision: set.record.revision ?? 0,
            resizeRefusal: set.resizeRefusal)
    }
}
