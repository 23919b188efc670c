import Base
import ClusterModel
import ContainerRuntime
import HostControl
import ImageStore
import PeerCore

extension SetKeeper {
    /// Finds what an earlier start of the agent left: running sets are adopted as they are, half
    /// made ones are finished or removed by the orders that follow.
    package func adopt() async throws -> [SetObservation] {
        let (found, unreadable) = records.all()
        for name in unreadable {
            log.error("the set record \(name) cannot be read; its set is left alone")
        }
        await adoptCores(of: found)
        let containers = try await runtime.containers()
        var observations: [SetObservation] = []
        for record in found {
            let set = await adopted(record, containers.filter { $0.slot == record.slot })
            sets[record.slot] = set
            observations.append(observation(of: set, record.started ? .started : .starting))
            log.info(
                "adopted \(record.slot): \(set.pids.count) of \(record.spec.containers.count) containers run"
            )
        }
        for container in containers where sets[container.slot] == nil && container.running {
            log.warning(
                "container \(container.id) runs, but no record of its set is here; it is left alone"
            )
        }
        await removeRemains(
            of: containers,
            sparing: unreadable.compactMap { SlotID(String($0.dropLast(".json".count))) })
        return observations
    }

    private func adopted(
        _ record: SetRecord, _ containers: [AdoptedContainer]
    ) async -> HostedRecord {
        var set = HostedRecord(record: record)
        for container in containers {
            let usage = try? await host.usage(slot: record.slot, container: container.container)
            set.oomKillsBefore[container.container] = usage?.outOfMemoryKills ?? 0
            if container.running, let pid = container.pid {
                set.pids[container.container] = Int(pid)
            } else if record.started {
                set.exits[container.container] = ContainerExit(
                    code: container.exit?.code ?? 137,
                    outOfMemory: container.exit?.outOfMemory ?? false,
                    memory: usage.flatMap { memoryAtExit($0) })
            }
        }
        guard record.started else { return set }
        // Nothing is left of them: the host lost power.
        for container in record.spec.containers
        where set.pids[container.name] == nil && set.exits[container.name] == nil {
            set.exits[container.name] = ContainerExit(code: 137)
        }
        return set
    }

    /// Removes networks, cgroups and file systems in which nothing runs and that no set needs: the
    /// agent crashed between removing a record and them, or before it wrote one.
    private func removeRemains(of containers: [AdoptedContainer], sparing: [SlotID]) async {
        let running = Set(containers.filter(\.running).map(\.slot) + sparing)
        func isNeeded(_ slot: SlotID) -> Bool { sets[slot] != nil || running.contains(slot) }
        do {
            for network in try await host.existingSetNetworks() where !isNeeded(network.slot) {
                log.info("removing the network that \(network.slot) left")
                try await host.removeSetNetwork(slot: network.slot)
            }
            for slot in await host.existingSetCgroups() where !isNeeded(slot) {
                log.info("removing the cgroups that \(slot) left")
                try await host.removeSetCgroup(slot: slot)
            }
            let needed = Set(sets.keys).union(running)
            try await volumes.detachRemains { needed.contains($0) }
            let known = Set(
                sets.values.flatMap { set in
                    set.record.spec.containers.map { containerID(set.record.slot, $0.name) }
                } + containers.filter(\.running).map(\.id))
            for root in store.knownRoots()
            where !known.contains(root)
                && !sparing.contains(where: { root.hasPrefix("\(instance)-\($0)-") })
            {
                log.info("removing the file system that \(root) left")
                try await store.unmountRoot(container: root)
            }
        } catch {
            log.warning("could not remove what earlier sets left: \(error)")
        }
    }
}
