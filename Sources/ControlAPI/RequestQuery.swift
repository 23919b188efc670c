/// The query of a request, with every item checked to be known.
struct RequestQuery {
    private let items: [(name: String, value: String)]

    /// Reads `a=b&c=d`; refuses names outside `known` and broken percent escapes.
    init(_ text: String?, known: [String]) throws(ControlError) {
        var items: [(name: String, value: String)] = []
        for item in (text ?? "").split(separator: "&") {
            let halves = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = percentDecoded(halves[0]),
                let value = percentDecoded(halves.count == 2 ? halves[1] : "")
            else {
                throw ControlError(.invalid, "the query has a broken percent escape: \(item)")
            }
            guard known.contains(name) else {
                let names = known.isEmpty ? "none" : known.joined(separator: ", ")
                throw ControlError(.invalid, "unknown query item '\(name)'; known: \(names)")
            }
            items.append((name, value))
        }
        self.items = items
    }

    /// The first value of a name.
    subscript(_ name: String) -> String? { items.first { $0.name == name }?.value }

    /// All values of a name, in their order.
    func all(_ name: String) -> [String] { items.filter { $0.name == name }.map(\.value) }

    /// True for `name`, `name=1` and `name=true`; false when absent, `0` or `false`.
    func flag(_ name: String) throws(ControlError) -> Bool {
        switch self[name] {
        case nil, "0", "false": return false
        case "", "1", "true": return true
        case .some(let value):
            throw ControlError(.invalid, "query item '\(name)' must be 0 or 1, not '\(value)'")
        }
    }

    /// A whole number in a range; nil when absent.
    func number<Number: FixedWidthInteger>(
        _ name: String, in range: ClosedRange<Number>
    ) throws(ControlError) -> Number? {
        guard let text = self[name] else { return nil }
        guard let number = Number(text), range.contains(number) else {
            throw ControlError(
                .invalid,
                "query item '\(name)' must be a whole number from \(range.lowerBound) to "
                    + "\(range.upperBound), not '\(text)'")
        }
        return number
    }
}

/// The text with `%XX` replaced; nil when an escape is broken or the result is not UTF-8.
func percentDecoded(_ text: some StringProtocol) -> String? {
    func digit(_ byte: UInt8) -> UInt8? {
        Character(UnicodeScalar(byte)).hexDigitValue.map(UInt8.init)
    }
    var bytes: [UInt8] = []
    var rest = text.utf8.makeIterator()
    while let byte = rest.next() {
        guard byte == UInt8(ascii: "%") else {
            bytes.append(byte)
            continue
        }
        guard let high = rest.next().flatMap(digit), let low = rest.next().flatMap(digit) else {
            return nil
        }
        bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
}

/// The text with everything but letters, digits and `-._~` escaped.
func percentEncoded(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF")
    return text.utf8.reduce(into: "") { result, byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
            UInt8(ascii: "_"), UInt8(ascii: "~"):
            result.append(Character(UnicodeScalar(byte)))
        default:
            result.append("%")
            result.append(digits[Int(byte >> 4)])
            result.append(digits[Int(byte & 15)])
        }
    }
}
