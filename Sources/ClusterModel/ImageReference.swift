/// The rules for texts that name an image: `[registry[:port]/]path[:tag][@sha256:digest]`.
///
/// A part of the grammar of the OCI distribution specification: lower-case path components joined
/// by single `.`, `_`, `__` or hyphens; a tag of up to 128 characters; SHA-256 digests only.
package enum ImageReference {
    /// The most bytes of a reference.
    package static let bytesMax = 255

    /// What is wrong with a reference, as the end of a sentence; nil when it is well-formed.
    package static func problem(in reference: String) -> String? {
        guard !reference.isEmpty else { return "must not be empty" }
        guard reference.utf8.count <= bytesMax else { return "must have at most 255 bytes" }
        var (name, digest) = split(reference, at: "@", from: reference.startIndex)
        if let digest, let problem = problem(inDigest: digest) { return problem }
        let tag: String?
        (name, tag) = split(name, at: ":", from: name.utf8.lastIndex(of: slash))
        if let tag, !isTag(tag) { return "has the malformed tag '\(tag)'" }
        var components = name.split(separator: "/", omittingEmptySubsequences: false)
        if components.count > 1, let first = components.first,
            first == "localhost" || first.contains(".") || first.contains(":")
        {
            guard isRegistry(first) else { return "has the malformed registry '\(first)'" }
            components.removeFirst()
        }
        for component in components where !isComponent(component) {
            return "must be a lower-case name such as demo/web:1, not '\(component)' in it"
        }
        return nil
    }

    /// What is wrong with a digest, as the end of a sentence; nil when it is well-formed.
    package static func problem(inDigest digest: String) -> String? {
        let digits = digest.utf8.dropFirst(7)
        let isHexadecimal = digits.allSatisfy {
            isDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
        }
        guard digest.hasPrefix("sha256:"), digits.count == 64, isHexadecimal else {
            return "must have a digest of sha256: and 64 hexadecimal digits"
        }
        return nil
    }

    /// True when the reference names a tag or a digest, and not only a path.
    package static func hasTagOrDigest(_ reference: String) -> Bool {
        if reference.utf8.contains(UInt8(ascii: "@")) { return true }
        return split(reference, at: ":", from: reference.utf8.lastIndex(of: slash)).1 != nil
    }

    private static let slash = UInt8(ascii: "/")

    /// Splits at the last `separator` behind a position; without one, all is the first part.
    private static func split(
        _ text: String, at separator: Character, from start: String.Index?
    ) -> (String, String?) {
        let tail = text[(start ?? text.startIndex)...]
        guard let position = tail.lastIndex(of: separator) else { return (text, nil) }
        return (String(text[..<position]), String(text[text.index(after: position)...]))
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    private static func isLower(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
    }

    private static func isUpper(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
    }

    private static func isTag(_ tag: String) -> Bool {
        let bytes = Array(tag.utf8)
        guard let first = bytes.first, bytes.count <= 128 else { return false }
        func isWord(_ byte: UInt8) -> Bool {
            isDigit(byte) || isLower(byte) || isUpper(byte) || byte == UInt8(ascii: "_")
        }
        return isWord(first)
            && bytes.allSatisfy {
                isWord($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
            }
    }

    private static func isRegistry(_ text: Substring) -> Bool {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, let host = parts.first, !host.isEmpty else { return false }
        let isHost = host.split(separator: ".", omittingEmptySubsequences: false).allSatisfy {
            isHostLabel($0)
        }
        guard parts.count == 2 else { return isHost }
        guard let port = Int(parts[1]), parts[1].utf8.allSatisfy(isDigit) else { return false }
        return isHost && (1...65_535).contains(port)
    }

    private static func isHostLabel(_ text: Substring) -> Bool {
        func isWord(_ byte: UInt8) -> Bool { isDigit(byte) || isLower(byte) || isUpper(byte) }
        guard let first = text.utf8.first, let last = text.utf8.last else { return false }
        return isWord(first) && isWord(last)
            && text.utf8.allSatisfy { isWord($0) || $0 == UInt8(ascii: "-") }
    }

    /// Letters and digits, with single separators between them.
    private static func isComponent(_ text: Substring) -> Bool {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, let last = bytes.last else { return false }
        func isWord(_ byte: UInt8) -> Bool { isDigit(byte) || isLower(byte) }
        guard isWord(first), isWord(last) else { return false }
        let runs = bytes.split(whereSeparator: isWord).map { String(decoding: $0, as: UTF8.self) }
        return runs.allSatisfy {
            $0 == "." || $0 == "_" || $0 == "__" || $0.utf8.allSatisfy { $0 == UInt8(ascii: "-") }
        }
    }
}
