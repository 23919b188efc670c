import Base
import Testing
import Wire

/// The wire form: what is written is read, and what is not of that form is refused.
@Suite("wire form")
struct WireTests {
    @Test(
        "a number takes as few bytes as it can, and comes back",
        arguments: [
            (UInt64(0), 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (UInt64.max, 10),
        ])
    func numbers(value: UInt64, size: Int) throws {
        #expect(value.encoded.count == size)
        #expect(try UInt64(decoding: value.encoded) == value)
    }

    @Test("signed numbers, texts and options come back", arguments: [Int64.min, -1, 0, 1, .max])
    func values(number: Int64) throws {
        var writer = ByteWriter()
        writer.write(number)
        writer.write("räksmörgås")
        writer.write(optional: Optional<String>.none)
        writer.write(list: ["a", ""])
        var reader = ByteReader(writer.bytes)
        #expect(try reader.readInt64() == number)
        #expect(try reader.readString() == "räksmörgås")
        #expect(try reader.readOptional(String.self) == nil)
        #expect(try reader.readList(of: String.self, maximum: 2) == ["a", ""])
        try reader.finish()
    }

    @Test(
        "bytes that are no value are refused",
        arguments: [
            [], [0x80], Array(repeating: 0xFF, count: 10),
            [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02],
        ] as [[UInt8]])
    func badNumbers(bytes: [UInt8]) {
        #expect(throws: WireError.self) { try UInt64(decoding: bytes) }
    }

    @Test("a count above its bound or above what is left allocates nothing")
    func counts() {
        var writer = ByteWriter()
        writer.write(UInt64(1) << 40)
        #expect(throws: WireError.tooLarge(what: "bytes", value: 1 << 40, maximum: 100)) {
            var reader = ByteReader(writer.bytes)
            _ = try reader.readCounted(maximum: 100)
        }
        var short = ByteWriter()
        short.write(UInt64(50))
        #expect(throws: WireError.truncated(needed: 50, have: 0)) {
            var reader = ByteReader(short.bytes)
            _ = try reader.readList(of: String.self, maximum: 100)
        }
    }

    @Test("random bytes never crash a reader of addresses, identities and requests")
    func random() {
        var random = RandomSource(seed: 1)
        for _ in 0..<5_000 {
            let count = Int.random(in: 0...60, using: &random)
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            _ = try? SocketAddress(decoding: bytes)
            _ = try? RequestID(decoding: bytes)
            _ = try? ClusterID(decoding: bytes)
        }
    }
}

/// Identities, instants, chance.
@Suite("base types")
struct BaseTypeTests {
    @Test("a host's identity is its 32 bytes, in order")
    func hostID() throws {
        let bytes = (0..<32).map { UInt8($0 * 7) }
        let id = try #require(HostID(bytes: bytes))
        #expect(id.bytes == bytes)
        #expect(try HostID(decoding: id.encoded) == id)
        #expect(id.description == hexadecimal(bytes))
        #expect(Base.bytes(hexadecimal: id.description) == bytes)
        #expect(HostID(bytes: bytes.dropLast()) == nil)
    }

    @Test("one seed gives one history, and a fork by label another")
    func randomness() {
        var one = RandomSource(seed: 7)
        var two = RandomSource(seed: 7)
        #expect((0..<10).map { _ in one.next() } == (0..<10).map { _ in two.next() })
        var left = RandomSource(seed: 7).fork("a")
        var right = RandomSource(seed: 7).fork("b")
        #expect(left.next() != right.next())
    }

    @Test("a fingerprint is FNV-1a: the same in every process, whole or in pieces")
    func fingerprint() {
        var whole = FingerprintHasher()
        whole.combine(bytes: Array("foobar".utf8))
        #expect(whole.value == 0x8594_4171_F739_67E8)
        var pieces = FingerprintHasher()
        for byte in "foobar".utf8 { pieces.combine(byte) }
        #expect(pieces.value == whole.value)
    }

    @Test("an instant moves by durations, and shows seconds")
    func instants() {
        let instant = Instant.zero + .milliseconds(1_050)
        #expect(instant - .zero == .milliseconds(1_050))
        #expect(instant.description == "t=1.050s")
        #expect(SocketAddress(10, 0, 0, 1, port: 7_400).description == "10.0.0.1:7400")
    }
}
