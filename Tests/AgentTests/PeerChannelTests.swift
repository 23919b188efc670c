import Base
import EventLoop
import Testing
import Transport
import Wire

@testable import Agent

/// Two agents' peer planes on the loopback interface, and streams from one to the other.
struct StreamPair: Sendable {
    /// What the other side was opened.
    struct Ends: Sendable {
        /// Ours: what a test sends as it likes.
        let raw: PeerStream
        /// The other agent's, under test.
        let channel: PeerChannel
    }

    private let planes: [PeerPlane]
    private let loops: [EventLoop]
    private let host: HostID
    private let incoming: AsyncStream<PeerStream>

    /// Runs a test with a pair and stops both afterwards.
    static func run(_ test: (StreamPair) async throws -> Void) async throws {
        let pair = try await StreamPair()
        do {
            try await test(pair)
        } catch {
            await pair.stop()
            throw error
        }
        await pair.stop()
    }

    private init() async throws {
        let secret = ClusterSecret.generate()
        let (incoming, sink) = AsyncStream<PeerStream>.makeStream()
        let keys = [HostKeyPair.generate(), .generate()]
        var planes: [PeerPlane] = []
        var loops: [EventLoop] = []
        for key in keys {
            let loop = try EventLoop(name: "shoalt-peer")
            let plane = PeerPlane(
                loop: loop,
                configuration: PeerPlaneConfiguration(
                    bindAddress: SocketAddress(127, 0, 0, 1, port: 0)),
                secret: secret, identity: key, bootEpoch: BootEpoch(1))
            loops.append(loop)
            planes.append(plane)
            try await plane.start(
                PeerPlaneHandlers(
                    datagram: { _, _, _ in }, message: { _, _ in },
                    stream: { _, _, stream in sink.yield(stream) }))
        }
        self.planes = planes
        self.loops = loops
        host = keys[1].hostID
        self.incoming = incoming
    }

    private func stop() async {
        for plane in planes { await plane.stop() }
        for loop in loops { loop.stop() }
    }

    /// A new stream.
    func open() async throws -> Ends {
        let address = await planes[1].boundAddress
        let raw = try await planes[0].open(streamTo: host, at: address, header: [1])
        guard let other = await incoming.first(where: { _ in true }) else {
            throw Trouble("no stream came")
        }
        return Ends(raw: raw, channel: PeerChannel(other))
    }
}

/// Bytes as a message of a channel: their length before them.
private func framed(_ bytes: [UInt8]) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: bytes.count >> $0) } + bytes
}

/// Whole messages over a stream, whatever its other end does.
@Suite("channels between agents", .serialized)
struct PeerChannelTests {
    private static let line = PeerLogLine(
        container: "app", isError: false, time: "t", text: String(repeating: "ü", count: 40_000))

    @Test("messages come whole and in order, cut into any pieces")
    func pieces() async throws {
        try await StreamPair.run { pair in
            let messages = [
                PeerLogLine(container: "", isError: true, time: "", text: ""),
                PeerChannelTests.line,
                PeerLogLine(container: "a", isError: false, time: "t", text: "last"),
            ]
            let bytes = messages.flatMap { framed($0.encoded) }
            for size in [1, 3, 7, 65_536, bytes.count] {
                let ends = try await pair.open()
                let sending = Task {
                    // Byte by byte at the ends, where the lengths are.
                    var place = 0
                    while place < bytes.count {
                        let isNearEnd = place < 60 || place > bytes.count - 60
                        let count = min(isNearEnd ? size : max(size, 1_000), bytes.count - place)
                        try await ends.raw.send(Array(bytes[place..<place + count]))
                        place += count
                    }
                    await ends.raw.finish()
                }
                for message in messages {
                    #expect(try await ends.channel.receive(PeerLogLine.self) == message)
                }
                #expect(try await ends.channel.receive(PeerLogLine.self) == nil)
                try await sending.value
            }
        }
    }

    @Test("what a channel sends, a channel receives, and then raw bytes")
    func both() async throws {
        try await StreamPair.run { pair in
            let ends = try await pair.open()
            let ours = PeerChannel(ends.raw)
            try await ours.send(PeerReply.ready)
            try await ours.send(PeerChannelTests.line)
            try await ends.raw.send([1, 2, 3])
            await ends.raw.finish()
            try await ends.channel.expectReady()
            #expect(try await ends.channel.receive(PeerLogLine.self) == PeerChannelTests.line)
            var rest: [UInt8] = []
            while let bytes = try await ends.channel.receiveBytes() { rest += bytes }
            #expect(rest == [1, 2, 3])
            try await ends.channel.refuse("no such image")
            await #expect {
                try await ours.expectReady()
            } throws: {
                "\($0)" == "no such image"
            }
        }
    }

    @Test("a message that breaks off is told apart from the end, wherever it is cut")
    func brokenOff() async throws {
        try await StreamPair.run { pair in
            let whole = framed(PeerReply.refused("why").encoded)
            for count in 1..<whole.count {
                let ends = try await pair.open()
                try await ends.raw.send(Array(whole.prefix(count)))
                await ends.raw.finish()
                await #expect("cut at \(count)") {
                    try await ends.channel.receive(PeerReply.self)
                } throws: {
                    "\($0)" == "the answer broke off"
                }
            }
            let ends = try await pair.open()
            await ends.raw.finish()
            await #expect {
                try await ends.channel.expectReady()
            } throws: {
                "\($0)".contains("without an answer")
            }
        }
    }

    @Test("a length above the bound is refused at once, without waiting for the bytes")
    func tooLong() async throws {
        try await StreamPair.run { pair in
            for length in [PeerChannel.messageBytesMax + 1, Int(UInt32.max)] {
                let ends = try await pair.open()
                try await ends.raw.send(
                    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: length >> $0) })
                // Nothing follows, and our side stays open.
                await #expect {
                    try await ends.channel.receive(PeerReply.self)
                } throws: {
                    "\($0)".contains("message of \(length) bytes: too long")
                }
            }
            let ends = try await pair.open()
            let long = PeerCommand(
                arguments: [String](
                    repeating: String(repeating: "x", count: 1 << 17), count: 33))
            await #expect {
                try await PeerChannel(ends.raw).send(long)
            } throws: {
                "\($0)".contains("too long for another host")
            }
        }
    }

    @Test("random messages are refused or read, one after the other, and never crash an agent")
    func fuzz() async throws {
        try await StreamPair.run { pair in
            var random = RandomSource(seed: 23)
            for _ in 0..<40 {
                let ends = try await pair.open()
                var bytes: [UInt8] = []
                for _ in 0..<20 {
                    let body = (0..<Int.random(in: 0...30, using: &random)).map { _ in
                        UInt8.random(in: 0...255, using: &random)
                    }
                    // Now and then the length does not fit what follows.
                    let isRight = Int.random(in: 0..<4, using: &random) > 0
                    bytes += isRight ? framed(body) : Array(framed(body).dropFirst())
                }
                try await ends.raw.send(bytes)
                await ends.raw.finish()
                var count = 0
                // A broken message ends a conversation; what comes after it is read as it comes.
                for _ in 0..<60 {
                    do {
                        let frame = try await ends.channel.receive(PeerExecFrame.self)
                        guard frame != nil else { break }
                    } catch {
                        #expect(error is WireError || error is AgentError, "\(error)")
                    }
                    count += 1
                }
                #expect(count > 0)
            }
        }
    }

    @Test("a side that says nothing is given up when patience is over")
    func patience() async throws {
        try await StreamPair.run { pair in
            let ends = try await pair.open()
            await #expect(throws: (any Error).self) {
                try await ends.channel.receive(PeerReply.self, patience: .milliseconds(20))
            }
            // Also in the middle of a message.
            let other = try await pair.open()
            try await other.raw.send([0, 0, 0, 5, 1])
            await #expect(throws: (any Error).self) {
                try await other.channel.receive(PeerReply.self, patience: .milliseconds(200))
            }
        }
    }
}
