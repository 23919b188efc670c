import ClusterModel
import Glibc

/// Reads the file of `shoal apply`: one service per YAML document.
///
/// Runs in the operator's process, never in the agent. A file is hostile: its size, nesting and
/// number of values are bounded before or while it is read, and everything that is wrong with it is
/// reported at once, with line and column.
package enum SpecFile {
    /// The largest file.
    package static let bytesMax = 1 << 20
    /// The most services in one file.
    package static let servicesMax = 1_000

    /// Reads a file; `-` is standard input.
    ///
    /// Throws ``ControlError`` whose problems have lines and columns; a file above ``bytesMax`` is
    /// refused before it is read.
    package static func read(path: String) throws(ControlError) -> [ServiceSpec] {
        let descriptor = path == "-" ? 0 : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw ControlError(.invalid, "cannot open \(path): \(errorText(errno))")
        }
        defer { if descriptor != 0 { close(descriptor) } }
        var facts = stat()
        guard fstat(descriptor, &facts) == 0, facts.st_mode & S_IFMT != S_IFDIR else {
            throw ControlError(.invalid, "cannot read \(path): it is a folder")
        }
        guard facts.st_mode & S_IFMT != S_IFREG || facts.st_size <= bytesMax else {
            throw tooLarge(path)
        }
        var bytes: [UInt8] = []
        var run = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &run, run.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                throw ControlError(.invalid, "cannot read \(path): \(errorText(errno))")
            }
            guard count > 0 else { break }
            bytes += run.prefix(count)
            guard bytes.count <= bytesMax else { throw tooLarge(path) }
        }
        return try parse(bytes)
    }

    /// Reads the bytes of a file.
    ///
    /// Throws ``ControlError`` whose problems have lines and columns.
    package static func parse(_ bytes: [UInt8]) throws(ControlError) -> [ServiceSpec] {
        guard bytes.count <= bytesMax else { throw tooLarge("the file") }
        try refuseBrokenText(bytes)
        let roots = try YAMLDocuments.read(bytes)
        guard !roots.isEmpty else {
            throw ControlError(
                .invalid, "the file describes no service",
                next: "begin with `service: NAME`; `shoal apply --help` shows a whole file")
        }
        guard roots.count <= servicesMax else {
            throw ControlError(
                .tooLarge, "the file has \(roots.count) services; \(servicesMax) are allowed")
        }
        var specs: [ServiceSpec] = []
        var problems: [ProblemView] = []
        var names: [String: YAMLPlace] = [:]
        for root in roots {
            var reader = SpecReader()
            let spec = reader.service(root)
            if let earlier = names.updateValue(root.place, forKey: spec.name) {
                reader.note(
                    "service", "'\(spec.name)' is there twice; first on line \(earlier.line)")
            }
            problems += reader.finish(spec)
            specs.append(spec)
        }
        guard problems.isEmpty else {
            throw ControlError(
                .invalid, "the file is not a service's description",
                problems: Array(problems.prefix(100)))
        }
        return specs
    }

    private static func tooLarge(_ path: String) -> ControlError {
        ControlError(.tooLarge, "\(path) is above the limit of \(bytesMax) bytes")
    }

    /// Refuses what is not UTF-8 and control characters, at their place.
    private static func refuseBrokenText(_ bytes: [UInt8]) throws(ControlError) {
        if let position = bytes.firstIndex(where: isControl) {
            throw refusal(
                "control character 0x\(String(bytes[position], radix: 16)) is not allowed",
                at: place(of: position, in: bytes))
        }
        guard String(validating: bytes, as: UTF8.self) == nil else { return }
        var low = 0
        var high = bytes.count
        // The longest prefix that, repaired, still equals itself ends where the first error is.
        while low < high {
            let middle = (low + high + 1) / 2
            if isValidStart(bytes[..<middle]) { low = middle } else { high = middle - 1 }
        }
        // A character that is cut off is broken from its first byte on.
        let cut = (0...min(3, low)).first {
            String(validating: bytes[..<(low - $0)], as: UTF8.self) != nil
        }
        throw refusal("not valid UTF-8", at: place(of: low - (cut ?? 0), in: bytes))
    }

    /// True when the bytes are UTF-8 but for a character cut off at the end.
    private static func isValidStart(_ bytes: ArraySlice<UInt8>) -> Bool {
        (0...min(3, bytes.count)).contains {
            String(validating: bytes.dropLast($0), as: UTF8.self) != nil
                && bytes.suffix($0).allSatisfy { $0 >= 0x80 }
        }
    }

    private static func isControl(_ byte: UInt8) -> Bool {
        byte < 0x20 && byte != 0x09 && byte != 0x0A && byte != 0x0D || byte == 0x7F
    }

    private static func place(of position: Int, in bytes: [UInt8]) -> YAMLPlace {
        let before = bytes[..<position]
        let lineStart = (before.lastIndex(of: 0x0A) ?? -1) + 1
        let line = before.reduce(1) { $0 + ($1 == 0x0A ? 1 : 0) }
        let column = String(decoding: bytes[lineStart..<position], as: UTF8.self).count + 1
        return YAMLPlace(line: line, column: column)
    }
}
