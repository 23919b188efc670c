import ClusterModel
import HostControl
import HostPlan

extension SetKeeper {
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
