/// What conmon says on its pipe about the container it was asked to make.
///
/// One line of JSON: `{"data": PID}`, or `{"data": -1, "message": "..."}` with the OCI runtime's own
/// words. The words may quote the image, so nothing in them is trusted.
package struct MonitorReport: Sendable, Equatable {
    /// The most bytes of a report that are read.
    package static let bytesMax = 64 << 10

    /// The container's first process; negative when it was not made.
    package var data: Int
    /// The runtime's words, when it failed.
    package var message: String

    /// Reads a report; nil when it is none.
    package init?(_ bytes: [UInt8]) {
        var scanner = Scanner(bytes: bytes)
        var data: Int?
        message = ""
        guard scanner.take(UInt8(ascii: "{")) else { return nil }
        repeat {
            guard let name = scanner.string(), scanner.take(UInt8(ascii: ":")) else { return nil }
            if let text = scanner.string() {
                if name == "message" { message = text }
            } else if let number = scanner.number() {
                if name == "data" { data = number }
            } else {
                return nil
            }
        } while scanner.take(UInt8(ascii: ","))
        guard scanner.take(UInt8(ascii: "}")), let data else { return nil }
        self.data = data
    }

    /// Reads the few forms of JSON that such a line has.
    private struct Scanner {
        let bytes: [UInt8]
        var position = 0

        mutating func skipBlanks() {
            while position < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[position]) {
                position += 1
            }
        }

        /// Steps over a byte when it comes next.
        mutating func take(_ byte: UInt8) -> Bool {
            skipBlanks()
            guard position < bytes.count, bytes[position] == byte else { return false }
            position += 1
            return true
        }

        mutating func number() -> Int? {
            skipBlanks()
            let rest = bytes[position...]
            let digits = rest.prefix { $0 == UInt8(ascii: "-") || (0x30...0x39).contains($0) }
            guard let value = Int(String(decoding: digits, as: UTF8.self)) else { return nil }
            position += digits.count
            return value
        }

        mutating func string() -> String? {
            let start = position
            guard take(UInt8(ascii: "\"")) else { return nil }
            var text: [UInt8] = []
            while position < bytes.count {
                let byte = bytes[position]
                position += 1
                if byte == UInt8(ascii: "\"") { return String(decoding: text, as: UTF8.self) }
                guard byte == UInt8(ascii: "\\") else {
                    text.append(byte)
                    continue
                }
                guard let escaped = escape() else { break }
                text += escaped
            }
            position = start
            return nil
        }

        /// What follows a backslash.
        private mutating func escape() -> [UInt8]? {
            guard position < bytes.count else { return nil }
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "n"): return [0x0A]
            case UInt8(ascii: "t"): return [0x09]
            case UInt8(ascii: "r"): return [0x0D]
            case UInt8(ascii: "b"): return [0x08]
            case UInt8(ascii: "f"): return [0x0C]
            case UInt8(ascii: "u"):
                guard position + 4 <= bytes.count else { return nil }
                let digits = String(decoding: bytes[position..<position + 4], as: UTF8.self)
                position += 4
                guard let code = UInt32(digits, radix: 16) else { return nil }
                // Halves of a pair are shown as one unknown character each.
                return Array(String(UnicodeScalar(code).map(Character.init) ?? "\u{FFFD}").utf8)
            default: return [byte]
            }
        }
    }
}
