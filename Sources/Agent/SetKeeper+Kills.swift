import Base
import ClusterModel
import ClusterState

/// Kernel kills for want of memory that a container survives: those of processes other than its
/// first, whose end is the container's.
extension SetKeeper {
    /// How often containers are looked at.
    private static let killsInterval = Duration.seconds(10)
    /// How long after one notice of a container's the next comes, with all that happened meanwhile.
    private static let noticeInterval = Duration.seconds(60)
    /// How long the end of a container may take to be heard of.
    private static let exitPatience = Duration.milliseconds(500)

    /// Tells of such kills until it is cancelled.
    func watchKills() async {
        while (try? await Task.sleep(for: SetKeeper.killsInterval)) != nil {
            for slot in sets.keys.sorted() {
                for container in sets[slot]?.record.spec.containers.map(\.name) ?? [] {
                    await tellKills(slot, container)
                }
            }
        }
    }

    private func tellKills(_ slot: SlotID, _ container: String) async {
        let now = ContinuousClock().now
        guard let set = sets[slot], set.wanted, let pid = set.pids[container],
            set.killsToldAt[container].map({ now - $0 >= SetKeeper.noticeInterval }) ?? true,
            let kills = try? await host.outOfMemoryKills(slot: slot, container: container),
            kills > (set.oomKillsTold[container] ?? set.oomKillsBefore[container] ?? 0)
        else { return }
        // Were it the container's first process, the set's own report says so.
        guard (try? await Task.sleep(for: SetKeeper.exitPatience)) != nil else { return }
        let usage = try? await host.usage(slot: slot, container: container)
        guard let current = sets[slot], current.pids[container] == pid,
            current.record.placementIndex == set.record.placementIndex
        else { return }
        let known = current.oomKillsTold[container] ?? current.oomKillsBefore[container] ?? 0
        let total = max(kills, usage?.outOfMemoryKills ?? 0)
        sets[slot]?.oomKillsTold[container] = total
        sets[slot]?.killsToldAt[container] = now
        log.warning("\(slot)/\(container): \(total - known) processes killed for want of memory")
        notices.take(
            .processesKilled(
                slot, placementIndex: LogIndex(current.record.placementIndex),
                container: container, count: total - known,
                memory: usage.flatMap { memoryAtExit($0) }))
    }
}
