/// The level of a volume that the cluster is told: it rises at once, and falls only when the volume
/// was emptier for a while.
///
/// Each rise is an event in the log: a volume that is filled and emptied all day long must not
/// fill the log, so a line is told once in ten minutes at most.
package struct SteadyLevel: Hashable, Sendable {
    /// How long a volume must be emptier before it counts as that.
    package static let patience = Duration.seconds(600)

    /// The level.
    package private(set) var level = FillLevel.normal
    private var capacity = 0
    private var lowerSince: Duration?
    private var highestSince = FillLevel.normal

    package init() {}

    /// Takes in a measured level; `time` is counted from any start that stays the same.
    ///
    /// Of a volume that was made larger the measured level counts at once.
    package mutating func take(_ measured: FillLevel, capacity: Int, at time: Duration) {
        defer { self.capacity = capacity }
        guard measured < level, capacity <= self.capacity else {
            level = measured
            lowerSince = nil
            return
        }
        guard let since = lowerSince else {
            lowerSince = time
            highestSince = measured
            return
        }
        highestSince = max(highestSince, measured)
        guard time - since >= SteadyLevel.patience else { return }
        level = highestSince
        lowerSince = nil
    }
}
