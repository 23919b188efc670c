import ClusterModel
import HostPlan

extension HostControl {
    /// What of the limits of a set that is here this machine does not enforce, charge or tell, one
    /// sentence each; reads only, and changes nothing.
    ///
    /// `folders` are those of its volumes.
    package func notes(
        slot: SlotID, containers: [(name: String, limits: CgroupLimits)], network: NetworkSpec,
        folders: [String] = []
    ) throws(HostControlError) -> [String] {
        try checkName(slot)
        let limits = containers.map(\.limits)
        let layout = capabilities.cgroups
        let disks = try disks(for: limits, folders: folders)
        let steps = CgroupPlan.steps(
            layout: layout, root: settings.cgroupRoot, set: "\(slot)", containers: containers,
            devices: disks.devices)
        let kernel = CgroupNotes.Kernel(
            version: layout.version, hasCores: layout.mountPoint(of: "cpuset") != nil,
            hasPressure: pressure("\(settings.cgroupRoot)/\(slot)") != nil)
        return disks.notices + sentences(of: steps)
            + weightNotices(of: limits, on: disks, slot: slot)
            + capNotes(of: limits, on: disks)
            + bandwidthNotes(network) + ownPortNotes(network)
            + CgroupNotes.sentences(for: limits, kernel: kernel)
    }

    private func ownPortNotes(_ network: NetworkSpec) -> [String] {
        guard network.publish.contains(where: { $0.hostPort == settings.ownPort }) else {
            return []
        }
        return [
            "port \(settings.ownPort) of this host belongs to its agent, so what is published there "
                + "does not lead to the set; publish another port"
        ]
    }

    private func bandwidthNotes(_ network: NetworkSpec) -> [String] {
        let rates = [network.egress, network.ingress].compactMap { $0?.rateBitsPerSecond }
        guard !rates.isEmpty, uplink == nil else { return [] }
        return [
            "this host has no total of bandwidth (`bandwidth` in its configuration), so what is "
                + "guaranteed to a set is only a share of what there is"
        ]
    }
}
