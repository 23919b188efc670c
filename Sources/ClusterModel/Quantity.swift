/// Reads and prints the amounts people write: `250m`, `64Mi`, `50Mbit`, `20MBps`.
///
/// Whole numbers throughout: `0.5` is five tenths, and a text that is no whole number of base
/// units is refused rather than rounded.
package enum Quantity {
    /// Processor time in millicores: `250m`, `2`, `0.5`.
    package static func millicores(_ text: String) throws(QuantityError) -> Int {
        try QuantityUnits.cpu.parse(text)
    }

    /// Bytes: `64Mi`, `1Gi`, `500M`, `4096`; `MiB` and `MB` mean the same as `Mi` and `M`.
    package static func bytes(_ text: String) throws(QuantityError) -> Int {
        try QuantityUnits.bytes.parse(text)
    }

    /// Bits per second: `50Mbit`, `1Gbit`, `100kbit`, or a plain number.
    package static func bitsPerSecond(_ text: String) throws(QuantityError) -> Int {
        try QuantityUnits.bitRate.parse(text)
    }

    /// Bytes per second: `20MBps`, `4MiBps`, or a plain number.
    package static func bytesPerSecond(_ text: String) throws(QuantityError) -> Int {
        try QuantityUnits.byteRate.parse(text)
    }

    /// Whole seconds: `90s`, `30m`, `6h`, `7d`, `1w`; a plain number is refused, for nobody can tell
    /// of what.
    package static func seconds(_ text: String) throws(QuantityError) -> Int {
        try QuantityUnits.time.parse(text)
    }

    /// Seconds as a text that `seconds(_:)` reads back: `6h`, `90s`.
    package static func text(seconds: Int) -> String { QuantityUnits.time.exactText(seconds) }

    /// Millicores as a text that `millicores(_:)` reads back: `250m`, `2`.
    package static func text(millicores: Int) -> String {
        QuantityUnits.cpu.exactText(millicores)
    }

    /// Bytes as a text that `bytes(_:)` reads back: `64Mi`, `500M`, `4097`.
    package static func text(bytes: Int) -> String { QuantityUnits.bytes.exactText(bytes) }

    /// Bits per second as a text that `bitsPerSecond(_:)` reads back: `50Mbit`.
    package static func text(bitsPerSecond: Int) -> String {
        QuantityUnits.bitRate.exactText(bitsPerSecond)
    }

    /// Bytes per second as a text that `bytesPerSecond(_:)` reads back: `20MBps`.
    package static func text(bytesPerSecond: Int) -> String {
        QuantityUnits.byteRate.exactText(bytesPerSecond)
    }

    /// Bytes for sentences, rounded down to a tenth: `64 MiB`, `1.5 GiB`, `12 B`.
    package static func display(bytes: Int) -> String {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB"]
        var shift = 0
        while shift < units.count, bytes >> (10 * (shift + 1)) != 0 { shift += 1 }
        guard bytes >= 0, shift > 0 else { return "\(bytes) B" }
        let whole = bytes >> (10 * shift)
        let tenth = (bytes >> (10 * (shift - 1)) & 1_023) * 10 / 1_024
        return tenth == 0 ? "\(whole) \(units[shift - 1])" : "\(whole).\(tenth) \(units[shift - 1])"
    }
}

/// Why a text is no amount.
package struct QuantityError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The text, cut to a length that fits a line.
    package let text: String
    /// What was expected, such as `an amount of memory`.
    package let expected: String
    /// Texts that would be right.
    package let examples: String
    /// What is wrong.
    package let cause: Cause

    package var description: String {
        let tail = "write \(expected) like \(examples)"
        switch cause {
        case .empty: return "the amount is empty: \(tail)"
        case .negative: return "'\(text)' is negative: \(tail)"
        case .notANumber: return "'\(text)' does not begin with a number: \(tail)"
        case .unknownUnit(let unit): return "'\(text)' has the unknown unit '\(unit)': \(tail)"
        case .tooLarge: return "'\(text)' is too large: \(tail)"
        case .notWhole(let base): return "'\(text)' is not a whole number of \(base): \(tail)"
        }
    }

    /// What is wrong with a text.
    package enum Cause: Equatable, Sendable {
        /// No text at all.
        case empty
        /// A minus sign.
        case negative
        /// No digits where the number should be.
        case notANumber
        /// Letters after the number that are no unit of this kind.
        case unknownUnit(String)
        /// More than 2^50 base units.
        case tooLarge
        /// A fraction finer than the base unit.
        case notWhole(String)
    }
}

/// One kind of amount: its units, and how it reads in a sentence.
struct QuantityUnits {
    /// What the amount is, for sentences.
    let expected: String
    /// Texts that are right.
    let examples: String
    /// The base unit, in the plural.
    let base: String
    /// The units by name, with how many base units each is; printing takes the first that divides.
    let units: [(name: String, factor: Int)]

    /// The most base units of anything: 2^50, so that sums cannot overflow.
    static let maximum = 1 << 50

    static let cpu = QuantityUnits(
        expected: "an amount of CPU", examples: "250m, 0.5 or 2", base: "millicores",
        units: [("", 1_000), ("m", 1)])

    static let time = QuantityUnits(
        expected: "a time", examples: "90s, 30m, 6h or 7d", base: "seconds",
        units: [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1), ("w", 604_800)])

    static let bytes = QuantityUnits(
        expected: "an amount of bytes", examples: "64Mi, 1Gi or 500M", base: "bytes",
        units: [
            ("Pi", 1 << 50), ("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10),
            ("P", 1_000_000_000_000_000), ("T", 1_000_000_000_000), ("G", 1_000_000_000),
            ("M", 1_000_000), ("k", 1_000), ("", 1), ("K", 1_000), ("B", 1),
            ("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20),
            ("KiB", 1 << 10), ("TB", 1_000_000_000_000), ("GB", 1_000_000_000),
            ("MB", 1_000_000), ("kB", 1_000), ("KB", 1_000),
        ])

    static let bitRate = QuantityUnits(
        expected: "a rate", examples: "50Mbit, 1Gbit or 100kbit", base: "bits per second",
        units: [
            ("Tbit", 1_000_000_000_000), ("Gbit", 1_000_000_000), ("Mbit", 1_000_000),
            ("kbit", 1_000), ("bit", 1), ("Kbit", 1_000), ("", 1),
        ])

    static let byteRate = QuantityUnits(
        expected: "a rate", examples: "20MBps or 4MiBps", base: "bytes per second",
        units: [
            ("GiBps", 1 << 30), ("MiBps", 1 << 20), ("KiBps", 1 << 10), ("TBps", 1_000_000_000_000),
            ("GBps", 1_000_000_000), ("MBps", 1_000_000), ("kBps", 1_000), ("Bps", 1),
            ("KBps", 1_000), ("", 1),
        ])

    /// Reads an amount in base units.
    func parse(_ text: String) throws(QuantityError) -> Int {
        var rest = Array(text.utf8)[...]
        while rest.first == UInt8(ascii: " ") { rest.removeFirst() }
        while rest.last == UInt8(ascii: " ") { rest.removeLast() }
        guard let first = rest.first else { throw error(text, .empty) }
        guard first != UInt8(ascii: "-") else { throw error(text, .negative) }
        guard let number = Decimal(taking: &rest) else { throw error(text, .notANumber) }
        while rest.first == UInt8(ascii: " ") { rest.removeFirst() }
        let name = String(decoding: rest, as: UTF8.self)
        guard let unit = units.first(where: { $0.name == name }) else {
            throw error(text, .unknownUnit(String(name.prefix(16))))
        }
        guard !number.overflow else { throw error(text, .tooLarge) }
        let (product, overflow) = number.digits.multipliedReportingOverflow(by: unit.factor)
        guard !overflow, product / number.scale <= QuantityUnits.maximum else {
            throw error(text, .tooLarge)
        }
        guard product % number.scale == 0 else { throw error(text, .notWhole(base)) }
        return product / number.scale
    }

    /// Prints an amount so that `parse` reads the same again.
    func exactText(_ amount: Int) -> String {
        if let unit = units.first(where: { amount > 0 && amount % $0.factor == 0 }) {
            return "\(amount / unit.factor)\(unit.name)"
        }
        return "\(amount)"
    }

    private func error(_ text: String, _ cause: QuantityError.Cause) -> QuantityError {
        QuantityError(
            text: String(text.prefix(40)), expected: expected, examples: examples, cause: cause)
    }
}

/// A decimal number as digits over a power of ten.
private struct Decimal {
    var digits = 0
    var scale = 1
    var overflow = false

    /// Takes digits, and perhaps a point and more digits, from the front; nil without digits.
    init?(taking rest: inout ArraySlice<UInt8>) {
        guard take(&rest, afterPoint: false) > 0 else { return nil }
        guard rest.first == UInt8(ascii: ".") else { return }
        rest.removeFirst()
        guard take(&rest, afterPoint: true) > 0 else { return nil }
    }

    private mutating func take(_ rest: inout ArraySlice<UInt8>, afterPoint: Bool) -> Int {
        var count = 0
        while let digit = rest.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) {
            rest.removeFirst()
            count += 1
            append(Int(digit - UInt8(ascii: "0")), afterPoint: afterPoint)
        }
        return count
    }

    private mutating func append(_ digit: Int, afterPoint: Bool) {
        let (shifted, high) = digits.multipliedReportingOverflow(by: 10)
        let (sum, low) = shifted.addingReportingOverflow(digit)
        let (scaled, point) = scale.multipliedReportingOverflow(by: afterPoint ? 10 : 1)
        guard !high, !low, !point else {
            overflow = true
            return
        }
        digits = sum
        scale = scaled
    }
}
