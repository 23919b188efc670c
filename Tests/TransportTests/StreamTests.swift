import Base
import EventLoop
import Glibc
import Synchronization
import Testing
import Transport

@Suite(.timeLimit(.minutes(2)))
struct StreamTests {
    /// Opens a stream between two peers.
    private func open(
        _ from: TestPeer, _ to: TestPeer, header: [UInt8] = [1]
    ) async throws -> (near: PeerStream, far: PeerStream) {
        let near = try await from.plane.open(streamTo: to.host, at: to.address, header: header)
        let opened = try #require(await to.nextStream())
        #expect(opened.header == header)
        #expect(opened.sender == from.identity)
        #expect(opened.stream.peer == from.identity)
        #expect(near.peer == to.identity)
        return (near, opened.stream)
    }

    private func sendAll(_ stream: PeerStream, _ total: Int) async throws {
        let piece = pattern(1 << 20)
        for _ in 0..<total / piece.count { try await stream.send(piece) }
        await stream.finish()
    }

    /// Reads to the end and checks what came.
    private func receiveAll(_ stream: PeerStream) async throws -> Int {
        let piece = pattern(1 << 20)
        var total = 0
        while let chunk = try await stream.receive() {
            let start = total % piece.count
            let first = min(chunk.count, piece.count - start)
            // memcmp: comparing slices byte by byte takes most of the time in a debug build.
            // Neither is empty, so both have a base address.
            let isEqual = chunk.withUnsafeBytes { chunk in
                piece.withUnsafeBytes { piece in
                    memcmp(chunk.baseAddress!, piece.baseAddress! + start, first) == 0
                        && memcmp(
                            chunk.baseAddress! + first, piece.baseAddress!, chunk.count - first)
                            == 0
                }
            }
            guard isEqual else { return -1 }
            total += chunk.count
        }
        return total
    }

    @Test("32 MiB go both ways at once, unchanged, and both ends see the end")
    func bothWays() async throws {
        try await withPeers(2) { peers, _ in
            let (near, far) = try await open(peers[0], peers[1])
            let total = 32 << 20
            async let sentNear: Void = sendAll(near, total)
            async let sentFar: Void = sendAll(far, total)
            async let receivedNear = receiveAll(near)
            async let receivedFar = receiveAll(far)
            #expect(try await receivedNear == total)
            #expect(try await receivedFar == total)
            _ = try await (sentNear, sentFar)
            #expect(try await near.receive() == nil)
            for peer in peers {
                #expect(await eventually { await peer.plane.connectionCount == 0 })
                #expect(await peer.plane.counters.protocolErrors == 0)
            }
        }
    }

    @Test("a reader that does not read makes the sender wait")
    func backPressure() async throws {
        try await withPeers(2) { peers, _ in
            let (near, far) = try await open(peers[0], peers[1])
            let sent = SharedNumber()
            let total = 64 << 20
            let piece = pattern(1 << 20)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for _ in 0..<total / piece.count {
                        try await near.send(piece)
                        sent.value.add(piece.count, ordering: .relaxed)
                    }
                    await near.finish()
                }
                // Wait until nothing moves any more.
                var last = -1
                while sent.value.load(ordering: .relaxed) != last {
                    last = sent.value.load(ordering: .relaxed)
                    try await Task.sleep(for: .milliseconds(300))
                }
                // The kernel's two buffers hold a few MiB.
                #expect(last < 24 << 20)
                #expect(try await receiveAll(far) == total)
                try await group.waitForAll()
            }
        }
    }

    @Test("one side may finish and go on receiving")
    func halfClose() async throws {
        try await withPeers(2) { peers, _ in
            let (near, far) = try await open(peers[0], peers[1])
            try await near.send([1, 2])
            await near.finish()
            #expect(try await far.receive() == [1, 2])
            #expect(try await far.receive() == nil)
            #expect(try await far.receive() == nil)
            await #expect(throws: PeerStreamError.self) { try await near.send([3]) }
            try await far.send([4])
            #expect(try await near.receive() == [4])
            await far.finish()
            #expect(try await near.receive() == nil)
        }
    }

    @Test("cancelling ends both sides; so does letting go, and stopping the peer")
    func cancelling() async throws {
        try await withPeers(2) { peers, _ in
            let (near, far) = try await open(peers[0], peers[1])
            far.cancel()
            await #expect(throws: PeerStreamError.self) { try await near.receive() }
            await #expect(throws: PeerStreamError.self) { try await far.receive() }
            await #expect(throws: PeerStreamError.self) { try await near.send([1]) }

            var dropped: PeerStream? = nil
            let kept: PeerStream
            (kept, dropped) = try await open(peers[0], peers[1])
            _ = dropped
            dropped = nil
            await #expect(throws: PeerStreamError.self) { try await kept.receive() }

            let (third, other) = try await open(peers[0], peers[1])
            let waiting = Task { try await third.receive() }
            waiting.cancel()
            await #expect(throws: PeerStreamError.self) { try await waiting.value }
            await #expect(throws: PeerStreamError.self) { try await other.receive() }

            let (last, lost) = try await open(peers[0], peers[1])
            try await lost.send([9])
            #expect(try await last.receive() == [9])
            await peers[1].plane.stop()
            await #expect(throws: PeerStreamError.self) { try await last.receive() }
            await #expect(throws: PeerStreamError.self) { try await lost.receive() }
        }
    }

    @Test("a call that finds nobody, or nobody who answers, fails in time and says why")
    func unreachable() async throws {
        try await withPeers(1) { peers, _ in
            let plane = peers[0].plane
            let nobody = HostKeyPair.generate().hostID
            let refused = await #expect(throws: PeerStreamError.self) {
                try await plane.open(
                    streamTo: nobody, at: SocketAddress(127, 0, 0, 1, port: 1), header: [])
            }
            #expect(refused?.description.contains("refused") == true)
            let mute = try await MuteServer(loop: peers[0].loop).start()
            let before = peers[0].loop.now()
            let late = await #expect(throws: PeerStreamError.self) {
                try await plane.open(
                    streamTo: nobody, at: mute, header: [], timeout: .milliseconds(200))
            }
            #expect(late?.description.contains("too long") == true)
            #expect(peers[0].loop.now() - before < .seconds(2))
            await #expect(throws: PeerStreamError.self) {
                try await plane.open(
                    streamTo: peers[0].host, at: peers[0].address, header: [])
            }
            let task = Task {
                try await plane.open(streamTo: nobody, at: mute, header: [], timeout: .seconds(30))
            }
            try await Task.sleep(for: .milliseconds(20))
            task.cancel()
            await #expect(throws: PeerStreamError.self) { try await task.value }
            #expect(await eventually { await plane.connectionCount == 0 })
        }
    }

    @Test("pings keep a quiet connection; a peer that stops answering is noticed")
    func silence() async throws {
        try await withPeers(
            2,
            change: { configuration in
                configuration.pingInterval = .milliseconds(100)
                configuration.silenceMax = .milliseconds(600)
            }
        ) { peers, _ in
            let (near, far) = try await open(peers[0], peers[1])
            await peers[0].plane.send(message: [1], to: peers[1].host, at: peers[1].address)
            #expect(await peers[1].nextMessage() != nil)
            // Quiet for longer than silence may last.
            try await Task.sleep(for: .milliseconds(1_500))
            try await near.send([1])
            #expect(try await far.receive() == [1])
            #expect(await peers[0].plane.counters.silentConnections == 0)
            // The other agent hangs.
            let hang = SharedNumber()
            peers[1].loop.perform {
                while hang.value.load(ordering: .relaxed) == 0 { usleep(1_000) }
            }
            let error = await #expect(throws: PeerStreamError.self) { try await near.receive() }
            #expect(error?.description.contains("silent") == true)
            // The connection for messages too; it may have heard from the other a little later.
            #expect(await peers[0].counted { $0.silentConnections == 2 })
            hang.value.store(1, ordering: .relaxed)
        }
    }

    @Test("streams of one host are bounded")
    func streamsPerHost() async throws {
        try await withPeers(2, change: { $0.inboundStreamsPerHostMax = 2 }) { peers, _ in
            let first = try await open(peers[0], peers[1])
            let second = try await open(peers[0], peers[1])
            await #expect(throws: PeerStreamError.self) { try await open(peers[0], peers[1]) }
            first.near.cancel()
            await #expect(throws: PeerStreamError.self) { try await first.far.receive() }
            let third = try await open(peers[0], peers[1])
            withExtendedLifetime((second, third)) {}
        }
    }
}

/// Takes connections and says nothing.
private actor MuteServer {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private var listener: TCPListener?

    init(loop: EventLoop) { self.loop = loop }

    func start() throws -> SocketAddress {
        let listener = try TCPListener(loop: loop, address: SocketAddress(127, 0, 0, 1, port: 0)) {
            _, _ in
        }
        self.listener = listener
        return listener.address
    }
}

/// A number that several tasks see.
private final class SharedNumber: Sendable {
    let value = Atomic<Int>(0)
}
