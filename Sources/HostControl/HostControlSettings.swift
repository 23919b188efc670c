import HostPlan

/// Where a host's control groups and networks are made, and under which names.
package struct HostControlSettings: Sendable {
    /// The folder below every hierarchy under which all sets' groups are, such as `shoal`, or
    /// `shoal/h1` when several agents share a machine.
    package var cgroupRoot: String
    /// What tells this agent's network namespaces from another's on the machine: 1 to 16 of
    /// `a-z 0-9`, best the host's short identity.
    package var instance: String
    /// The name of the bridge that sets are attached to: 1 to 15 of `a-z 0-9`, a letter first.
    package var bridge: String
    /// The network out of which every host takes a /24 for its sets.
    ///
    /// The same on every host; it should not overlap the hosts' own networks.
    package var clusterNetwork: IPv4Network
    /// Further networks that belong to the datacentre: what sets exchange with them is not outside.
    ///
    /// At most `datacenterNetworksMax`, and the hosts' own networks should be among them.
    package var datacenterNetworks: [IPv4Network]
    /// How much all sets together may send, and receive, beyond the host.
    package var uplink: UplinkSetting
    /// The network namespace (below `/run/netns`) to act in instead of the agent's own.
    ///
    /// For tests and tools; nil in the agent.
    package var networkNamespace: String?
    /// Paths on the disks whose input and output are limited for every set: where images, the files of
    /// containers and those of volumes are.
    package var diskPaths: [String]
    /// Groups beside ours that have cores to themselves, such as `machine.slice` of virtual machines.
    package var reservations: [CoreSetPlan.Reservation]
    /// The port on which this agent's peers reach it: never led to a set; 0 for none.
    package var ownPort: UInt16

    package init(
        cgroupRoot: String = "shoal", instance: String, bridge: String = "shoal0",
        clusterNetwork: IPv4Network = .clusterDefault, datacenterNetworks: [IPv4Network] = [],
        uplink: UplinkSetting = .unlimited, networkNamespace: String? = nil,
        diskPaths: [String] = [], reservations: [CoreSetPlan.Reservation] = [],
        ownPort: UInt16 = 0
    ) {
        self.cgroupRoot = cgroupRoot
        self.instance = instance
        self.bridge = bridge
        self.clusterNetwork = clusterNetwork
        self.datacenterNetworks = datacenterNetworks
        self.uplink = uplink
        self.networkNamespace = networkNamespace
        self.diskPaths = diskPaths
        self.reservations = reservations
        self.ownPort = ownPort
    }

    /// The most networks of the datacentre: each is a filter that every packet of some sets passes.
    package static let datacenterNetworksMax = 32

    /// Every broken rule, as a sentence with the setting's name.
    package func problems() -> [String] {
        var problems: [String] = []
        let parts = cgroupRoot.split(separator: "/", omittingEmptySubsequences: false)
        if !(1...4 ~= parts.count) || !parts.allSatisfy({ isFolderName($0) }) {
            problems.append(
                "cgroupRoot `\(cgroupRoot)` must be one to four folder names of a-z, A-Z, 0-9, "
                    + "`-`, `_` or `.` joined by `/`, without a leading `/`")
        }
        if NetworkNames(instance: instance, bridge: bridge) == nil {
            problems.append(
                "instance `\(instance)` must be 1 to 16 and bridge `\(bridge)` 1 to 15 of a-z "
                    + "and 0-9, the bridge with a letter first")
        }
        if clusterNetwork.hostSubnetCount == 0 {
            problems.append(
                "clusterNetwork \(clusterNetwork) must hold at least one /24, since every host "
                    + "takes one")
        }
        if datacenterNetworks.count > HostControlSettings.datacenterNetworksMax {
            problems.append(
                "datacenterNetworks has \(datacenterNetworks.count) networks; "
                    + "\(HostControlSettings.datacenterNetworksMax) are allowed")
        }
        if case .fixed(let rate) = uplink, !UplinkSetting.fixedRange.contains(rate) {
            problems.append("uplink must be 1Mbit to 1Tbit, not \(rate) bits per second")
        }
        for reservation in reservations {
            let parts = reservation.group.split(separator: "/", omittingEmptySubsequences: false)
            if !(1...4 ~= parts.count) || !parts.allSatisfy({ isFolderName($0) }) {
                problems.append(
                    "the reserved group `\(reservation.group.prefix(128))` must be one to four folder names joined by `/`, "
                        + "such as machine.slice")
            }
            if !(1...ProcessorList.numberMax ~= reservation.processors) {
                problems.append(
                    "the reserved group \(reservation.group.prefix(128)) must have 1 core or more, not "
                        + "\(reservation.processors)")
            }
        }
        if Set(reservations.map(\.group)).count != reservations.count
            || reservations.contains(where: { $0.group == cgroupRoot })
        {
            problems.append("each reserved group must be there once, and not be our own")
        }
        if let networkNamespace, !isFolderName(networkNamespace[...]) {
            problems.append("networkNamespace `\(networkNamespace)` must be a plain name")
        }
        return problems
    }
}

/// True for a name that is one folder, cannot lead elsewhere, and can stand in a command.
func isFolderName(_ text: Substring) -> Bool {
    1...128 ~= text.utf8.count && text.utf8.first != UInt8(ascii: ".")
        && text.utf8.first != UInt8(ascii: "-")
        && text.utf8.allSatisfy {
            97...122 ~= $0 || 65...90 ~= $0 || 48...57 ~= $0 || [45, 46, 95].contains($0)
        }
}
