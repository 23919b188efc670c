import ClusterModel
import HostPlan
import Testing

@Suite("Network plan")
struct NetworkPlanTests {
    private let plan: NetworkPlan
    private let slot = SlotID(service: "web", ordinal: 3)
    private let address: IPv4Address

    init() throws {
        plan = NetworkPlan(
            names: try #require(NetworkNames(instance: "h1", bridge: "shoal0")),
            subnet: try #require(IPv4Network.clusterDefault.hostSubnet(index: 1)))
        address = try #require(IPv4Address("10.64.1.2"))
    }

    @Test("interface names fit the kernel's 15 bytes and differ between sets")
    func names() throws {
        var seen: Set<String> = []
        for service in ["web", "db", "a-rather-long-name-of-a-service-in-a-team"] {
            for ordinal in [0, 1, 35, 36, 46_655, 46_656, 99_999, Int.max] {
                let name = plan.names.interface(SlotID(service: service, ordinal: ordinal))
                #expect(name.utf8.count <= NetworkNames.interfaceNameBytesMax)
                #expect(seen.insert(name).inserted)
            }
        }
        let other = try #require(NetworkNames(instance: "h2", bridge: "shoal0"))
        #expect(other.interface(slot) != plan.names.interface(slot))
        #expect(plan.names.slot(namespace: "shoal-h1-web.3") == slot)
        for foreign in ["shoal-h1", "shoal-h2-web.3", "shoal-h1-web.03", "shoal-h1-", "x"] {
            #expect(plan.names.slot(namespace: foreign) == nil)
        }
        #expect(NetworkNames(instance: "h 1", bridge: "shoal0") == nil)
        #expect(NetworkNames(instance: "h1", bridge: "0shoal") == nil)
        let alias = plan.names.alias(slot, address: address)
        #expect(plan.names.assignment(alias: alias)?.address == address)
        #expect(other.assignment(alias: alias) == nil)
    }

    @Test("bridge, cable and inside are made by these lines")
    func interfaces() {
        #expect(
            plan.bridgeCommands(exists: false) == """
                link add shoal0 type bridge
                addr replace 10.64.1.1/24 dev shoal0
                link set shoal0 up

                """)
        let interface = plan.names.interface(slot)
        #expect(
            plan.cableCommands(slot, address: address, withNamespace: true) == """
                netns add shoal-h1-web.3
                link add \(interface) type veth peer name eth0 netns shoal-h1-web.3
                link set \(interface) alias "h1 web.3 10.64.1.2"
                link set \(interface) master shoal0 up
                link set \(interface) type bridge_slave hairpin on

                """)
        let inside = plan.inside(address: address)
        #expect(inside.address == address && inside.prefixLength == 24)
        #expect("\(inside.gateway)" == "10.64.1.1")
        #expect(
            plan.staleAddressCommands(
                listing: """
                    2: shoal0    inet 10.64.1.1/24 scope global shoal0\\ valid_lft forever
                    2: shoal0    inet 10.64.9.1/24 scope global shoal0\\ valid_lft forever
                    """) == "addr del 10.64.9.1/24 dev shoal0\n")
    }

    @Test("the whole table is replaced at once, ports in a fixed order, the first claim wins")
    func publish() throws {
        let first = PublishedBackend.Target(address: address, port: 8_080)
        let second = PublishedBackend.Target(
            address: try #require(IPv4Address("10.64.1.3")), port: 8_081)
        let script = plan.publishScript(
            [
                PublishedBackend(
                    service: "z\"; drop", hostPort: 53, transport: .udp, targets: [first]),
                PublishedBackend(service: "late", hostPort: 80, transport: .tcp, targets: [first]),
                PublishedBackend(
                    service: "early", hostPort: 80, transport: .tcp,
                    targets: [second, first, second]),
                PublishedBackend(service: "none", hostPort: 90, transport: .tcp, targets: []),
            ], hasNumgen: true)
        #expect(
            script == """
                table ip shoal_shoal0
                delete table ip shoal_shoal0
                table ip shoal_shoal0 {
                  chain publish {
                    tcp dport 80 dnat to numgen inc mod 2 map { 0 : 10.64.1.2 . 8080, \
                1 : 10.64.1.3 . 8081 } comment "early"
                    udp dport 53 dnat to 10.64.1.2:8080 comment "zdrop"
                  }
                  chain prerouting {
                    type nat hook prerouting priority -100; policy accept;
                    fib daddr type local jump publish
                  }
                  chain output {
                    type nat hook output priority -100; policy accept;
                    ip daddr != 127.0.0.0/8 fib daddr type local jump publish
                  }
                  chain postrouting {
                    type nat hook postrouting priority 100; policy accept;
                    ip saddr 10.64.1.0/24 oifname != "shoal0" masquerade
                    ip saddr 10.64.1.0/24 oifname "shoal0" ct status dnat masquerade
                  }
                }

                """)
    }

    @Test("interfaces are read from the listing")
    func links() {
        let listing = """
            1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN qlen 1000\\    link/loopback 00
            3: shla-2s@if2: <BROADCAST,UP> mtu 1500 qdisc noqueue master br0 state DOWN\\    link/ether d6 brd ff link-netns x\\    alias h1 web.3 10.64.1.2
            4: off: <BROADCAST> mtu 1500
            garbage
            """
        #expect(
            NetworkLink.list(listing) == [
                NetworkLink(name: "lo", isUp: true),
                NetworkLink(
                    name: "shla-2s", master: "br0", isUp: true, alias: "h1 web.3 10.64.1.2"),
                NetworkLink(name: "off"),
            ])
    }
}

@Suite("Addresses")
struct AddressTests {
    @Test("addresses and networks are read strictly")
    func texts() throws {
        for wrong in ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1..2.3", "+1.2.3.4", "1.2.3.0004"] {
            #expect(IPv4Address(wrong) == nil)
        }
        for wrong in ["10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            #expect(IPv4Network(wrong) == nil)
        }
        let cluster = IPv4Network.clusterDefault
        #expect("\(cluster)" == "10.64.0.0/10")
        #expect(cluster.hostSubnetCount == 16_384)
        #expect(cluster.hostSubnet(index: 16_383)?.description == "10.127.255.0/24")
        #expect(cluster.hostSubnet(index: 16_384) == nil)
        for index in [0, 1, 16_383] {
            let inside = try #require(cluster.hostSubnet(index: index)?.address)
            #expect(cluster.hostSubnetIndex(of: inside) == index)
        }
        for outside in [[10, 63, 255, 255], [10, 128, 0, 0], [0, 0, 0, 0]] as [[UInt8]] {
            let address = try #require(IPv4Address(bytes: outside))
            #expect(cluster.hostSubnetIndex(of: address) == nil)
        }
        #expect(cluster.hostSubnet(index: -1) == nil)
        #expect(IPv4Network("0.0.0.0/0")?.address(at: Int(UInt32.max))?.value == .max)
        #expect(IPv4Network("10.0.0.0/30")?.hostSubnetCount == 0)
    }

    @Test("a set gets the lowest free address and keeps it")
    func book() throws {
        let subnet = try #require(IPv4Network("10.64.1.0/24"))
        var book = AddressBook(subnet: subnet)
        func slot(_ ordinal: Int) -> SlotID { SlotID(service: "web", ordinal: ordinal) }
        #expect(book.gateway.description == "10.64.1.1")
        #expect(book.assign(slot(9))?.description == "10.64.1.2")
        #expect(book.assign(slot(1))?.description == "10.64.1.3")
        #expect(book.assign(slot(9))?.description == "10.64.1.2")
        book.release(slot(9))
        #expect(book.assign(slot(5))?.description == "10.64.1.2")
        for ordinal in 100..<(100 + book.capacity - 2) {
            #expect(book.assign(slot(ordinal)) != nil)
        }
        #expect(book.capacity == 253)
        #expect(book.assign(slot(1_000)) == nil)
        #expect(!book.assignments.contains { $0.address.bytes[3] == 255 })

        // What is read off the host may be nonsense: strangers and doubles are left out.
        let again = AddressBook(
            subnet: subnet,
            existing: [
                ("10.64.1.7", 1), ("10.64.1.7", 2), ("10.64.2.3", 3), ("10.64.1.1", 4),
                ("10.64.1.8", 1), ("10.64.1.255", 5),
            ].compactMap { text, ordinal in
                IPv4Address(text).map { .init(slot: slot(ordinal), address: $0) }
            })
        #expect(again.assignments.map(\.slot) == [slot(1)])
    }
}
