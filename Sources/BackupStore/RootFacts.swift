import Base
import CLinux
import Glibc
import VolumeStore

/// Mode, owner, time of change and attributes of a volume's own folder, which restic does not keep:
/// they travel as a tag of the snapshot.
package struct RootFacts: Hashable, Sendable {
    /// Bytes of attributes that fit into a tag.
    static let attributeBytesMax = 16 << 10

    var mode: UInt32
    var owner: UInt32
    var group: UInt32
    var seconds: Int
    var nanoseconds: Int
    var attributes: [UInt8]

    init(_ facts: stat, attributes: [UInt8]) {
        mode = facts.st_mode & 0o7777
        owner = facts.st_uid
        group = facts.st_gid
        seconds = Int(facts.st_mtim.tv_sec)
        nanoseconds = Int(facts.st_mtim.tv_nsec)
        self.attributes = attributes
    }

    /// The facts as one word without a comma: `755:0:0:1700000000:5:` and attributes in hexadecimal.
    var text: String {
        "\(String(mode, radix: 8)):\(owner):\(group):\(seconds):\(nanoseconds):"
            + hexadecimal(attributes)
    }

    /// Reads what `text` wrote; nil for anything else.
    init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 6, let mode = UInt32(parts[0], radix: 8), mode <= 0o7777,
            let owner = UInt32(parts[1]), let group = UInt32(parts[2]),
            let seconds = Int(parts[3]), let nanoseconds = Int(parts[4]),
            (0..<1_000_000_000).contains(nanoseconds),
            let attributes = bytes(hexadecimal: parts[5]),
            attributes.count <= RootFacts.attributeBytesMax
        else { return nil }
        self.mode = mode
        self.owner = owner
        self.group = group
        self.seconds = seconds
        self.nanoseconds = nanoseconds
        self.attributes = attributes
    }

    /// Gives them to a folder; the time of change last, since the others change it.
    func apply(to folder: OpenFile, attempt: String) throws(VolumeError) {
        guard fchown(folder.descriptor, owner, group) == 0, fchmod(folder.descriptor, mode) == 0
        else { throw .system(attempt: attempt, code: errno) }
        let status = clinux_volume_set_attributes(
            folder.descriptor, attributes, attributes.count)
        guard status == 0 else { throw .system(attempt: attempt, code: -status) }
        let times = [
            // UTIME_OMIT, a macro that Swift does not see: the time of access is left alone.
            timespec(tv_sec: 0, tv_nsec: (1 << 30) - 2),
            timespec(tv_sec: seconds, tv_nsec: nanoseconds),
        ]
        guard futimens(folder.descriptor, times) == 0 else {
            throw .system(attempt: attempt, code: errno)
        }
    }
}

/// The bytes that pairs of hexadecimal digits spell; nil for anything else.
private func bytes(hexadecimal text: some StringProtocol) -> [UInt8]? {
    let digits = Array(text.utf8)
    guard digits.count.isMultiple(of: 2) else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(digits.count / 2)
    for index in stride(from: 0, to: digits.count, by: 2) {
        guard let high = digit(digits[index]), let low = digit(digits[index + 1]) else {
            return nil
        }
        bytes.append(high << 4 | low)
    }
    return bytes
}

private func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 48...57: byte - 48
    case 97...102: byte - 87
    default: nil
    }
}
