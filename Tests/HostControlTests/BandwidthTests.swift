import ClusterModel
import EventLoop
import Glibc
import HostControl
import HostPlan
import Testing

/// Real traffic between real network namespaces of the test's own.
///
/// Every flow is measured at its receiver, over two seconds after it has settled. Lower bounds leave
/// room for a machine that is busy with other things; upper bounds do not: a limit holds or not.
@Suite("Bandwidth on this machine", .enabled(if: obstacle == nil), .serialized)
struct BandwidthTests {
    private let first = web(0)
    private let second = web(1)
    private let outsideAddress = "192.0.2.2"
    private let firstAddress = "10.64.7.2"
    private let secondAddress = "10.64.7.3"

    private func add(
        _ slot: SlotID, _ last: Int, _ network: NetworkSpec, _ host: HostFixture
    ) async throws {
        let subnet = try #require(IPv4Network.clusterDefault.hostSubnet(index: 7))
        try await host.control.ensureSetNetwork(
            slot: slot, address: try #require(subnet.address(at: last)), network: network)
    }

    private func addSets(
        _ network: NetworkSpec, _ host: HostFixture, isBoth: Bool = false
    ) async throws {
        try await add(first, 2, network, host)
        try await add(second, 3, isBoth ? network : NetworkSpec(), host)
    }

    private func namespace(_ slot: SlotID, _ host: HostFixture) -> String {
        "shoal-\(host.settings.instance)-\(slot)"
    }

    /// Mbit/s of payload for a rate on the wire: 1,448 of 1,514 bytes of a full TCP packet.
    private func payload(_ megabits: Double) -> Double { megabits * 1_448 / 1_514 }

    private func expect(
        _ got: Double, near megabits: Double, _ what: String = "",
        _ location: SourceLocation = #_sourceLocation
    ) {
        #expect(
            got > payload(megabits) * 0.85 && got < megabits * 1.02,
            "\(got) Mbit/s \(what) for \(megabits)", sourceLocation: location)
    }

    // MARK: - Traffic

    /// Starts a server on port 5001 that sends to whoever connects, as fast as it can.
    private func startSource(_ namespace: String, _ host: HostFixture) async throws
        -> RunningCommand
    {
        try await host.start(
            python: """
                import socket, threading
                s = socket.socket()
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(('', 5001)); s.listen(16); print('ready')
                def send(c):
                    try:
                        while True: c.send(bytes(1 << 16))
                    except OSError: pass
                while True: threading.Thread(target=send, args=(s.accept()[0],), daemon=True).start()
                """, namespace: namespace)
    }

    /// Starts a sender of full UDP packets to port 5002, as fast as it can.
    private func startFlood(
        to address: String, _ namespace: String, _ host: HostFixture
    ) async throws -> RunningCommand {
        try await host.start(
            python: """
                import socket, time
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); print('ready')
                while True:
                    try: s.sendto(bytes(1472), ('\(address)', 5002))
                    except OSError: time.sleep(0.01)
                """, namespace: namespace)
    }

    /// Mbit/s of payload from a source, over a connection of its own.
    private func received(
        from address: String, _ namespace: String, _ host: HostFixture
    ) async throws -> Double {
        try await number(
            """
            import socket, time
            c = socket.create_connection(('\(address)', 5001), 5); c.settimeout(5)
            begun = time.monotonic(); n = 0; start = None
            while True:
                n += len(c.recv(1 << 16)); now = time.monotonic()
                if start is None:
                    if now - begun > 1: start = now; n = 0
                elif now - start >= 2: break
            print(n * 8 / (now - start) / 1e6)
            """, namespace, host)
    }

    /// Mbit/s that arrive while a connection of its own brings what a source sends, alone.
    ///
    /// Counted by the kernel: a program sees what was held up behind a lost packet all at once.
    private func carried(
        from address: String, _ namespace: String, _ host: HostFixture
    ) async throws -> Double {
        try await number(
            """
            import socket, time
            def wire():
                lines = [l.split(':') for l in open('/proc/net/dev').readlines()[2:]]
                return sum(int(rest.split()[0]) for name, rest in lines if name.strip() != 'lo')
            c = socket.create_connection(('\(address)', 5001), 5); c.settimeout(5)
            begun = time.monotonic(); n = 0; start = None
            while True:
                c.recv(1 << 16); now = time.monotonic()
                if start is None:
                    if now - begun > 1: start = now; n = wire()
                elif now - start >= 2: break
            print((wire() - n) * 8 / (now - start) / 1e6)
            """, namespace, host)
    }

    /// Mbit/s on the wire of what arrives at port 5002.
    private func flooded(_ namespace: String, _ host: HostFixture) async throws -> Double {
        try await number(
            """
            import socket, time
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            s.bind(('', 5002)); s.recv(2000)
            begun = time.monotonic(); n = 0; start = None
            while True:
                n += len(s.recv(2000)) + 42; now = time.monotonic()
                if start is None:
                    if now - begun > 1: start = now; n = 0
                elif now - start >= 2: break
            print(n * 8 / (now - start) / 1e6)
            """, namespace, host)
    }

    private func number(
        _ script: String, _ namespace: String, _ host: HostFixture
    ) async throws -> Double {
        let said = try await host.python(script, namespace: namespace)
        return try #require(Double(said.filter { !$0.isWhitespace }))
    }

    // MARK: - Walls

    @Test("UDP never exceeds a rate, sent or received")
    func floods() async throws {
        try await HostFixture.with { host in
            try await addSets(NetworkSpec(egressBitsPerSecond: 20_000_000), host)
            let flood = try await startFlood(
                to: secondAddress, namespace(first, host), host)
            defer { flood.kill(signal: SIGKILL) }
            let sent = try await flooded(namespace(second, host), host)
            #expect(sent > 15 && sent < 20.4, "\(sent) Mbit/s sent for 20")
            try await host.control.updateBandwidth(slot: first, network: NetworkSpec())
            try await host.control.updateBandwidth(
                slot: second, network: NetworkSpec(ingressBitsPerSecond: 10_000_000))
            let received = try await flooded(namespace(second, host), host)
            #expect(received > 7 && received < 10.2, "\(received) Mbit/s received for 10")
        }
    }

    @Test("one connection lives through every change, and its rate follows")
    func changesInFlight() async throws {
        try await HostFixture.with { host in
            try await addSets(NetworkSpec(egressBitsPerSecond: 40_000_000), host)
            let source = try await startSource(namespace(first, host), host)
            defer { source.kill(signal: SIGKILL) }
            // Holds one connection, and says how fast it is to whoever asks on port 5003.
            let holder = try await host.start(
                python: """
                    import socket, threading, time
                    c = socket.create_connection(('\(firstAddress)', 5001), 5)
                    total = 0
                    def drain():
                        global total
                        while True:
                            got = len(c.recv(1 << 16))
                            if got == 0: break
                            total += got
                    threading.Thread(target=drain, daemon=True).start()
                    s = socket.socket(); s.bind(('127.0.0.1', 5003)); s.listen(1); print('ready')
                    while True:
                        asked, peer = s.accept(); time.sleep(1)
                        before, start = total, time.monotonic(); time.sleep(2)
                        rate = (total - before) * 8 / (time.monotonic() - start) / 1e6
                        asked.sendall(b'%f' % rate); asked.close()
                    """, namespace: namespace(second, host))
            defer { holder.kill(signal: SIGKILL) }
            func rate() async throws -> Double {
                try await number(
                    """
                    import socket
                    print(socket.create_connection(('127.0.0.1', 5003), 9).makefile().read())
                    """, namespace(second, host), host)
            }
            func change(_ slot: SlotID, _ network: NetworkSpec) async throws {
                try await host.control.updateBandwidth(slot: slot, network: network)
            }
            expect(try await rate(), near: 40)
            try await change(first, NetworkSpec(egressBitsPerSecond: 10_000_000))
            expect(try await rate(), near: 10)
            // With a bound for what leaves the datacentre, which this does not.
            try await change(
                first,
                NetworkSpec(
                    egress: BandwidthSpec(
                        ceilingBitsPerSecond: 30_000_000, outsideBitsPerSecond: 5_000_000)))
            expect(try await rate(), near: 30)
            // The other end, and this one lifted: the device it went over is gone.
            try await change(second, NetworkSpec(ingressBitsPerSecond: 15_000_000))
            try await change(first, NetworkSpec())
            expect(try await rate(), near: 15)
            try await change(second, NetworkSpec())
            let free = try await rate()
            #expect(free > 60, "\(free) Mbit/s without a limit")
        }
    }

    @Test("what leaves the datacentre is told from what stays, both ways")
    func outside() async throws {
        let split = BandwidthSpec(
            ceilingBitsPerSecond: 40_000_000, outsideBitsPerSecond: 10_000_000)
        let network = NetworkSpec(egress: split, ingress: split)
        for isInside in [false, true] {
            let networks = isInside ? try [#require(IPv4Network("192.0.2.0/24"))] : []
            try await HostFixture.with(datacenterNetworks: networks) { host in
                try await addSets(network, host)
                try await host.addOutside()
                let beyond = "\(host.name)o"
                var sources: [RunningCommand] = []
                for space in [namespace(first, host), namespace(second, host), beyond] {
                    sources.append(try await startSource(space, host))
                }
                defer { for source in sources { source.kill(signal: SIGKILL) } }
                let wanted: Double = isInside ? 40 : 10
                expect(
                    try await carried(from: firstAddress, beyond, host), near: wanted, "out")
                expect(
                    try await carried(from: outsideAddress, namespace(first, host), host),
                    near: wanted, "in")
                guard !isInside else { return }
                expect(
                    try await carried(from: firstAddress, namespace(second, host), host),
                    near: 40, "to a neighbour")
                expect(
                    try await carried(from: secondAddress, namespace(first, host), host),
                    near: 40, "from a neighbour")
            }
        }
    }

    /// The lines of either text that the other lacks.
    private func difference(_ one: String, _ other: String) -> [Substring] {
        let (left, right) = (one.split(separator: "\n"), other.split(separator: "\n"))
        return left.filter { !right.contains($0) } + right.filter { !left.contains($0) }
    }

    /// What somebody else may do to a set's devices, one after the other.
    private func damages(
        cable: String, device: String, tc: [String], link: [String]
    ) -> [[String]] {
        [
            ["true"],
            tc + ["qdisc", "del", "dev", cable, "root"],
            tc + ["qdisc", "del", "dev", cable, "ingress"],
            tc + ["qdisc", "del", "dev", device, "root"],
            tc + ["filter", "del", "dev", device, "parent", "1:", "pref", "2"],
            tc + [
                "class", "change", "dev", device, "parent", "1:1", "classid", "1:10", "htb",
                "rate", "1gbit",
            ],
            tc + [
                "class", "add", "dev", device, "parent", "1:1", "classid", "1:99", "htb",
                "rate", "1gbit",
            ],
            tc + [
                "qdisc", "replace", "dev", cable, "root", "tbf", "rate", "1gbit", "burst",
                "100k", "latency", "1s",
            ],
            link + ["del", device],
            link + ["set", device, "down"],
            link + ["del", cable],
        ]
    }

    @Test("what is missing or wrong is put right, and what is right stays")
    func repair() async throws {
        let split = BandwidthSpec(
            rateBitsPerSecond: 20_000_000, ceilingBitsPerSecond: 40_000_000,
            outsideBitsPerSecond: 10_000_000)
        let network = NetworkSpec(egress: split, ingress: split)
        try await HostFixture.with(uplink: .fixed(100_000_000)) { host in
            try await addSets(network, host)
            let names = try #require(
                NetworkNames(instance: host.settings.instance, bridge: "shoalt0"))
            let (cable, device) = (names.interface(first), names.egressInterface(first))
            let all = [cable, device, "shoalt0", names.uplinkInterface]
            func listing() async throws -> String {
                var text = ""
                for device in all {
                    for (kind, tail) in [
                        ("qdisc", []), ("class", []), ("filter", []), ("filter", ["ingress"]),
                    ] {
                        text += try await host.commands.check(
                            ["tc", "-n", host.name, kind, "show", "dev", device] + tail
                        ).outputText
                    }
                }
                // Of an action the kernel also tells the number, which is a new one each time.
                return text.split(separator: "\n").filter { !$0.contains("index ") }
                    .joined(separator: "\n")
            }
            let right = try await listing()
            let tc = ["tc", "-n", host.name]
            let link = ["ip", "-n", host.name, "link"]
            let damages = damages(cable: cable, device: device, tc: tc, link: link)
            for damage in damages {
                try await host.commands.check(damage)
                try await add(first, 2, network, host)
                let now = try await listing()
                #expect(now == right, "after \(damage): \(difference(now, right))")
                let isUp = try await host.commands.check(link + ["show", device]).outputText
                #expect(isUp.contains(",UP"), "after \(damage)")
            }
            // A change stumbles over what is missing, and puts it right.
            try await host.commands.check(tc + ["qdisc", "del", "dev", cable, "root"])
            try await host.control.updateBandwidth(slot: first, network: network)
            #expect(try await listing() == right)
            // The total, which the next start looks after.
            for damage in [
                tc + ["qdisc", "del", "dev", "shoalt0", "root"],
                tc + ["qdisc", "del", "dev", "shoalt0", "ingress"],
                link + ["del", names.uplinkInterface],
            ] {
                try await host.commands.check(damage)
                try await host.control.prepare(subnetIndex: 7)
                try await addSets(network, host)
                #expect(try await listing() == right, "after \(damage)")
            }
            // A network namespace that vanished with its cable leaves a device that nobody needs.
            try await host.commands.check(["ip", "netns", "del", namespace(first, host)])
            try await host.control.prepare(subnetIndex: 7)
            let left = try await host.commands.check(link + ["show"]).outputText
            #expect(!left.contains(device))
        }
    }

    // MARK: - The host's total

    @Test("a flood does not take another set's guaranteed rate; the total holds, both ways")
    func total() async throws {
        try await HostFixture.with(uplink: .fixed(40_000_000)) { host in
            let sure = BandwidthSpec(
                rateBitsPerSecond: 30_000_000, ceilingBitsPerSecond: 200_000_000)
            try await addSets(NetworkSpec(egress: sure, ingress: sure), host)
            try await host.addOutside()
            let beyond = "\(host.name)o"
            let inner = namespace(first, host)
            let other = namespace(second, host)
            let source = try await startSource(inner, host)
            let outerSource = try await startSource(beyond, host)
            defer { for source in [source, outerSource] { source.kill(signal: SIGKILL) } }
            // Alone it borrows all there is.
            expect(try await received(from: firstAddress, beyond, host), near: 40, "alone")
            for isSending in [true, false] {
                let flood = try await startFlood(
                    to: isSending ? outsideAddress : secondAddress, isSending ? other : beyond,
                    host)
                defer { flood.kill(signal: SIGKILL) }
                async let flooded = flooded(isSending ? beyond : other, host)
                async let guaranteed = received(
                    from: isSending ? firstAddress : outsideAddress,
                    isSending ? beyond : inner, host)
                let (noise, signal) = try await (flooded, guaranteed)
                let what = isSending ? "sent" : "received"
                #expect(signal > payload(30) * 0.85, "\(signal) Mbit/s \(what) of 30")
                #expect(noise > 0.5, "\(noise) Mbit/s \(what) of the rest")
                #expect(
                    noise + signal * 1_514 / 1_448 < 40 * 1.02,
                    "\(noise) and \(signal) Mbit/s \(what) of 40")
            }
            // What stays on the host is not part of it.
            let near = try await received(from: firstAddress, other, host)
            #expect(near > 60, "\(near) Mbit/s between neighbours")
        }
    }

    @Test("sets that start together share their calls, and one that fails fails alone")
    func together() async throws {
        try await HostFixture.with(uplink: .fixed(1_000_000_000)) { host in
            let network = NetworkSpec(
                egressBitsPerSecond: 10_000_000, ingressBitsPerSecond: 20_000_000)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<20 {
                    group.addTask { try await add(web(number), 2 + number, network, host) }
                }
                try await group.waitForAll()
            }
            let names = try #require(
                NetworkNames(instance: host.settings.instance, bridge: "shoalt0"))
            try await host.commands.check(
                ["ip", "-n", host.name, "link", "del", names.interface(web(3))])
            let outcomes = await withTaskGroup(of: (Int, Bool).self) { group in
                for number in 0..<20 {
                    group.addTask {
                        do {
                            try await host.control.updateBandwidth(
                                slot: web(number),
                                network: NetworkSpec(egressBitsPerSecond: 30_000_000))
                            return (number, true)
                        } catch { return (number, false) }
                    }
                }
                return await group.reduce(into: [Int: Bool]()) { $0[$1.0] = $1.1 }
            }
            #expect(outcomes.filter { !$0.value }.map(\.key) == [3])
            for number in 0..<20 where number != 3 {
                let classes = try await host.commands.check([
                    "tc", "-n", host.name, "class", "show", "dev",
                    names.egressInterface(web(number)),
                ]).outputText
                #expect(classes.contains("rate 30Mbit ceil 30Mbit"), "\(number)")
            }
            for number in 0..<20 { try await host.control.removeSetNetwork(slot: web(number)) }
            let shares = try await host.commands.check(
                ["tc", "-n", host.name, "class", "show", "dev", "shoalt0"]
            ).outputText.split(separator: "\n")
            #expect(shares.count == 2, "\(shares)")
        }
    }
}
