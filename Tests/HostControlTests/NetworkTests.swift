import ClusterModel
import EventLoop
import Glibc
import HostControl
import HostPlan
import Testing

/// Real networks in a namespace of the test's own.
@Suite("Networks on this machine", .enabled(if: obstacle == nil), .serialized)
struct NetworkTests {
    private let first = web(0)
    private let second = web(1)

    /// A server that answers every connection with its name and the sender's address.
    private func server(_ name: String) -> String {
        """
        import socket
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(('', 8080)); s.listen(16); print('ready')
        while True:
            c, peer = s.accept()
            c.sendall(('\(name) %s\\n' % peer[0]).encode()); c.close()
        """
    }

    /// A client that connects so many times and prints the answers, sorted.
    private func client(_ address: String, _ port: Int, times: Int = 1) -> String {
        """
        import socket
        a = []
        for i in range(\(times)):
            c = socket.create_connection(('\(address)', \(port)), 3)
            a.append(c.makefile().readline().strip()); c.close()
        print(' | '.join(sorted(a)))
        """
    }

    private func address(_ last: Int) throws -> IPv4Address {
        try #require(IPv4Network.clusterDefault.hostSubnet(index: 7)?.address(at: last))
    }

    private func addSets(_ host: HostFixture) async throws {
        for (slot, last) in [(first, 2), (second, 3)] {
            let path = try await host.control.ensureSetNetwork(
                slot: slot, address: try address(last), network: NetworkSpec())
            #expect(path == "/run/netns/shoal-\(host.settings.instance)-\(slot)")
        }
    }

    private func namespace(_ slot: SlotID, _ host: HostFixture) -> String {
        "shoal-\(host.settings.instance)-\(slot)"
    }

    @Test("sets reach each other, and published ports lead to them in turn from everywhere")
    func publish() async throws {
        try await HostFixture.with { host in
            try await addSets(host)
            try await host.addOutside()
            let servers = [
                try await host.start(python: server("A"), namespace: namespace(first, host)),
                try await host.start(python: server("B"), namespace: namespace(second, host)),
            ]
            let reached = try await host.python(
                client("10.64.7.3", 8_080), namespace: namespace(first, host))
            #expect(reached == "B 10.64.7.2\n")

            let targets = [try address(2), try address(3)]
                .map { PublishedBackend.Target(address: $0, port: 8_080) }
            try await host.control.publish([
                PublishedBackend(
                    service: "web", hostPort: 18_080, transport: .tcp, targets: targets)
            ])
            let local = try await host.python(
                client("10.64.7.1", 18_080, times: 2), namespace: host.name)
            #expect(local == "A 10.64.7.1 | B 10.64.7.1\n")
            let outside = try await host.python(
                client("192.0.2.1", 18_080, times: 2), namespace: "\(host.name)o")
            #expect(outside == "A 192.0.2.2 | B 192.0.2.2\n")
            // A set through the host's port: also to itself (hairpin).
            for target in ["10.64.7.1", "192.0.2.1"] {
                let hairpin = try await host.python(
                    client(target, 18_080, times: 2), namespace: namespace(first, host))
                #expect(hairpin.hasPrefix("A ") && hairpin.contains("| B "))
            }
            // A set to the outside, under the host's address.
            let foreign = try await host.start(
                python: server("C"), namespace: "\(host.name)o")
            let masked = try await host.python(
                client("192.0.2.2", 8_080), namespace: namespace(first, host))
            #expect(masked == "C 192.0.2.1\n")
            foreign.kill(signal: SIGKILL)
            for server in servers { server.kill(signal: SIGKILL) }

            try await host.control.publish([])
            await #expect(throws: CommandError.self) {
                try await host.python(client("10.64.7.1", 18_080), namespace: host.name)
            }
        }
    }

    @Test("the agent's own port is never led to a set, and a set that wants it is told so")
    func ownPort() async throws {
        try await HostFixture.with(ownPort: 18_080) { host in
            try await addSets(host)
            let server = try await host.start(
                python: server("A"), namespace: namespace(first, host))
            let target = PublishedBackend.Target(address: try address(2), port: 8_080)
            try await host.control.publish(
                [18_080, 18_081].map {
                    PublishedBackend(
                        service: "web", hostPort: $0, transport: .tcp, targets: [target])
                })
            let reached = try await host.python(client("10.64.7.1", 18_081), namespace: host.name)
            #expect(reached == "A 10.64.7.1\n")
            await #expect(throws: CommandError.self) {
                try await host.python(client("10.64.7.1", 18_080), namespace: host.name)
            }
            server.kill(signal: SIGKILL)

            func notes(_ port: Int) async throws -> [String] {
                try await host.control.notes(
                    slot: first, containers: [],
                    network: NetworkSpec(publish: [PublishedPort(port: 8_080, hostPort: port)])
                ).filter { $0.hasPrefix("port ") }
            }
            #expect(try await notes(18_080).count == 1)
            #expect(try await notes(18_081).isEmpty)
        }
    }

    @Test("a half-made or broken network is put right, and a right one is left alone")
    func repair() async throws {
        try await HostFixture.with { host in
            let control = host.control
            try await addSets(host)
            let interface = try #require(
                NetworkNames(instance: host.settings.instance, bridge: "shoalt0")
            ).interface(first)
            let server = try await host.start(
                python: server("B"), namespace: namespace(second, host))
            let damages = [
                ["true"],
                ["ip", "-n", host.name, "link", "del", interface],
                ["ip", "-n", host.name, "link", "set", interface, "nomaster"],
                ["ip", "-n", host.name, "link", "set", interface, "down"],
                ["ip", "-n", namespace(first, host), "addr", "flush", "dev", "eth0"],
                ["ip", "-n", namespace(first, host), "link", "set", "eth0", "down"],
                ["ip", "netns", "del", namespace(first, host)],
                // The mount is gone and its file is left.
                ["umount", "/run/netns/\(namespace(first, host))"],
            ]
            for damage in damages {
                try await host.commands.check(damage)
                try await addSets(host)
                let reached = try await host.python(
                    client("10.64.7.3", 8_080), namespace: namespace(first, host))
                #expect(reached == "B 10.64.7.2\n", "after \(damage)")
            }
            server.kill(signal: SIGKILL)
            try await control.prepare(subnetIndex: 7)
            let found = try await control.existingSetNetworks()
            #expect(found.map(\.slot) == [first, second])
            #expect(found.map(\.address) == [try address(2), try address(3)])

            // Another address for a set that has one.
            try await control.ensureSetNetwork(
                slot: first, address: try address(9), network: NetworkSpec())
            #expect(try await control.existingSetNetworks().first?.address == address(9))
            await #expect(throws: HostControlError.self) {
                let foreign = try #require(IPv4Address("10.65.0.2"))
                try await control.ensureSetNetwork(
                    slot: first, address: foreign, network: NetworkSpec())
            }
            for _ in 0..<2 { try await control.removeSetNetwork(slot: first) }
            #expect(try await control.existingSetNetworks().map(\.slot) == [second])
        }
    }

    @Test("a sender over its rate is held to it, in both directions and after a change in flight")
    func bandwidth() async throws {
        try await HostFixture.with { host in
            try #require(await host.control.capabilities.hasTrafficControl)
            try await addSets(host)
            // One set gets its limit with its network.
            let slow = NetworkSpec(egressBitsPerSecond: 20_000_000)
            try await host.control.removeSetNetwork(slot: first)
            try await host.control.ensureSetNetwork(
                slot: first, address: try address(2), network: slow)
            try await host.control.ensureSetNetwork(
                slot: first, address: try address(2), network: slow)
            let atBirth = try await rate(host)
            #expect(atBirth > 17 && atBirth < 23, "\(atBirth) for 20")
            let cases: [(SlotID, NetworkSpec, Double)] = [
                (first, NetworkSpec(egressBitsPerSecond: 60_000_000), 60),
                (first, NetworkSpec(), .infinity),
                (second, NetworkSpec(ingressBitsPerSecond: 40_000_000), 40),
                (second, NetworkSpec(ingressBitsPerSecond: 10_000_000), 10),
            ]
            for (slot, network, wanted) in cases {
                try await host.control.updateBandwidth(slot: slot, network: network)
                let got = try await rate(host)
                if wanted.isFinite {
                    #expect(got > wanted * 0.85 && got < wanted * 1.15, "\(got) for \(wanted)")
                } else {
                    #expect(got > 200, "\(got) without a limit")
                }
            }
        }
    }

    /// Megabits per second over 2 s from the first set to the second, after 0.5 s of warming up.
    private func rate(_ host: HostFixture) async throws -> Double {
        let sink = try await host.start(
            python: """
                import socket, time
                s = socket.socket()
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(('', 5001)); s.listen(1); print('ready')
                c, p = s.accept()
                begun = time.monotonic(); n = 0; start = None
                while True:
                    n += len(c.recv(1 << 16)); now = time.monotonic()
                    if start is None:
                        if now - begun > 0.5: start = now; n = 0
                    elif now - start >= 2: break
                c.sendall(b'%d' % (n * 8 / (now - start)))
                # Closing with unread data would reset the connection and lose the answer.
                while c.recv(1 << 16): pass
                """, namespace: namespace(second, host))
        let answer = try await host.python(
            """
            import socket
            c = socket.create_connection(('10.64.7.3', 5001), 3); c.settimeout(10)
            c.setblocking(False)
            import select
            block = bytes(1 << 16)
            while True:
                r, w, x = select.select([c], [c], [], 10)
                if r: print(c.recv(100).decode()); break
                if w: c.send(block)
            """, namespace: namespace(first, host))
        sink.kill(signal: SIGKILL)
        let bits = try #require(Double(answer.filter { $0.isNumber }))
        return bits / 1_000_000
    }
}
