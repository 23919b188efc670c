import ControlAPI

/// What became of new limits.
struct ResizeOutcome {
    /// Sets that have them.
    var inForce = 0
    /// The sets whose hosts refused them, such as `web.3`, and why, in the same order.
    var refusing: [String] = []
    var reasons: [String] = []
}

extension Waiting {
    /// How long the other hosts have to answer after one has refused.
    private static let othersPatience = Duration.seconds(3)

    /// Until the limits of a change are in force on every set that runs, or hosts have refused them:
    /// nobody can wait for that.
    mutating func untilResized(_ change: ApplyResult) async throws -> ResizeOutcome {
        let service = change.service
        let clock = ContinuousClock()
        var missing: [String] = []
        var outcome = ResizeOutcome()
        var firstRefusal: ContinuousClock.Instant?
        try await poll { client in
            guard try await client.status().appliedIndex >= change.index else {
                return (Waiting.notHeard, false)
            }
            let sets = try await client.sets(service: service).filter { $0.host != nil }
            let others = sets.filter { $0.limitsRevision ?? 0 < change.revision }
            missing = others.map { "\($0.slot) \($0.phase): \($0.reason ?? "not done yet")" }
            // The reason may be left from an earlier change, to which the host has not answered yet.
            let refusing = others.filter {
                $0.phase == "running"
                    && $0.reason?.contains("those of revision \(change.revision) are refused")
                        == true
            }
            outcome.inForce = sets.count - others.count
            outcome.refusing = refusing.map(\.slot)
            outcome.reasons = refusing.map {
                "\($0.slot) on \($0.host ?? "its host") \($0.reason ?? "")"
            }
            if !refusing.isEmpty, firstRefusal == nil { firstRefusal = clock.now }
            let isLate = firstRefusal.map { clock.now - $0 > Waiting.othersPatience } ?? false
            let haveAnswered = !refusing.isEmpty && (refusing.count == others.count || isLate)
            return (
                "\(service): \(outcome.inForce) of \(sets.count) resized",
                others.isEmpty || haveAnswered
            )
        }
        if outcome.refusing.isEmpty { try fail(unless: missing) }
        return outcome
    }
}
