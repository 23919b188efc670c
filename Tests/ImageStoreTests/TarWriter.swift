/// One entry of a hand-made tar; every field can be wrong on purpose.
struct TarEntry: Sendable {
    var path: String
    /// POSIX type flags: 0 file, 1 hard link, 2 symbolic link, 3 and 4 devices, 5 folder, 6 fifo.
    var type: Character = "0"
    var content: [UInt8] = []
    var mode = 0o644
    var user = 0
    var group = 0
    var modified = 1_600_000_000
    var target = ""
    var device = (major: 0, minor: 0)
    /// Extended header records, such as `SCHILY.xattr.user.color`.
    var extended: [(key: String, value: [UInt8])] = []

    static func file(_ path: String, _ text: String = "", mode: Int = 0o644) -> TarEntry {
        TarEntry(path: path, content: Array(text.utf8), mode: mode)
    }

    static func folder(_ path: String, mode: Int = 0o755) -> TarEntry {
        TarEntry(path: path, type: "5", mode: mode)
    }

    static func link(_ path: String, to target: String) -> TarEntry {
        TarEntry(path: path, type: "2", mode: 0o777, target: target)
    }

    static func hardLink(_ path: String, to target: String) -> TarEntry {
        TarEntry(path: path, type: "1", target: target)
    }

    /// What has no room in a plain header goes into an extended one (POSIX pax).
    var records: [(key: String, value: [UInt8])] {
        var records = extended
        if path.utf8.count > 100 || !path.utf8.allSatisfy({ $0 < 128 }) {
            records.append(("path", Array(path.utf8)))
        }
        if target.utf8.count > 100 || !target.utf8.allSatisfy({ $0 < 128 }) {
            records.append(("linkpath", Array(target.utf8)))
        }
        return records
    }
}

/// Writes tars byte by byte, as POSIX ustar with pax headers.
func tar(_ entries: [TarEntry], ended: Bool = true) -> [UInt8] {
    var bytes: [UInt8] = []
    for entry in entries {
        var data: [UInt8] = []
        for (key, value) in entry.records {
            let rest = key.utf8.count + value.count + 3
            var size = rest + String(rest).utf8.count
            if String(size).utf8.count != String(rest).utf8.count {
                size = rest + String(size).utf8.count
            }
            data += Array("\(size) \(key)=".utf8) + value + [10]
        }
        if !data.isEmpty {
            bytes += header(TarEntry(path: "pax", type: "x", content: data)) + padded(data)
        }
        bytes += header(entry) + padded(entry.content)
    }
    return ended ? bytes + [UInt8](repeating: 0, count: 1_024) : bytes
}

/// A gzip file that stores its contents uncompressed (RFC 1951 section 3.2.4, RFC 1952).
func gzip(_ bytes: [UInt8]) -> [UInt8] {
    func little(_ value: UInt32, _ count: UInt32) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }
    var out: [UInt8] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3]
    var rest = bytes[...]
    repeat {
        let piece = rest.prefix(65_535)
        rest = rest.dropFirst(piece.count)
        out += [rest.isEmpty ? 1 : 0]
        out += little(UInt32(piece.count), 2) + little(UInt32(piece.count) ^ 0xFFFF, 2) + piece
    } while !rest.isEmpty
    var checksum: UInt32 = 0xFFFF_FFFF
    for byte in bytes {
        checksum ^= UInt32(byte)
        for _ in 0..<8 {
            checksum = (checksum >> 1) ^ (checksum & 1 == 1 ? 0xEDB8_8320 : 0)
        }
    }
    return out + little(~checksum, 4) + little(UInt32(bytes.count), 4)
}

private func header(_ entry: TarEntry) -> [UInt8] {
    var block = [UInt8](repeating: 0, count: 512)
    func put(_ text: String, at offset: Int, width: Int) {
        let bytes = text.utf8.allSatisfy { $0 < 128 } ? Array(text.utf8) : Array("pax".utf8)
        block.replaceSubrange(
            offset..<(offset + min(bytes.count, width)), with: bytes.prefix(width))
    }
    func octal(_ number: Int, at offset: Int, width: Int) {
        let digits = String(number, radix: 8)
        put(
            String(repeating: "0", count: max(0, width - 1 - digits.count)) + digits, at: offset,
            width: width)
    }
    put(entry.path, at: 0, width: 100)
    octal(entry.mode, at: 100, width: 8)
    octal(entry.user, at: 108, width: 8)
    octal(entry.group, at: 116, width: 8)
    octal(entry.content.count, at: 124, width: 12)
    octal(entry.modified, at: 136, width: 12)
    put(String(entry.type), at: 156, width: 1)
    put(entry.target, at: 157, width: 100)
    put("ustar", at: 257, width: 6)
    put("00", at: 263, width: 2)
    octal(entry.device.major, at: 329, width: 8)
    octal(entry.device.minor, at: 337, width: 8)
    put("        ", at: 148, width: 8)
    octal(block.reduce(0) { $0 + Int($1) }, at: 148, width: 7)
    return block
}

private func padded(_ bytes: [UInt8]) -> [UInt8] {
    bytes + [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
}
