import Base
import EventLoop
import Glibc
import Testing
import Transport

@Suite(.timeLimit(.minutes(1)))
struct DatagramTests {
    /// What an attacker, or the network, does to a datagram.
    enum Damage: CaseIterable, Sendable {
        case otherKey, flippedPayload, flippedSequence, flippedNonce, flippedTag, truncated
        case tiny, empty, oversized, replayed, wrongCluster, otherMagic, otherVersion
        case staleBoot, ownIdentity, sequenceZero
    }

    @Test("a datagram arrives with its sender", arguments: ["127.0.0.1", "::1"])
    func roundTrip(host: String) async throws {
        let secret = ClusterSecret.generate()
        let address = try #require(SocketAddress(numericHost: host, port: 0))
        guard let one = try? await TestPeer(secret, at: address) else {
            print("skipped: this machine has no \(host)")
            return
        }
        let two = try await TestPeer(secret, at: address)
        let payload = pattern(PeerPlaneConfiguration(bindAddress: address).datagramPayloadMax)
        #expect(payload.count >= 1_200)
        await one.plane.send(datagram: payload, to: two.address, receiver: two.identity)
        let received = try #require(await two.nextDatagram())
        #expect(received.bytes == payload)
        #expect(received.sender == one.identity)
        await one.plane.send(
            datagram: payload + [0], to: two.address, receiver: two.identity)
        #expect(await one.plane.counters.datagramsUnsent == 1)
        await one.stop()
        await two.stop()
    }

    @Test("a socket on :: serves IPv4 too, and shows the address as IPv4")
    func dualStack() async throws {
        let secret = ClusterSecret.generate()
        let any = try #require(SocketAddress(numericHost: "::", port: 0))
        guard let one = try? await TestPeer(secret, at: any) else {
            print("skipped: this machine has no IPv6")
            return
        }
        let two = try await TestPeer(secret)
        await two.plane.send(
            datagram: [1], to: SocketAddress(127, 0, 0, 1, port: one.address.port),
            receiver: one.identity)
        #expect(await one.nextDatagram()?.bytes == [1])
        await one.plane.send(datagram: [2], to: two.address, receiver: two.identity)
        #expect(await two.nextDatagram()?.bytes == [2])
        await one.plane.send(message: [3], to: two.host, at: two.address)
        #expect(await two.nextMessage()?.bytes == [3])
        await one.stop()
        await two.stop()
    }

    @Test("a damaged or repeated datagram is dropped and counted", arguments: Damage.allCases)
    func damage(_ damage: Damage) async throws {
        try await withPeers(1) { peers, secret in
            let receiver = peers[0]
            let codec = DatagramCodec(secret: secret, bytesMax: 1_400)
            let sender = PeerIdentity(
                hostID: HostKeyPair.generate().hostID, bootEpoch: BootEpoch(7))
            let socket = RawSocket(tcp: false, to: receiver.address)
            func packet(_ sequence: UInt64, _ sender: PeerIdentity) -> [UInt8] {
                codec.seal(
                    [9, 9],
                    header: .init(
                        sender: sender, sequence: sequence, receiver: receiver.identity))
            }
            // The sender is known already.
            socket.send(packet(1, sender))
            #expect(await receiver.nextDatagram()?.bytes == [9, 9])
            socket.send(
                spoil(packet(2, sender), damage, sender, secret: secret, receiver: receiver))
            #expect(await receiver.counted { dropped(damage, $0) == 1 })
            // Nothing was harmed: the next one comes through.
            socket.send(packet(3, sender))
            #expect(await receiver.nextDatagram()?.bytes == [9, 9])
            #expect(await receiver.plane.counters.datagramsReceived == 2)
        }
    }

    private func spoil(
        _ good: [UInt8], _ damage: Damage, _ sender: PeerIdentity, secret: ClusterSecret,
        receiver: TestPeer
    ) -> [UInt8] {
        var packet = good
        let codec = DatagramCodec(secret: secret, bytesMax: 1_400)
        func sealed(_ sender: PeerIdentity, _ sequence: UInt64, _ count: Int = 2) -> [UInt8] {
            codec.seal(
                [UInt8](repeating: 1, count: count),
                header: .init(sender: sender, sequence: sequence, receiver: receiver.identity))
        }
        let other = DatagramCodec(secret: .generate(), bytesMax: 1_400)
            .seal([9, 9], header: .init(sender: sender, sequence: 2, receiver: receiver.identity))
        switch damage {
        case .otherKey: return Array(good.prefix(DatagramCodec.headerBytes)) + other.suffix(18)
        case .flippedPayload: packet[DatagramCodec.headerBytes] ^= 1
        case .flippedSequence: packet[67] ^= 0x40
        case .flippedNonce: packet[DatagramCodec.headerBytes - 1] ^= 1
        case .flippedTag: packet[packet.count - 1] ^= 0x80
        case .truncated: packet.removeLast()
        case .tiny: return [0x53]
        case .empty: return []
        case .oversized: return sealed(sender, 2, 1_400)
        case .replayed: return sealed(sender, 1)
        case .wrongCluster: return other
        case .otherMagic: packet[0] ^= 1
        case .otherVersion: packet[2] = 1
        case .staleBoot:
            return sealed(PeerIdentity(hostID: sender.hostID, bootEpoch: BootEpoch(6)), 50)
        case .ownIdentity: return sealed(receiver.identity, 2)
        case .sequenceZero: return sealed(sender, 0)
        }
        return packet
    }

    private func dropped(_ damage: Damage, _ counters: PeerPlaneCounters) -> UInt64 {
        switch damage {
        case .otherKey, .flippedPayload, .flippedSequence, .flippedNonce, .flippedTag, .truncated:
            counters.forged
        case .tiny, .empty: counters.truncated
        case .oversized: counters.oversized
        case .replayed, .sequenceZero: counters.replayed
        case .wrongCluster: counters.wrongCluster
        case .otherMagic, .otherVersion: counters.foreign
        case .staleBoot: counters.staleBoot
        case .ownIdentity: counters.own
        }
    }

    @Test("datagrams may overtake each other within the window, and each counts once")
    func replayWindow() async throws {
        try await withPeers(1) { peers, secret in
            let receiver = peers[0]
            let codec = DatagramCodec(secret: secret, bytesMax: 1_400)
            let host = HostKeyPair.generate().hostID
            let socket = RawSocket(tcp: false, to: receiver.address)
            func send(_ sequence: UInt64, boot: UInt64 = 7) {
                let sender = PeerIdentity(hostID: host, bootEpoch: BootEpoch(boot))
                socket.send(
                    codec.seal(
                        [],
                        header: .init(
                            sender: sender, sequence: sequence, receiver: receiver.identity)))
            }
            for sequence: UInt64 in [5, 2_000, 1_500, 1_999, 977, 2_001] { send(sequence) }
            #expect(await receiver.counted { $0.datagramsReceived == 6 })
            // Seen, seen, seen, one too old, far too old.
            for sequence: UInt64 in [1_500, 2_000, 2_001, 976, 5] { send(sequence) }
            #expect(await receiver.counted { $0.replayed == 5 })
            // The ring was cleared where the window moved over it.
            for sequence: UInt64 in [2_524, 3_524, 2_500, .max, .max - 1_023] { send(sequence) }
            #expect(await receiver.counted { $0.datagramsReceived == 10 && $0.replayed == 6 })
            // A new start counts from 1 again, and ends the old one.
            send(1, boot: 8)
            send(1, boot: 7)
            #expect(await receiver.counted { $0.datagramsReceived == 11 && $0.staleBoot == 1 })
        }
    }

    @Test("garbage at the port harms nothing")
    func fuzz() async throws {
        try await withPeers(2) { peers, secret in
            var random = RandomSource(seed: 42)
            let codec = DatagramCodec(secret: secret, bytesMax: 1_400)
            let socket = RawSocket(tcp: false, to: peers[0].address)
            let sender = PeerIdentity(hostID: HostID(testing: 3), bootEpoch: BootEpoch(1))
            for round in 0..<3_000 {
                var packet = pattern(Int.random(in: 0...1_500, using: &random), seed: UInt64(round))
                if round % 2 == 0 {
                    packet = codec.seal(
                        [1, 2, 3],
                        header: .init(
                            sender: sender, sequence: 1, receiver: peers[0].identity))
                    let place = Int.random(in: packet.indices, using: &random)
                    packet[place] ^= UInt8.random(in: 1...255, using: &random)
                    if round % 4 == 0 { packet.removeLast(Int.random(in: 0...60, using: &random)) }
                }
                socket.send(packet)
            }
            await peers[1].plane.send(
                datagram: [7], to: peers[0].address, receiver: peers[0].identity)
            #expect(await peers[0].nextDatagram()?.bytes == [7])
            #expect(await peers[0].plane.counters.datagramsReceived == 1)
        }
    }

    @Test("a name with a port is looked up; anything else is refused with a hint")
    func resolving() async throws {
        let loop = makeLoop("shoalt-lookup")
        defer { loop.stop() }
        let four = SocketAddress(127, 0, 0, 1, port: 7_400)
        #expect(try await loop.resolve("127.0.0.1:7400") == [four])
        #expect(try await loop.resolve("[::1]:7400").first?.address.last == 1)
        #expect(try await loop.resolve("localhost:7400").contains { $0.port == 7_400 })
        for text in ["localhost", "localhost:", ":7400", "a:b:1", "host:70000", "host:0", "[]:1"] {
            await #expect(throws: AddressError.self) { try await loop.resolve(text) }
        }
        await #expect(throws: LoopError.self) { try await loop.resolve("no.such.invalid:1") }
    }
}
