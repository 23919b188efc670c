/// Remembers which of the last 1,024 numbers were seen, so that each is accepted once.
///
/// The sliding window of RFC 4303 (section 3.4.3): numbers above it move it, numbers below it are
/// refused, so a datagram that is overtaken by 1,024 others is lost.
struct ReplayWindow {
    /// How far a number may lie behind the highest one.
    static let size: UInt64 = 1_024

    private var highest: UInt64 = 0
    /// Bit `n % 1024` tells whether number `n` was seen.
    private var bits = [UInt64](repeating: 0, count: Int(ReplayWindow.size / 64))

    /// True when the number was seen or is too old to tell.
    ///
    /// Numbers start at 1.
    func hasSeen(_ number: UInt64) -> Bool {
        if number > highest { return false }
        if number == 0 || highest - number >= ReplayWindow.size { return true }
        return bits[word(number)] & mask(number) != 0
    }

    /// Marks an authentic number as seen.
    mutating func record(_ number: UInt64) {
        if number > highest {
            if number - highest >= ReplayWindow.size {
                for index in bits.indices { bits[index] = 0 }
            } else {
                var passed = highest
                while passed < number {
                    passed += 1
                    bits[word(passed)] &= ~mask(passed)
                }
            }
            highest = number
        }
        bits[word(number)] |= mask(number)
    }

    private func word(_ number: UInt64) -> Int { Int(number % ReplayWindow.size / 64) }

    private func mask(_ number: UInt64) -> UInt64 { 1 << (number % 64) }
}
