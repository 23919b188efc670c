import ClusterModel
import HostPlan
import Testing

/// The walls of a set: the lines that make them, and that do nothing twice.
@Suite("Traffic of a set")
struct SetTrafficTests {
    private let slot = SlotID(service: "web", ordinal: 3)
    private let names: NetworkNames
    private let inside: [IPv4Network]
    private let cable: String
    private let egressDevice: String

    init() throws {
        names = try #require(NetworkNames(instance: "h1", bridge: "shoal0"))
        inside = [.clusterDefault, try #require(IPv4Network("192.168.0.0/16"))]
        cable = names.interface(slot)
        egressDevice = names.egressInterface(slot)
    }

    private func traffic(
        egress: BandwidthSpec? = nil, ingress: BandwidthSpec? = nil
    ) -> SetTraffic {
        SetTraffic(
            slot: slot, network: NetworkSpec(egress: egress, ingress: ingress), names: names,
            inside: inside)
    }

    /// What tc prints of a device with the tree of one leaf, or of two.
    private func listing(_ field: Int, hasOutside: Bool) -> String {
        let second = """
            class htb 1:20 parent 1:1 leaf 20: prio 0 rate 30Mbit ceil 50Mbit burst 1600b
            filter parent 1: protocol ip pref 2 u32 chain 0
            filter parent 1: protocol ip pref 2 u32 chain 0 fh 800: ht divisor 1
            filter parent 1: protocol ip pref 2 u32 chain 0 fh 800::800 order 2048 key ht 800 \
            bkt 0 flowid 1:20 not_in_hw
              match 0a400000/ffc00000 at \(field)
            filter parent 1: protocol ip pref 2 u32 chain 0 fh 800::801 order 2049 key ht 800 \
            bkt 0 *flowid 1:20 not_in_hw
              match c0a80000/ffff0000 at \(field)

            """
        return """
            qdisc htb 1: root refcnt 2 r2q 10 default 0x10 direct_qlen 32
            qdisc bfifo 10: parent 1:10 limit 625000b
            class htb 1:10 parent 1:1 leaf 10: prio 0 rate 50Mbit ceil 50Mbit burst 1600b
            class htb 1:1 root rate 50Mbit ceil 50Mbit burst 1600b cburst 1600b

            """ + (hasOutside ? second : "")
    }

    private var incoming: String {
        """
        qdisc ingress ffff: parent ffff:fff1 ----------------
        filter parent ffff: protocol all pref 1 u32 chain 0
        filter parent ffff: protocol all pref 1 u32 chain 0 fh 800: ht divisor 1
        filter parent ffff: protocol all pref 1 u32 chain 0 fh 800::800 order 2048 key ht 800 \
        bkt 0 terminal flowid not_in_hw
          match 00000000/00000000 at 0
        	action order 1: mirred (Egress Redirect to device \(egressDevice)) stolen
        	index 2 ref 1 bind 1

        """
    }

    private func read(_ text: String, _ devices: [String]) throws -> [String: FoundTraffic] {
        try #require(FoundTraffic.read(text, devices: devices))
    }

    private func classes(_ device: String, rate: Int, burst: Int, queue: Int) -> [String] {
        [
            "class replace dev \(device) parent 1: classid 1:1 htb rate \(rate)bit "
                + "ceil \(rate)bit burst \(burst)b cburst \(burst)b quantum 60000",
            "class replace dev \(device) parent 1:1 classid 1:10 htb rate \(rate)bit "
                + "ceil \(rate)bit burst \(burst)b cburst \(burst)b quantum 60000",
            "qdisc replace dev \(device) parent 1:10 handle 10: bfifo limit \(queue)",
        ]
    }

    @Test("names of the egress devices fit and differ from the cables'")
    func deviceNames() {
        #expect(egressDevice.utf8.count <= NetworkNames.interfaceNameBytesMax)
        #expect(egressDevice.dropFirst(3) == cable.dropFirst(3) && egressDevice != cable)
        #expect(names.egressSlot(alias: names.egressAlias(slot)) == slot)
        #expect(names.assignment(alias: names.egressAlias(slot)) == nil)
        for foreign in ["h2 web.3 egress", "h1 web.3 10.64.1.2", "h1 egress", ""] {
            #expect(names.egressSlot(alias: foreign) == nil)
        }
        #expect(names.uplinkInterface.utf8.count == 10)
        #expect(names.uplinkInterface != names.probeInterface)
    }

    @Test(
        "a limit is one class whose burst and queue follow the rate",
        arguments: [
            (50_000_000, 50_000_000, 62_500, 625_000), (1_000, 8_000, 3_028, 131_072),
            (Int.max, 1_000_000_000_000, 16 << 20, 64 << 20),
            (-1, 8_000, 3_028, 131_072),
        ])
    func limits(wanted: Int, rate: Int, burst: Int, queue: Int) {
        let fresh = traffic(ingress: BandwidthSpec(bitsPerSecond: wanted)).commands(found: [:])
        #expect(
            fresh == ["qdisc add dev \(cable) root handle 1: htb default 10"]
                + classes(cable, rate: rate, burst: burst, queue: queue))
    }

    @Test("what a set sends is led over a device of its own")
    func egress() throws {
        let rate = BandwidthSpec(bitsPerSecond: 50_000_000)
        let made = traffic(egress: rate)
        #expect(
            made.commands(found: [:])
                == ["qdisc add dev \(egressDevice) root handle 1: htb default 10"]
                + classes(egressDevice, rate: 50_000_000, burst: 62_500, queue: 625_000)
                + [
                    "qdisc add dev \(cable) ingress",
                    "filter add dev \(cable) parent ffff: protocol all pref 1 u32 match u32 0 0 "
                        + "action mirred egress redirect dev \(egressDevice)",
                ])
        // What is there is only changed, and a redirect elsewhere is put right.
        let there = try read(
            "qdisc noqueue 0: root refcnt 2\n" + incoming + listing(16, hasOutside: false),
            [cable, egressDevice])
        #expect(
            made.commands(found: there)
                == classes(egressDevice, rate: 50_000_000, burst: 62_500, queue: 625_000))
        let elsewhere = try read(
            "qdisc noqueue 0: root refcnt 2\n"
                + incoming.split(separator: "device \(egressDevice)").joined(separator: "device *")
                + listing(16, hasOutside: false), [cable, egressDevice])
        #expect(
            made.commands(found: elsewhere).contains("qdisc del dev \(cable) ingress"))
        #expect(traffic().isEmpty)
        #expect(
            traffic().commands(found: there) == ["qdisc del dev \(cable) ingress"])
    }

    @Test("what leaves the datacentre has a class of its own; rates add up to the ceiling")
    func outside() throws {
        let wanted = traffic(
            egress: BandwidthSpec(
                rateBitsPerSecond: 10_000_000, ceilingBitsPerSecond: 50_000_000,
                outsideBitsPerSecond: 20_000_000))
        let tree = try #require(wanted.egress)
        #expect(
            tree.leaves == [
                .init(minor: 0x10, rate: 20_000_000, ceiling: 20_000_000),
                .init(minor: 0x20, rate: 30_000_000, ceiling: 50_000_000),
            ])
        let filters = ["0x0a400000 0xffc00000", "0xc0a80000 0xffff0000"].map {
            "filter add dev \(egressDevice) parent 1: protocol ip pref 2 u32 match u32 \($0) "
                + "at 16 flowid 1:20"
        }
        #expect(Array(wanted.commands(found: [:]).dropLast(2).suffix(2)) == filters)

        // The other way round: the class is added, and taken away with its filters, in flight.
        let one = try read(listing(16, hasOutside: false), [egressDevice])
        let two = try read(listing(16, hasOutside: true), [egressDevice])
        #expect(tree.commands(found: try #require(one[egressDevice])).suffix(2) == filters[...])
        let again = tree.commands(found: try #require(two[egressDevice]))
        #expect(again.allSatisfy { !$0.hasPrefix("filter") && !$0.contains("del") })
        let plain = try #require(
            traffic(egress: BandwidthSpec(bitsPerSecond: 50_000_000)).egress)
        let lifted = plain.commands(found: try #require(two[egressDevice]))
        #expect(lifted.first == "filter del dev \(egressDevice) parent 1: pref 2")
        #expect(lifted.last == "class del dev \(egressDevice) classid 1:20")
        // Filters of another field or of other networks are replaced.
        let wrong = try read(listing(12, hasOutside: true), [egressDevice])
        let repaired = tree.commands(found: try #require(wrong[egressDevice]))
        #expect(repaired.first == "filter del dev \(egressDevice) parent 1: pref 2")
        #expect(repaired.suffix(2) == filters[...])
    }

    @Test(
        "rates of both classes never add up to more than the ceiling",
        arguments: [
            (nil, 1_000), (8_000, 8_000), (8_000, 1), (100_000_000, 99_999_999), (nil, Int.max),
            (1_000_000, Int.max),
        ] as [(Int?, Int)])
    func sums(ceiling: Int?, outside: Int) throws {
        let tree = try #require(
            traffic(
                ingress: BandwidthSpec(
                    ceilingBitsPerSecond: ceiling, outsideBitsPerSecond: outside)
            ).ingress)
        #expect(tree.leaves.map(\.rate).reduce(0, +) == tree.ceiling)
        for leaf in tree.leaves {
            #expect(1...leaf.ceiling ~= leaf.rate && leaf.ceiling <= tree.ceiling)
        }
    }

    @Test("a change of rates alone needs no look; another shape does")
    func changes() {
        let slow = BandwidthSpec(bitsPerSecond: 50_000_000)
        let fast = BandwidthSpec(bitsPerSecond: 80_000_000)
        let split = BandwidthSpec(
            ceilingBitsPerSecond: 50_000_000, outsideBitsPerSecond: 20_000_000)
        let last = traffic(egress: fast, ingress: fast)
        #expect(
            traffic(egress: slow, ingress: slow).changeCommands(from: last)
                == classes(cable, rate: 50_000_000, burst: 62_500, queue: 625_000)
                + classes(egressDevice, rate: 50_000_000, burst: 62_500, queue: 625_000))
        for other in [
            traffic(), traffic(egress: slow), traffic(ingress: slow),
            traffic(egress: split, ingress: slow),
        ] {
            #expect(other.changeCommands(from: last) == nil)
            #expect(last.changeCommands(from: other) == nil)
            #expect(other.changeCommands(from: other) != nil)
        }
    }

    @Test("a guarantee alone is no wall")
    func rateAlone() {
        #expect(traffic(egress: BandwidthSpec(rateBitsPerSecond: 1_000_000)).isEmpty)
    }

    @Test("what is not this program's gives way; nonsense is not read as anything")
    func foreign() throws {
        let wanted = traffic(ingress: BandwidthSpec(bitsPerSecond: 50_000_000))
        for listing in [
            "qdisc tbf 8001: root refcnt 2 rate 1Mbit",
            "qdisc htb 1: root refcnt 2 r2q 10 default 0x1",
            "qdisc htb 1: root refcnt 2 default 0x10\nclass htb 1:30 parent 1:1",
            "qdisc htb 1: root refcnt 2 default 0x10\nclass htb 1:10 root",
        ] {
            let lines = wanted.commands(found: try read(listing, [cable]))
            #expect(lines.first == "qdisc del dev \(cable) root", "\(listing)")
            #expect(lines.dropFirst().first?.hasPrefix("qdisc add dev \(cable) root") == true)
        }
        for nothing in ["", "qdisc", "qdisc htb", "class htb 1:1", "match 0/0 at 0", "filter"] {
            #expect(FoundTraffic.read(nothing, devices: []) == [:])
            #expect(FoundTraffic.read(nothing, devices: ["a"]) == nil)
        }
        #expect(FoundTraffic.read("qdisc a 0: root\nqdisc b 0: root", devices: ["a"]) == nil)
        let odd = try read(
            "qdisc htb 1: root default zz\nclass htb x\nfilter parent 1: pref q key\n"
                + "  match a b c\n\taction order 1: mirred (Egress Redirect to device",
            ["a"])
        #expect(odd["a"] == FoundTraffic(root: .init(kind: "htb", handle: "1:")))
    }
}

/// The host's total and the shares in it.
@Suite("Traffic of a host")
struct UplinkPlanTests {
    private func plan(_ bitsPerSecond: Int) throws -> UplinkPlan {
        UplinkPlan(
            names: try #require(NetworkNames(instance: "h1", bridge: "shoal0")),
            subnet: try #require(IPv4Network("10.64.1.0/24")), bitsPerSecond: bitsPerSecond)
    }

    @Test("shares are what was wished while it fits, and are lowered alike when it does not")
    func shares() throws {
        let plan = try plan(100_000_000)
        let wishes = [
            BandwidthSpec(rateBitsPerSecond: 30_000_000, ceilingBitsPerSecond: 60_000_000),
            BandwidthSpec(bitsPerSecond: 20_000_000),
            BandwidthSpec(ceilingBitsPerSecond: 1_000_000),
            nil,
        ]
        #expect(
            plan.shares(of: wishes) == [
                .init(rate: 30_000_000, ceiling: 60_000_000),
                .init(rate: 20_000_000, ceiling: 20_000_000),
                .init(rate: 8_000, ceiling: 1_000_000), .init(rate: 8_000, ceiling: 100_000_000),
            ])
        let much = plan.shares(
            of: [60_000_000, 120_000_000, 60_000_000].map { BandwidthSpec(rateBitsPerSecond: $0) })
        #expect(much.map(\.rate) == [24_998_000, 49_996_000, 24_998_000])
        #expect(plan.shares(of: []) == [])
    }

    @Test(
        "shares never add up to more than the total",
        arguments: [1_000_000, 50_000_000, 1_000_000_000_000], [1, 2, 253])
    func sums(total: Int, sets: Int) throws {
        let plan = try plan(total)
        for rate in [nil, 1, total / sets, total, Int.max] {
            let wishes = (0..<sets).map { index in
                index % 2 == 0 ? BandwidthSpec(rateBitsPerSecond: rate) : nil
            }
            let shares = plan.shares(of: wishes)
            let sum = shares.map(\.rate).reduce(0, +)
            #expect(sum <= total, "\(total), \(sets) sets of \(rate ?? 0)")
            #expect(shares.allSatisfy { 1...$0.ceiling ~= $0.rate && $0.ceiling <= total })
        }
    }

    @Test("the total is made once, then only changed; a share is a class, a queue and a filter")
    func lines() throws {
        let plan = try plan(100_000_000)
        let fresh = plan.commands(found: [:])
        let uplink = plan.names.uplinkInterface
        #expect(fresh.count == 2 * 7 + 2)
        #expect(fresh.first == "qdisc add dev shoal0 root handle 2: htb default ffff")
        #expect(
            fresh.contains(
                "filter add dev \(uplink) parent 2: protocol ip pref 1 u32 ht 800:: match ip src "
                    + "10.64.1.0/24 hashkey mask 0x000000ff at 12 link 1:"))
        #expect(fresh.last?.hasSuffix("action mirred egress redirect dev \(uplink)") == true)
        func listing(_ field: Int, _ network: String) -> String {
            """
            qdisc htb 2: root refcnt 2 r2q 10 default 0xffff
            class htb 2:1 root rate 100Mbit ceil 100Mbit
            class htb 2:ffff parent 2:1 leaf 1fff: prio 0 rate 8Kbit ceil 100Mbit
            filter parent 2: protocol ip pref 2 u32 chain 0 fh 800::800 order 2048 key ht 800 \
            bkt 0 link 1: not_in_hw
              match \(network)/ffffff00 at \(field)
                hash mask 000000ff at \(field)

            """
        }
        let incoming = """
            qdisc ingress ffff: parent ffff:fff1 ----------------
            filter parent ffff: protocol all pref 1 u32 chain 0 fh 800::800 order 2048 key ht 800
              match 00000000/00000000 at 0
            \taction order 1: mirred (Egress Redirect to device \(uplink)) stolen

            """
        let found = try #require(
            FoundTraffic.read(
                listing(16, "0a400100") + incoming + listing(12, "0a400100"),
                devices: UplinkPlan.devices(plan.names)))
        let again = plan.commands(found: found)
        #expect(again.count == 6 && again.allSatisfy { $0.contains(" replace ") })
        // Another subnet: the table of addresses is another.
        let moved = try #require(
            FoundTraffic.read(
                listing(16, "0a400200") + incoming + listing(12, "0a400100"),
                devices: UplinkPlan.devices(plan.names)))
        #expect(plan.commands(found: moved).first == "qdisc del dev shoal0 root")
        #expect(
            UplinkPlan.removalCommands(plan.names, found: found) == [
                "qdisc del dev shoal0 root", "qdisc del dev shoal0 ingress",
            ])

        let share = UplinkPlan.Share(rate: 1_000_000, ceiling: 2_000_000)
        let address = try #require(IPv4Address("10.64.1.18"))
        let set = plan.shareCommands(address, ingress: share, egress: share)
        #expect(set.count == 6)
        #expect(
            set[0] == "class replace dev shoal0 parent 2:1 classid 2:12 htb rate 1000000bit "
                + "ceil 2000000bit burst 3028b cburst 3028b quantum 60000")
        #expect(
            set[2] == "filter replace dev shoal0 parent 2: protocol ip pref 1 handle 1:12:1 u32 "
                + "ht 1:12: match ip dst 10.64.1.18 flowid 2:12")
        #expect(plan.shareRemovalCommands(address).count == 4)
    }

    @Test("the device of the preferred default route is found")
    func route() {
        let heading = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n"
        let routes = """
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t50\t00000000\t0
            down0\t00000000\t0101A8C0\t0002\t0\t0\t1\t00000000\t0
            eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0
            """
        #expect(UplinkRoute.device(routes: heading + routes) == "wlan0")
        for nothing in ["", heading, "a b c", heading + "eth0\t00000000"] {
            #expect(UplinkRoute.device(routes: nothing) == nil)
        }
    }
}
