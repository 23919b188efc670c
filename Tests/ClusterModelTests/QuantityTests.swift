import Base
import Testing

@testable import ClusterModel

/// Amounts that people write.
@Suite struct QuantityTests {
    static let readable: [(kind: QuantityUnits, text: String, value: Int)] = [
        (.cpu, "250m", 250), (.cpu, "2", 2_000), (.cpu, "0.5", 500), (.cpu, "0", 0),
        (.cpu, " 1.25 ", 1_250), (.cpu, "0.001", 1), (.cpu, "1.000", 1_000),
        (.bytes, "64Mi", 64 << 20), (.bytes, "1Gi", 1 << 30), (.bytes, "500M", 500_000_000),
        (.bytes, "4096", 4_096), (.bytes, "1.5Gi", 3 << 29), (.bytes, "20 MiB", 20 << 20),
        (.bytes, "1kB", 1_000), (.bytes, "1Pi", 1 << 50), (.bytes, "0", 0),
        (.bitRate, "50Mbit", 50_000_000), (.bitRate, "1Gbit", 1_000_000_000),
        (.bitRate, "100kbit", 100_000), (.bitRate, "8000", 8_000),
        (.byteRate, "20MBps", 20_000_000), (.byteRate, "4MiBps", 4 << 20),
    ]

    @Test("amounts are read in their base units", arguments: readable)
    func reads(kind: QuantityUnits, text: String, value: Int) throws {
        #expect(try kind.parse(text) == value)
        #expect(try kind.parse(kind.exactText(value)) == value)
    }

    static let refused: [(kind: QuantityUnits, text: String, cause: QuantityError.Cause)] = [
        (.cpu, "", .empty), (.cpu, "   ", .empty), (.cpu, "-5m", .negative),
        (.cpu, "abc", .notANumber), (.cpu, ".5", .notANumber), (.cpu, "1.", .notANumber),
        (.cpu, "1.5m", .notWhole("millicores")), (.cpu, "0.0001", .notWhole("millicores")),
        (.cpu, "2Mi", .unknownUnit("Mi")), (.bytes, "64mb", .unknownUnit("mb")),
        (.bytes, "1e3", .unknownUnit("e3")), (.bytes, "0x10", .unknownUnit("x10")),
        (.bytes, "0.1", .notWhole("bytes")), (.bytes, "2Pi", .tooLarge),
        (.bytes, "99999999999999999999", .tooLarge), (.bytes, "9223372036854775807Ki", .tooLarge),
        (.bytes, "0.00000000000000000000001", .tooLarge), (.bitRate, "50MB", .unknownUnit("MB")),
        (.bytes, "٣", .notANumber),
    ]

    @Test("what is no amount is refused with its cause", arguments: refused)
    func refuses(kind: QuantityUnits, text: String, cause: QuantityError.Cause) {
        let error = #expect(throws: QuantityError.self) { try kind.parse(text) }
        #expect(error?.cause == cause)
        #expect(error?.description.contains(kind.examples) == true)
    }

    @Test("every printed amount is read back exactly")
    func printedAmountsAreRead() throws {
        var random = RandomSource(seed: 7)
        for _ in 0..<500 {
            let bits = Int.random(in: 0...49, using: &random)
            let value = Int.random(in: 0...(1 << bits), using: &random)
            #expect(try Quantity.bytes(Quantity.text(bytes: value)) == value)
            #expect(try Quantity.millicores(Quantity.text(millicores: value)) == value)
            #expect(try Quantity.bitsPerSecond(Quantity.text(bitsPerSecond: value)) == value)
            #expect(try Quantity.bytesPerSecond(Quantity.text(bytesPerSecond: value)) == value)
        }
    }

    @Test("amounts in sentences are short")
    func displays() {
        let shown = [0, 12, 1_023, 64 << 20, 3 << 29, (1 << 30) + 1, Int.max, -5].map {
            Quantity.display(bytes: $0)
        }
        #expect(
            shown == [
                "0 B", "12 B", "1023 B", "64 MiB", "1.5 GiB", "1 GiB", "8191.9 PiB", "-5 B",
            ])
    }
}
