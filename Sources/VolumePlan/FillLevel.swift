/// How full a volume is, in the steps that people are told of.
package enum FillLevel: Int, Hashable, Comparable, Sendable, CaseIterable {
    /// Below 80 %.
    case normal
    /// From 80 %.
    case filling
    /// From 95 %.
    case nearlyFull
    /// At capacity: a volume without a wall of its own is read-only now.
    case full

    /// The first percentage of the level.
    package var percent: Int {
        switch self {
        case .normal: 0
        case .filling: 80
        case .nearlyFull: 95
        case .full: 100
        }
    }

    /// How far below a level usage must fall before the level ends, in percent: what goes back and
    /// forth over a line is told once.
    package static let slack = 2

    /// The level of a volume that had this level before.
    package func next(used: Int, capacity: Int) -> FillLevel {
        let measured = FillLevel.allCases.last { used >= $0.bytes(of: capacity) } ?? .normal
        guard measured < self else { return measured }
        let kept = used >= bytes(of: capacity) - capacity / 100 * FillLevel.slack
        return kept ? self : max(measured, stepDown(used: used, capacity: capacity))
    }

    private func stepDown(used: Int, capacity: Int) -> FillLevel {
        FillLevel(rawValue: rawValue - 1)?.next(used: used, capacity: capacity) ?? .normal
    }

    private func bytes(of capacity: Int) -> Int {
        // 100 % is exact; for the others a rounded line is good enough, and cannot overflow.
        self == .full ? capacity : capacity / 100 * percent
    }

    package static func < (left: FillLevel, right: FillLevel) -> Bool {
        left.rawValue < right.rawValue
    }
}
