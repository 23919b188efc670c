import Base

/// A short image of a member table: one number per bucket of keys, kept up to date in place.
///
/// Two tables with equal digests hold the same present members at the same boot epoch,
/// incarnation and facts version. Suspicion is not part of it, for it differs between hosts by
/// nature, nor are dead and departed members, which hosts forget at different times.
struct TableDigest: Sendable, Equatable {
    /// How many buckets; the first six bits of a key choose one.
    static let bucketCount = 64

    /// Bucket by bucket, the exclusive or of its members' images.
    private(set) var buckets = [UInt64](repeating: 0, count: TableDigest.bucketCount)

    /// The bucket of a key; keys in order are buckets in order.
    static func bucket(of id: HostID) -> Int { Int(id.prefix >> 58) }

    /// Puts a member in, or takes it out again.
    mutating func toggle(_ member: Member, factsVersion: UInt64) {
        guard member.status.isPresent else { return }
        var image = mix(member.id.prefix)
        image = mix(image ^ member.bootEpoch.value)
        image = mix(image ^ member.incarnation)
        image = mix(image ^ factsVersion)
        buckets[TableDigest.bucket(of: member.id)] ^= image
    }

    /// SplitMix64's finaliser.
    private func mix(_ input: UInt64) -> UInt64 {
        var value = input &+ 0x9E37_79B9_7F4A_7C15
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
