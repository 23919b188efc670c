/// A point on a monotonic clock, in nanoseconds since an arbitrary origin.
///
/// Cores never read a clock: the interpreter passes the instant with every input. In the agent the
/// origin is the host's boot (CLOCK_MONOTONIC); in the simulator it is the start of the run.
package struct Instant: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Nanoseconds since the clock's origin.
    package var nanoseconds: Int64

    package init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    /// The clock's origin.
    package static let zero = Instant(nanoseconds: 0)

    package static func < (left: Instant, right: Instant) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    package static func + (instant: Instant, duration: Duration) -> Instant {
        Instant(nanoseconds: instant.nanoseconds + duration.inNanoseconds)
    }

    package static func - (left: Instant, right: Instant) -> Duration {
        .nanoseconds(left.nanoseconds - right.nanoseconds)
    }

    package static func - (instant: Instant, duration: Duration) -> Instant {
        Instant(nanoseconds: instant.nanoseconds - duration.inNanoseconds)
    }

    package var description: String {
        let milliseconds = nanoseconds / 1_000_000
        let fraction = String(milliseconds % 1_000)
        let padding = String(repeating: "0", count: max(0, 3 - fraction.count))
        return "t=\(milliseconds / 1_000).\(padding)\(fraction)s"
    }
}

extension Duration {
    /// The duration in whole nanoseconds; exact for every duration under 292 years.
    package var inNanoseconds: Int64 {
        let parts = components
        return parts.seconds * 1_000_000_000 + parts.attoseconds / 1_000_000_000
    }

    /// The duration in whole milliseconds, rounded down.
    package var inMilliseconds: Int64 { inNanoseconds / 1_000_000 }
}

/// A point in civil time, in milliseconds since 1970-01-01 UTC.
///
/// Only for showing to people and for what the log records; no decision depends on it.
package struct WallTime: Hashable, Comparable, Sendable {
    /// Milliseconds since 1970-01-01 UTC.
    package var milliseconds: Int64

    package init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    package static func < (left: WallTime, right: WallTime) -> Bool {
        left.milliseconds < right.milliseconds
    }
}
