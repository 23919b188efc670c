import ClusterModel

/// The walls of one set's cable: what it may send and receive, however much the host has to spare.
///
/// Both directions are shaped outside the set, where nothing that runs in it can reach. What it
/// receives waits where the host sends into the cable. What it sends is led over an `ifb` device of
/// the set's own, which the kernel needs to hold back what comes in. A device for each set keeps
/// walls apart: there is no number to hand out and no list to search.
package struct SetTraffic: Equatable, Sendable {
    /// The set.
    package let slot: SlotID
    /// The host's end of the cable.
    package let cable: String
    /// The device over which goes what the set sends.
    package let egressDevice: String
    /// What is set at the cable, for what the set receives; nil is no limit.
    package let ingress: TrafficTree?
    /// What is set at the egress device; nil is no limit, and then there is no such device.
    package let egress: TrafficTree?

    /// Plans the walls of a set; `inside` are the networks of the datacentre.
    package init(
        slot: SlotID, network: NetworkSpec, names: NetworkNames, inside: [IPv4Network]
    ) {
        self.slot = slot
        cable = names.interface(slot)
        egressDevice = names.egressInterface(slot)
        ingress = SetTraffic.tree(cable, network.ingress, .source, inside)
        egress = SetTraffic.tree(egressDevice, network.egress, .destination, inside)
    }

    /// True when the set has no limit at all.
    package var isEmpty: Bool { ingress == nil && egress == nil }

    /// The devices whose traffic control is to be looked at.
    package var devices: [String] { [cable, egressDevice] }

    /// `tc` lines that bring both devices to what is wanted, from what was found.
    package func commands(found: [String: FoundTraffic]) -> [String] {
        let atCable = found[cable] ?? FoundTraffic()
        let atEgress = found[egressDevice] ?? FoundTraffic()
        var lines =
            ingress?.commands(found: atCable)
            ?? TrafficTree.removalCommands(device: cable, found: atCable)
        if let egress {
            lines += egress.commands(found: atEgress)
            lines += TrafficRedirect.commands(
                device: cable, target: egressDevice, found: atCable)
        } else {
            lines += TrafficRedirect.removalCommands(device: cable, found: atCable)
        }
        return lines
    }

    /// `tc` lines that change what was set earlier, `last`, without looking at it; nil when the shape
    /// is another, which is to be looked at.
    ///
    /// They fail where a queue or class that they change is missing.
    package func changeCommands(from last: SetTraffic) -> [String]? {
        var lines: [String] = []
        for (wanted, before) in [(ingress, last.ingress), (egress, last.egress)] {
            switch (wanted, before) {
            case (nil, nil): continue
            case (let wanted?, let before?):
                guard let change = wanted.changeCommands(from: before) else { return nil }
                lines += change
            default: return nil
            }
        }
        return lines
    }

    /// One leaf, or two when what leaves the datacentre has a bound of its own.
    ///
    /// The leaves' rates add up to the ceiling and never to more, since HTB lets a leaf have its
    /// rate whatever its parent says. So what leaves has its bound for itself, what stays has the
    /// rest, and may have all of it while the other sends nothing.
    private static func tree(
        _ device: String, _ bandwidth: BandwidthSpec?, _ field: TrafficFilter.Field,
        _ inside: [IPv4Network]
    ) -> TrafficTree? {
        guard let bandwidth,
            bandwidth.ceilingBitsPerSecond != nil || bandwidth.outsideBitsPerSecond != nil
        else { return nil }
        let ceiling = TrafficTree.bounded(
            bandwidth.ceilingBitsPerSecond ?? TrafficTree.bitsPerSecondMax)
        guard let outside = bandwidth.outsideBitsPerSecond else {
            return TrafficTree(
                device: device, ceiling: ceiling,
                leaves: [.init(minor: TrafficTree.restMinor, rate: ceiling, ceiling: ceiling)])
        }
        let most = min(TrafficTree.bounded(outside), ceiling)
        let insideRate = max(ceiling - most, ceiling / 16)
        return TrafficTree(
            device: device, ceiling: ceiling,
            leaves: [
                .init(minor: TrafficTree.restMinor, rate: ceiling - insideRate, ceiling: most),
                .init(minor: TrafficTree.insideMinor, rate: insideRate, ceiling: ceiling),
            ], filters: inside.map { .inside($0, field) })
    }
}

extension NetworkPlan {
    /// `ip` lines that make the device over which goes what a set sends.
    package static func egressDeviceCommands(
        names: NetworkNames, _ slot: SlotID
    ) -> [String] {
        let device = names.egressInterface(slot)
        return [
            "link add \(device) type ifb",
            "link set \(device) alias \"\(names.egressAlias(slot))\"",
            "link set \(device) up",
        ]
    }
}
