/// A JSON value that renders to the same text every time: members keep their given order.
///
/// Only for writing. A pure room has no Foundation, and an OCI bundle must be comparable as text.
package indirect enum JSONText: Hashable, Sendable {
    /// A string.
    case text(String)
    /// A whole number.
    case number(Int)
    /// True or false.
    case bool(Bool)
    /// A list.
    case array([JSONText])
    /// An object; the caller chooses the order and keeps names unique.
    case object([Member])

    /// One member of an object.
    package struct Member: Hashable, Sendable {
        /// Its name.
        package var name: String
        /// Its value.
        package var value: JSONText

        package init(_ name: String, _ value: JSONText) {
            self.name = name
            self.value = value
        }
    }

    /// A list of strings.
    package static func texts(_ values: [String]) -> JSONText { .array(values.map { .text($0) }) }

    /// The value as text: indented by two blanks, lists of plain values on one line (RFC 8259).
    package var rendered: String {
        var output = ""
        write(to: &output, indent: 0)
        output += "\n"
        return output
    }

    private var isPlain: Bool {
        switch self {
        case .text, .number, .bool: true
        case .array, .object: false
        }
    }

    private func write(to output: inout String, indent: Int) {
        switch self {
        case .text(let value): JSONText.write(value, to: &output)
        case .number(let value): output += String(value)
        case .bool(let value): output += value ? "true" : "false"
        case .array(let values):
            if values.allSatisfy(\.isPlain) {
                output += "["
                for (index, value) in values.enumerated() {
                    if index > 0 { output += ", " }
                    value.write(to: &output, indent: indent)
                }
                output += "]"
                return
            }
            JSONText.write(values, open: "[", close: "]", to: &output, indent: indent) {
                $0.write(to: &$1, indent: indent + 1)
            }
        case .object(let members):
            JSONText.write(members, open: "{", close: "}", to: &output, indent: indent) {
                JSONText.write($0.name, to: &$1)
                $1 += ": "
                $0.value.write(to: &$1, indent: indent + 1)
            }
        }
    }

    private static func write<Element>(
        _ elements: [Element], open: String, close: String, to output: inout String, indent: Int,
        each: (Element, inout String) -> Void
    ) {
        output += open
        for (index, element) in elements.enumerated() {
            output += index > 0 ? ",\n" : "\n"
            output += String(repeating: "  ", count: indent + 1)
            each(element, &output)
        }
        if !elements.isEmpty { output += "\n" + String(repeating: "  ", count: indent) }
        output += close
    }

    /// Writes a string with the escapes that RFC 8259 section 7 demands.
    private static func write(_ text: String, to output: inout String) {
        output += "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": output += "\\\""
            case "\\": output += "\\\\"
            case "\n": output += "\\n"
            case "\r": output += "\\r"
            case "\t": output += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                output += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: output.unicodeScalars.append(scalar)
            }
        }
        output += "\""
    }
}
