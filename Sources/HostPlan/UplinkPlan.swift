import ClusterModel

/// The host's total: what all its sets together send and receive through the bridge's own
/// interface, which is all that goes beyond the host, and each set's share of it.
///
/// Both trees stand on the bridge's side of address translation, where a packet still carries the
/// set's own address: what goes to sets leaves through the bridge itself, what comes from sets is
/// led over an `ifb` device. The host's real network devices and what their owner set there are
/// left alone. What two sets of one host send each other does not pass here.
package struct UplinkPlan: Equatable, Sendable {
    /// One set's part of one direction, in bits per second.
    package struct Share: Equatable, Sendable {
        /// What it has at any time.
        package var rate: Int
        /// What it may borrow up to.
        package var ceiling: Int

        package init(rate: Int, ceiling: Int) {
            self.rate = rate
            self.ceiling = ceiling
        }
    }

    /// The names.
    package let names: NetworkNames
    /// The sets' addresses.
    package let subnet: IPv4Network
    /// The total of each direction, in bits per second.
    package let bitsPerSecond: Int

    package init(names: NetworkNames, subnet: IPv4Network, bitsPerSecond: Int) {
        self.names = names
        self.subnet = subnet
        self.bitsPerSecond = TrafficTree.bounded(bitsPerSecond)
    }

    private static let handle = "2:"
    /// The class of packets that carry no set's address.
    private static let strangerMinor = 0xffff

    /// The two devices, with the address by which a packet's set is known there.
    private var sides: [(device: String, field: TrafficFilter.Field)] {
        [(names.bridge, .destination), (names.uplinkInterface, .source)]
    }

    /// The devices whose traffic control is to be looked at.
    package static func devices(_ names: NetworkNames) -> [String] {
        [names.bridge, names.uplinkInterface]
    }

    // MARK: - Shares

    /// What no guarantee covers still gets this much, so that nothing stands still for good.
    private var floor: Int { min(TrafficTree.bitsPerSecondMin, bitsPerSecond / 1_000) }

    /// The shares of sets with these wishes, in the same order.
    ///
    /// Rates are as wished while they add up to no more than the total; otherwise all of them are
    /// lowered alike, because HTB gives every class its rate even when its parent has no more. A
    /// set without a rate gets the floor and borrows.
    package func shares(of wishes: [BandwidthSpec?]) -> [Share] {
        let rates = wishes.map { wish in
            wish?.rateBitsPerSecond.map { TrafficTree.bounded($0) }
        }
        let wished = rates.reduce(0) { $0 + ($1 ?? 0) }
        let floors = floor * (rates.count { $0 == nil } + 1)
        let room = max(bitsPerSecond - floors, 0)
        return zip(wishes, rates).map { wish, rate in
            let ceiling = min(
                wish?.ceilingBitsPerSecond.map { TrafficTree.bounded($0) } ?? bitsPerSecond,
                bitsPerSecond)
            guard let rate else { return Share(rate: min(floor, ceiling), ceiling: ceiling) }
            guard wished > room else { return Share(rate: min(rate, ceiling), ceiling: ceiling) }
            // The quotient is below `rate`, since the room is below what is wished.
            let lowered = wished.dividingFullWidth(rate.multipliedFullWidth(by: room)).quotient
            return Share(rate: min(max(lowered, 1_000), ceiling), ceiling: ceiling)
        }
    }

    // MARK: - Lines

    /// `ip` lines that make the device over which goes what sets send.
    package static func deviceCommands(_ names: NetworkNames) -> [String] {
        let device = names.uplinkInterface
        return [
            "link add \(device) type ifb",
            "link set \(device) alias \"\(names.instance) uplink\"",
            "link set \(device) up",
        ]
    }

    /// `tc` lines that make both trees without any set's class, or change the total of those that
    /// are there while packets flow.
    package func commands(found: [String: FoundTraffic]) -> [String] {
        var lines: [String] = []
        for (device, field) in sides {
            let there = found[device] ?? FoundTraffic()
            let isOurs =
                there.root
                == .init(kind: "htb", handle: Self.handle, defaultMinor: Self.strangerMinor)
                && there.filters.contains { $0.match == TrafficFilter.match(subnet, field) }
            if !isOurs {
                if there.hasRoot { lines.append("qdisc del dev \(device) root") }
                lines.append(
                    "qdisc add dev \(device) root handle \(Self.handle) htb default "
                        + TrafficTree.hex(Self.strangerMinor))
            }
            lines += classCommands(device)
            if !isOurs { lines += filterCommands(device, field) }
        }
        return lines
            + TrafficRedirect.commands(
                device: names.bridge, target: names.uplinkInterface,
                found: found[names.bridge] ?? FoundTraffic())
    }

    /// `tc` lines that take the total off the bridge, from what was found there.
    package static func removalCommands(
        _ names: NetworkNames, found: [String: FoundTraffic]
    ) -> [String] {
        let there = found[names.bridge] ?? FoundTraffic()
        return TrafficTree.removalCommands(device: names.bridge, found: there)
            + TrafficRedirect.removalCommands(device: names.bridge, found: there)
    }

    /// `tc` lines that give the set at an address its share, or change it while packets flow.
    package func shareCommands(
        _ address: IPv4Address, ingress: Share, egress: Share
    ) -> [String] {
        let host = TrafficTree.hex(hostPart(address))
        return zip(sides, [ingress, egress]).flatMap { side, share in
            let id = "\(Self.handle)\(host)"
            return [
                TrafficTree.classCommand(
                    device: side.device, parent: root, id: id, rate: share.rate,
                    ceiling: share.ceiling),
                TrafficTree.queueCommand(
                    device: side.device, parent: id,
                    handle: TrafficTree.hex(0x1000 + hostPart(address)) + ":",
                    ceiling: share.ceiling),
                "filter replace dev \(side.device) parent \(Self.handle) protocol ip pref 1 "
                    + "handle 1:\(host):1 u32 ht 1:\(host): match ip \(side.field.word) "
                    + "\(address) flowid \(id)",
            ]
        }
    }

    /// `tc` lines that take the share of the set at an address away; they fail where it has none.
    package func shareRemovalCommands(_ address: IPv4Address) -> [String] {
        let host = TrafficTree.hex(hostPart(address))
        return sides.flatMap { side in
            [
                "filter del dev \(side.device) parent \(Self.handle) protocol ip pref 1 "
                    + "handle 1:\(host):1 u32",
                "class del dev \(side.device) classid \(Self.handle)\(host)",
            ]
        }
    }

    private var root: String { "\(Self.handle)\(TrafficTree.hex(TrafficTree.rootMinor))" }

    private func hostPart(_ address: IPv4Address) -> Int { Int(address.value & 0xff) }

    private func classCommands(_ device: String) -> [String] {
        let stranger = "\(Self.handle)\(TrafficTree.hex(Self.strangerMinor))"
        return [
            TrafficTree.classCommand(
                device: device, parent: Self.handle, id: root, rate: bitsPerSecond,
                ceiling: bitsPerSecond),
            TrafficTree.classCommand(
                device: device, parent: root, id: stranger, rate: floor, ceiling: bitsPerSecond),
            TrafficTree.queueCommand(
                device: device, parent: stranger, handle: "1fff:", ceiling: bitsPerSecond),
        ]
    }

    /// A table with a place for each host part of an address, so that finding a set's class costs
    /// the same for one set and for 250.
    private func filterCommands(_ device: String, _ field: TrafficFilter.Field) -> [String] {
        let head = "filter add dev \(device) parent \(Self.handle)"
        return [
            // The first filter of a tree has the table 800:, so this one comes first.
            "\(head) protocol ip pref 1 handle 1: u32 divisor 256",
            "\(head) protocol ip pref 1 u32 ht 800:: match ip \(field.word) \(subnet) "
                + "hashkey mask 0x000000ff at \(field.offset) link 1:",
            // Who owns an address must be found out, however full the classes are.
            "\(head) protocol arp pref 2 u32 match u32 0 0 flowid \(Self.handle)",
        ]
    }
}
