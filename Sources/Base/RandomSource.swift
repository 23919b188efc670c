/// A seeded pseudo-random generator: xoshiro256**, seeded through SplitMix64.
///
/// Source: D. Blackman and S. Vigna, "Scrambled linear pseudorandom number generators" (2018).
/// Not for secrets; those come from libsodium.
package struct RandomSource: RandomNumberGenerator, Hashable, Sendable {
    private var state: (UInt64, UInt64, UInt64, UInt64)

    package init(seed: UInt64) {
        var mixer = seed
        func step() -> UInt64 {
            mixer &+= 0x9E37_79B9_7F4A_7C15
            var value = mixer
            value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
            value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
            return value ^ (value >> 31)
        }
        state = (step(), step(), step(), step())
    }

    package mutating func next() -> UInt64 {
        func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 {
            (value << count) | (value >> (64 - count))
        }
        let result = rotate(state.1 &* 5, 7) &* 9
        let shifted = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= shifted
        state.3 = rotate(state.3, 45)
        return result
    }

    /// A generator of its own for one purpose, so that a draw added in one place moves no other.
    package func fork(_ label: String) -> RandomSource {
        var hash = FingerprintHasher()
        hash.combine(state.0)
        hash.combine(state.1)
        for byte in label.utf8 { hash.combine(byte) }
        return RandomSource(seed: hash.value)
    }

    /// A duration drawn evenly from a closed range.
    package mutating func duration(in range: ClosedRange<Duration>) -> Duration {
        let low = range.lowerBound.inNanoseconds
        let high = range.upperBound.inNanoseconds
        return .nanoseconds(Int64.random(in: low...high, using: &self))
    }

    /// True with the given probability in thousandths.
    package mutating func happens(perThousand: Int) -> Bool {
        Int.random(in: 0..<1_000, using: &self) < perThousand
    }

    package static func == (left: RandomSource, right: RandomSource) -> Bool {
        left.state == right.state
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(state.0)
        hasher.combine(state.1)
    }
}

/// A 64-bit FNV-1a hash that is equal in every process, unlike Swift's own.
///
/// For fingerprints and for spreading; not against an adversary.
package struct FingerprintHasher: Sendable {
    /// The hash of everything combined so far.
    package private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

    package init() {}

    /// Adds one byte.
    package mutating func combine(_ byte: UInt8) {
        value = (value ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
    }

    /// Adds eight bytes, least significant first.
    package mutating func combine(_ word: UInt64) {
        for shift in stride(from: UInt64(0), to: 64, by: 8) {
            combine(UInt8(truncatingIfNeeded: word >> shift))
        }
    }

    /// Adds a run of bytes.
    package mutating func combine(bytes: some Sequence<UInt8>) {
        for byte in bytes { combine(byte) }
    }

    /// Adds a run of bytes; the same as the general form, without its cost per byte.
    package mutating func combine(bytes: [UInt8]) {
        var hash = value
        for index in bytes.indices {
            hash = (hash ^ UInt64(bytes[index])) &* 0x0000_0100_0000_01B3
        }
        value = hash
    }
}
