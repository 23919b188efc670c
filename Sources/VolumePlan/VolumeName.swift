import ClusterModel

/// What people call a volume: `web.3/data`, or `web.3/data@monday` for a snapshot of it.
///
/// A volume belongs to its slot, not to the set that happens to run there.
package struct VolumeName: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The slot.
    package let slot: SlotID
    /// The volume's name within its service's template.
    package let volume: String
    /// The snapshot's label; nil for the volume itself.
    package let snapshot: String?

    /// The longest volume name and snapshot label in bytes.
    package static let partBytesMax = 32
    /// The longest service name in bytes.
    package static let serviceBytesMax = 64

    /// Makes a name; nil when a part is empty, too long, or not of a-z, 0-9 and `-` (inside only).
    package init?(slot: SlotID, volume: String, snapshot: String? = nil) {
        let parts = [volume, snapshot].compactMap { $0 }
        guard VolumeName.isProper(slot.service, bytesMax: VolumeName.serviceBytesMax),
            (0...999_999).contains(slot.ordinal),
            parts.allSatisfy({ VolumeName.isProper($0, bytesMax: VolumeName.partBytesMax) })
        else { return nil }
        self.slot = slot
        self.volume = volume
        self.snapshot = snapshot
    }

    /// Reads `web.3/data` or `web.3/data@monday`; nil for anything else.
    package init?(_ text: String) {
        guard text.utf8.count <= 160 else { return nil }
        let halves = text.split(separator: "/", omittingEmptySubsequences: false)
        guard halves.count == 2, let slot = SlotID(String(halves[0])) else { return nil }
        let parts = halves[1].split(separator: "@", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count) else { return nil }
        self.init(
            slot: slot, volume: String(parts[0]),
            snapshot: parts.count == 2 ? String(parts[1]) : nil)
        // `+3` and `03` are numbers, too, but another text for the same slot.
        guard description == text else { return nil }
    }

    /// The volume itself, without a snapshot's label.
    package var base: VolumeName {
        VolumeName(trusted: slot, volume: volume)
    }

    /// The name as one folder's name: `web.3.data`, `web.3.data@monday`.
    package var folderName: String {
        "\(slot).\(volume)" + (snapshot.map { "@\($0)" } ?? "")
    }

    /// The name as people write it.
    package var description: String {
        "\(slot)/\(volume)" + (snapshot.map { "@\($0)" } ?? "")
    }

    package static func < (left: VolumeName, right: VolumeName) -> Bool {
        (left.slot, left.volume, left.snapshot ?? "")
            < (right.slot, right.volume, right.snapshot ?? "")
    }

    private init(trusted slot: SlotID, volume: String) {
        self.slot = slot
        self.volume = volume
        snapshot = nil
    }

    private static func isProper(_ text: String, bytesMax: Int) -> Bool {
        let hyphen = UInt8(ascii: "-")
        return (1...bytesMax).contains(text.utf8.count)
            && text.utf8.first != hyphen && text.utf8.last != hyphen
            && text.utf8.allSatisfy { 97...122 ~= $0 || 48...57 ~= $0 || $0 == hyphen }
    }
}

/// A volume's own identity: eight random bytes, never given out twice.
///
/// Names are reused, by a restored or a shrunk volume for one; identities are not. Files and logical
/// volumes are named by it.
package struct VolumeID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Sixteen lower-case hexadecimal digits.
    package let description: String

    /// Makes an identity of eight random bytes.
    package init(random: UInt64) {
        let digits = String(random, radix: 16)
        description = String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }

    /// Reads sixteen lower-case hexadecimal digits; nil for anything else.
    package init?(_ text: some StringProtocol) {
        guard text.utf8.count == 16,
            text.utf8.allSatisfy({ 48...57 ~= $0 || 97...102 ~= $0 })
        else { return nil }
        description = String(text)
    }

    package static func < (left: VolumeID, right: VolumeID) -> Bool {
        left.description < right.description
    }
}
