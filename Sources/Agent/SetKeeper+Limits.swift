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
        let notices = try await host.ensureSetCgroup(
            slot: record.slot,
            containers: record.spec.containers.map { ($0.name, CgroupLimits($0)) })
        for notice in notices where sets[record.slot]?.notices.contains(notice) != true {
            sets[record.slot]?.notices.insert(notice)
            log.warning("\(record.slot): \(notice)")
        }
    }
}
