import Base
import ClusterModel
import ClusterState
import ContainerRuntime
import HostControl
import HostPlan
import ImageStore
import PeerCore

extension SetKeeper {
    /// Makes a set run, from wherever an earlier attempt stopped.
    func run(_ order: SetOrder) async {
        let slot = order.placement.slot
        if let known = sets[slot] {
            guard known.wanted else { return }
            if known.record.started, known.record.placementIndex == order.placement.index.value {
                return await resume(order)
            }
        }
        do {
            try await make(order)
            publish()
            tell(slot, .started)
        } catch {
            log.warning("could not run \(slot): \(error)")
            tellFailed(order, "\(error)")
        }
    }

    /// A set that an earlier start of the agent made: nothing to do but to publish its ports, and to
    /// see to its bandwidth, of which this start knows nothing yet.
    private func resume(_ order: SetOrder) async {
        let slot = order.placement.slot
        do {
            _ = try await address(for: slot, subnetIndex: order.subnetIndex)
            publish()
            // One of which nothing runs gets its network with its next start.
            if let set = sets[slot], !set.pids.isEmpty {
                try await host.updateBandwidth(slot: slot, network: set.record.spec.network)
            }
        } catch {
            log.error("could not prepare the network of \(slot): \(error)")
        }
        await resize(order)
        tell(slot, .started)
    }

    /// Refuses what this host's configuration does not allow, whoever decided it.
    private func checkAllowed(_ spec: ServiceSpec) throws {
        if let obstacle = abilities.obstacle(to: spec) {
            throw AgentError("this host \(obstacle.phrase)")
        }
    }

    private func make(_ order: SetOrder) async throws {
        let slot = order.placement.slot
        try checkAllowed(order.spec)
        let address = try await address(for: slot, subnetIndex: order.subnetIndex)
        var record = SetRecord(
            slot: slot, placementIndex: order.placement.index.value, address: address.bytes,
            spec: order.spec, revision: order.placement.revision, owner: order.owner.value,
            images: sets[slot]?.record.images ?? [], started: false)
        do {
            try records.write(record)
        } catch {
            if sets[slot] == nil { releaseAddress(slot) }
            throw error
        }
        if sets[slot] == nil {
            sets[slot] = HostedRecord(record: record)
        } else {
            sets[slot]?.record = record
        }
        tell(slot, .starting)
        let images = try await imagesPatiently(of: record)
        record.images = images.map { "\($0.manifestDigest)" }
        try records.write(record)
        sets[slot]?.record = record
        try checkWanted(slot)
        let surroundings = try await makeSurroundings(record)
        for (container, image) in zip(order.spec.containers, images) {
            try checkWanted(slot)
            guard sets[slot]?.pids[container.name] == nil else { continue }
            try await start(container, of: record, image: image, in: surroundings)
        }
        sets[slot]?.record.started = true
        if let record = sets[slot]?.record { try records.write(record) }
    }

    /// The images of a set: those it was made from, or those its references lead to now.
    private func images(of record: SetRecord) async throws -> [StoredImage] {
        var images: [StoredImage] = []
        for (index, container) in record.spec.containers.enumerated() {
            if index < record.images.count {
                images.append(
                    try await supply.image(container.image, digest: record.images[index]))
            } else {
                images.append(try await supply.image(container.image))
            }
        }
        return images
    }

    /// The same, and others may be made while one of them still has to come.
    private func imagesPatiently(of record: SetRecord) async throws -> [StoredImage] {
        guard await isLacking(record) else { return try await images(of: record) }
        return try await withoutPlace { try await images(of: record) }
    }

    private func isLacking(_ record: SetRecord) async -> Bool {
        for (index, container) in record.spec.containers.enumerated() {
            let digest = index < record.images.count ? record.images[index] : nil
            guard await supply.isHere(container.image, digest: digest) else { return true }
        }
        return false
    }

    private func checkWanted(_ slot: SlotID) throws {
        guard sets[slot]?.wanted == true else { throw AgentError("it is not wanted any more") }
    }

    /// What all containers of a set share.
    private struct Surroundings {
        /// The path of the set's network namespace.
        let namespace: String
        let volumes: [RuntimeBundle.VolumeMount]
    }

    /// Volumes, cgroups and network.
    private func makeSurroundings(_ record: SetRecord) async throws -> Surroundings {
        guard let address = IPv4Address(bytes: record.address) else {
            throw AgentError("the record of \(record.slot) holds no address")
        }
        let mounts = try await volumes.attach(
            record.spec, of: record.slot, owner: LogIndex(record.owner ?? 0))
        try await ensureGroups(of: record)
        let namespace = try await host.ensureSetNetwork(
            slot: record.slot, address: address, network: record.spec.network)
        return Surroundings(namespace: namespace, volumes: mounts)
    }

    private func start(
        _ container: ContainerSpec, of record: SetRecord, image: StoredImage,
        in surroundings: Surroundings
    ) async throws {
        let id = containerID(record.slot, container.name)
        let root = try await root(id, image)
        let launch = launch(
            id: id, container, of: record, image: image, root: root, in: surroundings)
        try await runtime.delete(id)
        try await ensureGroups(of: record)
        let usage = try? await host.usage(slot: record.slot, container: container.name)
        let process = try await runtime.create(launch)
        do {
            // The OCI runtime writes limits too: crun, for one, lifts that of swap on version 1.
            try await ensureGroups(of: record)
        } catch {
            try? await runtime.delete(id)
            throw error
        }
        sets[record.slot]?.oomKillsBefore[container.name] = usage?.outOfMemoryKills ?? 0
        sets[record.slot]?.oomKillsTold[container.name] = nil
        sets[record.slot]?.exits[container.name] = nil
        sets[record.slot]?.pids[container.name] = Int(process.pid)
        do {
            try await runtime.start(id)
        } catch {
            sets[record.slot]?.pids[container.name] = nil
            try? await runtime.delete(id)
            throw error
        }
    }

    /// The container's file system; one of another image, of an attempt that failed, gives way.
    private func root(_ id: String, _ image: StoredImage) async throws -> String {
        do {
            return try await store.mountRoot(container: id, image: image.manifestDigest)
        } catch let error as ImageError where error.reason == .inUse {
            try await runtime.delete(id)
            try await store.unmountRoot(container: id)
            return try await store.mountRoot(container: id, image: image.manifestDigest)
        }
    }

    private func launch(
        id: String, _ container: ContainerSpec, of record: SetRecord, image: StoredImage,
        root: String, in surroundings: Surroundings
    ) -> ContainerLaunch {
        let configuration = image.configuration
        let limits = CgroupLimits(container)
        let arguments =
            container.command.isEmpty
            ? configuration.entrypoint + configuration.command : container.command
        let own = container.environment.map { "\($0.name)=\($0.value)" }
        let names = Set(container.environment.map(\.name))
        let inherited = configuration.environment.filter {
            !names.contains(String($0.prefix { $0 != "=" }))
        }
        return ContainerLaunch(
            id: id, slot: record.slot, container: container.name,
            placementIndex: LogIndex(record.placementIndex), rootPath: root,
            arguments: arguments, environment: inherited + own,
            workingDirectory: configuration.workingDirectory.isEmpty
                ? "/" : configuration.workingDirectory,
            user: configuration.user,
            networkNamespacePath: surroundings.namespace,
            cgroupsPath: host.cgroupPath(slot: record.slot, container: container.name),
            limits: RuntimeLimits(
                cpuQuotaMicroseconds: limits.quotaMicroseconds,
                cpuPeriodMicroseconds: CgroupLimits.periodMicroseconds, cpuShares: limits.shares,
                memoryBytes: limits.memoryLimitBytes, pidsMax: limits.pidsMax),
            stopSignal: configuration.stopSignal,
            address: IPv4Address(bytes: record.address)?.description,
            volumes: surroundings.volumes, runtime: record.spec.runtime,
            devices: container.devices, capabilities: container.capabilities)
    }

    // MARK: Again, and the end

    /// Starts one container of a set again: a new process in the same place.
    func restart(_ slot: SlotID, _ index: LogIndex, container name: String) async {
        guard let set = sets[slot], set.wanted, set.record.placementIndex == index.value,
            set.pids[name] == nil,
            let position = set.record.spec.containers.firstIndex(where: { $0.name == name })
        else { return }
        do {
            try checkAllowed(set.record.spec)
            let images = try await images(of: set.record)
            try await prepareNetwork(of: set.record)
            let surroundings = try await makeSurroundings(set.record)
            try await start(
                set.record.spec.containers[position], of: set.record, image: images[position],
                in: surroundings)
            publish()
            tell(slot, .started)
        } catch {
            log.warning("could not start \(slot)/\(name) again: \(error)")
            sets[slot]?.record.started = false
            tell(slot, .failed(reason: "\(error)"))
        }
    }

    /// Ends a set and removes what belongs to it.
    func stop(_ slot: SlotID, _ index: LogIndex) async {
        guard let set = sets[slot] else { return tellGone(slot, index) }
        guard set.record.placementIndex == index.value else { return }
        sets[slot]?.wanted = false
        publish()
        do {
            try await remove(set.record)
        } catch {
            log.error("could not end \(slot): \(error); trying again in 2 s")
            Task {
                try? await Task.sleep(for: .seconds(2))
                self.take(.stop(slot, placementIndex: index, reason: "ending it again"))
            }
            return
        }
        sets[slot] = nil
        tellGone(slot, index)
    }

    /// Removes everything of a set, the record last.
    func remove(_ record: SetRecord) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for container in record.spec.containers {
                let id = containerID(record.slot, container.name)
                group.addTask {
                    try await self.runtime.stop(id, signal: nil, grace: SetKeeper.stopGrace)
                    try await self.runtime.delete(id)
                    try await self.store.unmountRoot(container: id)
                }
            }
            try await group.waitForAll()
        }
        try await volumes.detach(record.spec, of: record.slot)
        try await host.removeSetNetwork(slot: record.slot)
        try await host.removeSetCgroup(slot: record.slot)
        releaseAddress(record.slot)
        records.remove(record.slot)
    }

    // MARK: What ended by itself

    /// Hears of containers that ended, as long as the agent runs.
    package func watchExits() async {
        for await notice in runtime.exits {
            await ended(notice)
        }
    }

    private func ended(_ notice: ExitNotice) async {
        for (slot, set) in sets where set.wanted {
            guard
                let container = set.record.spec.containers.first(where: {
                    containerID(slot, $0.name) == notice.id
                }), set.pids[container.name] != nil
            else { continue }
            let usage = try? await host.usage(slot: slot, container: container.name)
            let kills = usage?.outOfMemoryKills ?? 0
            let before = sets[slot]?.oomKillsBefore[container.name] ?? 0
            let exit = ContainerExit(
                code: notice.code, outOfMemory: notice.outOfMemory || kills > before,
                memory: usage.flatMap { memoryAtExit($0) })
            sets[slot]?.pids[container.name] = nil
            sets[slot]?.exits[container.name] = exit
            sets[slot]?.oomKillsPast[container.name, default: 0] += max(0, kills - before)
            log.info(
                "\(slot)/\(container.name) ended with \(exit.code)\(exit.outOfMemory ? ": \(exit.outOfMemoryReason)" : "")"
            )
            publish()
            tell(slot, sets[slot]?.record.started == true ? .started : .starting)
        }
    }
}
