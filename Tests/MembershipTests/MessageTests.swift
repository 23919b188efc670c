import Base
import ClusterModel
import Membership
import Testing
import Wire

/// The wire form of membership.
@Suite struct MessageTests {
    private static let sender = MembershipMessage.Sender(
        incarnation: 3, isPresent: true, address: SocketAddress(10, 0, 0, 1, port: 7_400),
        health: 2)
    private static let id = HostID(testing: 1)

    /// One of every kind, with every field in use.
    private static let samples: [MembershipMessage] = {
        let address = SocketAddress(address: [UInt8](1...16), port: 1)
        let updates = [
            MemberUpdate(
                id: id, bootEpoch: BootEpoch(5), incarnation: 1, status: .alive,
                address: sender.address,
                facts: HostFacts(
                    version: 4, name: "söder", capacity: Resources(millicores: 8_000),
                    allocated: Resources(sets: 2), zone: Zone(datacenter: "a", rack: "b"),
                    pool: "p")),
            MemberUpdate(
                id: HostID(testing: 2), bootEpoch: BootEpoch(.max), incarnation: .max,
                status: .suspect, address: address ?? sender.address,
                accusers: [id, HostID(testing: 3)]),
            MemberUpdate(
                id: id, bootEpoch: BootEpoch(0), incarnation: 128, status: .dead,
                address: sender.address, ageSeconds: 300),
            MemberUpdate(
                id: id, bootEpoch: BootEpoch(0), incarnation: 127, status: .left,
                address: sender.address, ageSeconds: .max),
        ]
        let bodies: [MembershipMessage.Body] = [
            .ping(sequence: 300, target: id), .ack(sequence: .max), .nack(sequence: 0),
            .pingRequest(sequence: 1, target: id), .gossip,
            .syncRequest(
                number: 9, digests: (0..<64).map { $0 &* 0x0123_4567_89AB_CDEF }, after: id,
                wantsReturn: true),
            .syncRequest(
                number: 9, digests: [UInt64](repeating: .max, count: 64), after: nil,
                wantsReturn: false),
            .syncPage(number: 1, next: id), .syncPage(number: 1, next: nil),
        ]
        return bodies.map { MembershipMessage(sender: sender, body: $0, updates: updates) }
    }()

    @Test("every kind of message is read as it was written", arguments: samples)
    func roundTrip(message: MembershipMessage) throws {
        #expect(try MembershipMessage(decoding: message.encoded) == message)
        #expect(message.encoded.first == MembershipMessage.version)
    }

    @Test("the bytes of a message are fixed")
    func goldenBytes() {
        let message = MembershipMessage(
            sender: MessageTests.sender, body: .ping(sequence: 300, target: MessageTests.id),
            updates: [
                MemberUpdate(
                    id: MessageTests.id, bootEpoch: BootEpoch(5), incarnation: 1, status: .dead,
                    address: MessageTests.sender.address, ageSeconds: 200,
                    facts: HostFacts(
                        version: 4, name: "n", capacity: Resources(millicores: 1, memoryBytes: 2),
                        allocated: Resources(sets: 3), zone: Zone(datacenter: "d", rack: "r"),
                        pool: "p", agentVersion: "v"))
            ])
        let key = hexadecimal(MessageTests.id.bytes)
        let golden =
            "0101" + "03" + "01" + "040a000001e839" + "02" + "ac02" + key + "01"
            + "06" + key + "05" + "01" + "040a000001e839" + "c801"
            + "04" + "016e" + "010200" + "000003" + "0164" + "0172" + "0170" + "0176"
        #expect(hexadecimal(message.encoded) == golden)
    }

    @Test("facts out of bounds are written as the bound")
    func factsAreBounded() throws {
        let long = String(repeating: "ü", count: 300)
        let facts = HostFacts(
            name: "x" + long, capacity: Resources(millicores: -1, memoryBytes: .max),
            zone: Zone(datacenter: long, rack: long), pool: long, agentVersion: long)
        let read = try HostFacts(decoding: facts.encoded)
        #expect(read.name.utf8.count == 255)
        #expect(read.pool.utf8.count == 256)
        #expect(read.capacity == Resources(millicores: 0, memoryBytes: 1 << 48))
        var writer = ByteWriter()
        writer.write(UInt64(1) << 49)
        #expect(throws: WireError.self) { try Resources(decoding: writer.bytes + [0, 0]) }
    }

    @Test(
        "amounts have the first form without bandwidth, a second one with it, and gossip the first")
    func formsOfAmounts() throws {
        var amounts = Resources(millicores: 1_000, memoryBytes: 1 << 48, sets: 3)
        var writer = ByteWriter()
        for amount in [1_000, UInt64(1) << 48, 3] { writer.write(amount) }
        #expect(amounts.encoded == writer.bytes)
        #expect(try Resources(decoding: writer.bytes) == amounts)
        let gossip = HostFacts(name: "h", capacity: amounts).encoded
        amounts.ingressBitsPerSecond = 1 << 40
        #expect(try Resources(decoding: amounts.encoded) == amounts)
        #expect(amounts.encoded.count > writer.bytes.count)
        #expect(HostFacts(name: "h", capacity: amounts).encoded == gossip)
        for length in amounts.encoded.indices {
            #expect(throws: WireError.self) {
                try Resources(decoding: Array(amounts.encoded[..<length]))
            }
        }
        amounts.egressBitsPerSecond = .max
        #expect(try Resources(decoding: amounts.encoded).egressBitsPerSecond == 1 << 48)
    }

    @Test("damaged and random bytes are refused or read, and never crash a host")
    func fuzz() {
        var random = RandomSource(seed: 11)
        var core = MembershipCore(
            id: MessageTests.id, bootEpoch: BootEpoch(5), address: MessageTests.sender.address,
            facts: VirtualNetwork.facts(0), config: MembershipConfig(),
            random: random.fork("core"), now: .zero)
        var outputs: [MembershipOutput] = []
        var readCount = 0
        var now = Instant.zero
        for round in 0..<6_000 {
            var bytes = MessageTests.samples[round % MessageTests.samples.count].encoded
            switch round % 4 {
            case 0: bytes = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &random)))
            case 1: bytes = (0..<64).map { _ in UInt8.random(in: 0...255, using: &random) }
            default:
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let place = Int.random(in: bytes.indices, using: &random)
                    bytes[place] = UInt8.random(in: 0...255, using: &random)
                }
            }
            guard let message = try? MembershipMessage(decoding: bytes) else { continue }
            readCount += 1
            now = now + .milliseconds(20)
            outputs.removeAll()
            core.handle(
                .received(
                    message, from: HostID(testing: UInt64(2 + round % 5)),
                    bootEpoch: BootEpoch(UInt64(round % 3)), address: MessageTests.sender.address),
                at: now, into: &outputs)
            for case .send(let answer, _, _) in outputs {
                #expect(answer.encoded.count <= MembershipConfig().datagramBytesMax)
            }
            if let deadline = core.nextDeadline { #expect(deadline > now) }
        }
        #expect(readCount > 1_000)
    }

    @Test("every truncated message is refused", arguments: samples)
    func truncation(message: MembershipMessage) {
        let bytes = message.encoded
        for count in bytes.indices {
            #expect(throws: WireError.self) {
                try MembershipMessage(decoding: Array(bytes.prefix(count)))
            }
        }
        #expect(throws: WireError.trailing(count: 1)) {
            try MembershipMessage(decoding: bytes + [0])
        }
    }
}
