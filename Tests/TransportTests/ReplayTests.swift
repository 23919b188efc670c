import Base
import EventLoop
import Testing
import Transport

/// A datagram is for one start of one agent: a recording of it is worth nothing anywhere else.
@Suite(.timeLimit(.minutes(1)))
struct ReplayTests {
    @Test("a recording is taken by no other host")
    func otherHost() async throws {
        try await withPeers(2) { peers, secret in
            let recording = recorded(secret, receiver: peers[0].identity)
            let attacker = RawSocket(tcp: false, to: peers[1].address)
            attacker.send(recording)
            #expect(await peers[1].counted { $0.misdirected == 1 })
            #expect(await peers[1].plane.counters.datagramsReceived == 0)
            // The one it is for takes it, once.
            let sender = RawSocket(tcp: false, to: peers[0].address)
            sender.send(recording)
            #expect(await peers[0].nextDatagram()?.bytes == [9, 9])
            sender.send(recording)
            #expect(await peers[0].counted { $0.replayed == 1 && $0.datagramsReceived == 1 })
        }
    }

    @Test("a recording is not taken after a restart of its receiver")
    func afterRestart() async throws {
        let secret = ClusterSecret.generate()
        let keys = HostKeyPair.generate()
        let first = try await TestPeer(secret, keys: keys, boot: 10)
        let recording = recorded(secret, receiver: first.identity)
        let sender = RawSocket(tcp: false, to: first.address)
        sender.send(recording)
        #expect(await first.nextDatagram()?.bytes == [9, 9])
        await first.stop()
        let second = try await TestPeer(secret, keys: keys, boot: 11, at: first.address)
        sender.send(recording)
        #expect(await second.counted { $0.unintroduced == 1 })
        sender.send(recording)
        #expect(await second.counted { $0.replayed == 1 && $0.datagramsReceived == 0 })
        await second.stop()
    }

    @Test("a recording that names nobody is never taken, and its answer is shorter")
    func unnamed() async throws {
        try await withPeers(1) { peers, secret in
            let recording = recorded(secret, receiver: nil)
            let attacker = RawSocket(tcp: false, to: peers[0].address)
            attacker.send(recording)
            let answer = attacker.receive()
            #expect(!answer.isEmpty && answer.count < recording.count)
            #expect(await peers[0].plane.counters.datagramsReceived == 0)
            // The answer is for the recording's sender; at anybody else it is worth nothing.
            attacker.send(answer)
            #expect(await peers[0].counted { $0.own == 1 })
            attacker.send(recording)
            #expect(await peers[0].counted { $0.replayed == 1 && $0.datagramsReceived == 0 })
        }
    }

    @Test("who knows only an address is told whom it reached, and its last datagram arrives")
    func introduction() async throws {
        try await withPeers(2) { peers, _ in
            await peers[0].plane.send(datagram: [5], to: peers[1].address, receiver: nil)
            let received = try #require(await peers[1].nextDatagram())
            #expect(received.bytes == [5] && received.sender == peers[0].identity)
            let counters = await peers[0].plane.counters
            #expect(counters.introductions == 1 && counters.datagramsReceived == 0)
            #expect(await peers[1].plane.counters.unintroduced == 1)
        }
    }

    @Test("after a restart of the receiver its sender is told, and the next datagram arrives")
    func restartedReceiver() async throws {
        let secret = ClusterSecret.generate()
        let keys = HostKeyPair.generate()
        let sender = try await TestPeer(secret)
        let first = try await TestPeer(secret, keys: keys, boot: 10)
        await sender.plane.send(datagram: [1], to: first.address, receiver: first.identity)
        #expect(await first.nextDatagram()?.bytes == [1])
        await first.stop()
        let second = try await TestPeer(secret, keys: keys, boot: 11, at: first.address)
        await sender.plane.send(datagram: [2], to: first.address, receiver: first.identity)
        #expect(await sender.counted { $0.introductions == 1 })
        await sender.plane.send(datagram: [3], to: first.address, receiver: first.identity)
        #expect(await second.nextDatagram()?.bytes == [3])
        await sender.stop()
        await second.stop()
    }

    @Test("introductions cannot be made to answer each other, nor kept without bound")
    func introductionsEnd() async throws {
        try await withPeers(2, change: { $0.awaitingIntroductionMax = 4 }) { peers, secret in
            // Nobody answers at these; the oldest are given up.
            for port: UInt16 in 1...20 {
                let nowhere = SocketAddress(127, 0, 0, 1, port: port)
                await peers[0].plane.send(datagram: [1], to: nowhere, receiver: nil)
            }
            let codec = DatagramCodec(secret: secret, bytesMax: 1_400)
            let stranger = PeerIdentity(
                hostID: HostKeyPair.generate().hostID, bootEpoch: BootEpoch(1))
            let socket = RawSocket(tcp: false, to: peers[1].address)
            for (sequence, receiver) in [nil, stranger, peers[0].identity].enumerated() {
                socket.send(
                    codec.seal(
                        [],
                        header: .init(
                            kind: .introduction, sender: stranger,
                            sequence: UInt64(sequence + 1), receiver: receiver)))
            }
            #expect(await peers[1].counted { $0.misdirected == 3 })
            #expect(await peers[1].plane.counters.datagramsSent == 0)
            await peers[0].plane.send(datagram: [6], to: peers[1].address, receiver: nil)
            #expect(await peers[1].nextDatagram()?.bytes == [6])
        }
    }

    /// What an attacker who reads the network has of a stranger's datagram.
    private func recorded(_ secret: ClusterSecret, receiver: PeerIdentity?) -> [UInt8] {
        let sender = PeerIdentity(hostID: HostKeyPair.generate().hostID, bootEpoch: BootEpoch(7))
        return DatagramCodec(secret: secret, bytesMax: 1_400).seal(
            [9, 9], header: .init(sender: sender, sequence: 1, receiver: receiver))
    }
}
