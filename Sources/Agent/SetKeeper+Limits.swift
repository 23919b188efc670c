import ClusterModel
import HostControl
import HostPlan

extension SetKeeper {
    /// The most memory that a container used and its limit, where the kernel says both.
    func memoryAtExit(_ usage: CgroupUsage) -> MemoryAtExit? {
        guard usage.memoryPeakBytes > 0, let limit = usage.memoryLimitBytes else { return nil }
        return MemoryAtExit(peakBytes: usage.memoryPeakBytes, limitBytes: limit)
    }

    /// Tells the host of the sets that an earlier start left running, so that whoever has cores to
    /// itself keeps them; a failure is logged and settled by the next order for the set.
    func adoptCores(of records: [SetRecord]) async {
        do {
            let notices = try await host.adoptCores(
                of: records.map { record in
                    (
                        record.slot,
                        record.spec.containers.map { (name: $0.name, limits: CgroupLimits($0)) }
                    )
                })
            for notice in notices { log.warning("\(notice)") }
        } catch {
            log.error("could not set the processors of running sets: \(error)")
        }
    }

    /// Makes a set's control groups as its record says, and logs what has no effect on this host.
    func ensureGroups(of record: SetRecord) async throws {
        let folders = try await volumes.deviceFolders(record.spec, of: record.slot)
        let devices =
            record.spec.hasCaps ? await host.cappedDevices(folders: folders) : []
        let notices = try await host.ensureSetCgroup(
            slot: record.slot,
            containers: record.spec.containers.map { ($0.name, CgroupLimits($0)) },
            folders: folders)
        sets[record.slot]?.cappedDevices = devices
        for notice in notices where sets[record.slot]?.notices.contains(notice) != true {
            sets[record.slot]?.notices.insert(notice)
            log.warning("\(record.slot): \(notice)")
        }
    }

    /// How often the disks below running sets are looked at: as often as the machine is read.
    private static let diskInterval = Duration.seconds(10)

    /// Caps running sets on the disks that came below them, until it is cancelled: a volume group got a
    /// further disk, or a volume moved to another.
    package func watchDisks() async {
        while (try? await Task.sleep(for: SetKeeper.diskInterval)) != nil {
            for (slot, set) in sets
            where set.wanted && set.record.started && !set.pids.isEmpty && set.record.spec.hasCaps {
                chain(slot, isQuick: true) { await self.renewCaps(slot) }
            }
        }
    }

    /// Sets a set's limits again when its disks are others than last time.
    func renewCaps(_ slot: SlotID) async {
        guard let set = sets[slot], set.wanted, set.record.started, set.record.spec.hasCaps else {
            return
        }
        do {
            let folders = try await volumes.deviceFolders(set.record.spec, of: slot)
            let devices = await host.cappedDevices(folders: folders)
            guard devices != set.cappedDevices else { return }
            // Unknown after a start of the agent, which says nothing of the disks.
            let isNews = set.cappedDevices != nil
            try await ensureGroups(of: set.record)
            guard isNews else { return }
            let names = devices.map(\.description).joined(separator: ", ")
            log.info("\(slot) is capped on the disks that it lies on now: \(names)")
        } catch {
            log.warning("could not cap \(slot) on the disks that it lies on now: \(error)")
        }
    }
}

extension ServiceSpec {
    /// Whether any of its containers has caps of input and output.
    fileprivate var hasCaps: Bool { containers.contains { $0.io.hasCaps } }
}
