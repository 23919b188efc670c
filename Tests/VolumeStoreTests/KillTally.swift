import VolumePlan

/// A broken promise that was found after a kill.
struct KillViolation: CustomStringConvertible, Sendable {
    /// Which promise.
    enum Kind: String, CaseIterable, Sendable {
        /// A volume, or what was in it, is gone.
        case lost
        /// Something is there that no volume owns.
        case leaked
        /// A volume is mounted or held more often than it should be.
        case doubleMounted = "double-mounted"
        /// The store is not at rest, or the operation has not its effect.
        case unsettled
    }

    let kind: Kind
    let what: String

    init(_ kind: Kind, _ what: String) {
        self.kind = kind
        self.what = what
    }

    var description: String { "\(kind.rawValue): \(what)" }
}

/// What many kills at random moments came to.
struct KillTally: CustomStringConvertible {
    private(set) var cycles = 0
    /// Kills that came while the operation was under way, by volume class and operation.
    private(set) var hits: [String: [VictimOperation: Int]] = [:]
    /// Kills that fell into the middle of a program that the operation had started.
    private(set) var insideTools = 0
    private var violations: [KillViolation.Kind: Int] = [:]

    /// Kills that came while an operation was under way.
    var hitCount: Int { hits.values.reduce(0) { $0 + $1.values.reduce(0, +) } }

    /// Counts one cycle.
    mutating func count(
        _ volumeClass: String, _ operation: VictimOperation, wasHit: Bool, wasInTool: Bool,
        _ found: [KillViolation]
    ) {
        cycles += 1
        if wasHit { hits[volumeClass, default: [:]][operation, default: 0] += 1 }
        if wasHit, wasInTool { insideTools += 1 }
        for violation in found { violations[violation.kind, default: 0] += 1 }
    }

    /// The verdict, in lines that `Tools/lab` prints.
    var description: String {
        var lines = [
            "kills: \(cycles) cycles, \(hitCount) kills inside an operation (\(insideTools) of them "
                + "inside a tool), \(cycles - hitCount) came too late"
        ]
        for volumeClass in hits.keys.sorted() {
            let counts = VictimOperation.allCases.map { operation in
                "\(operation) \(hits[volumeClass]?[operation] ?? 0)"
            }
            lines.append("kills: \(volumeClass): \(counts.joined(separator: ", "))")
        }
        let verdict = KillViolation.Kind.allCases.map { "\($0.rawValue) \(violations[$0] ?? 0)" }
        lines.append("kills: \(verdict.joined(separator: ", "))")
        return lines.joined(separator: "\n")
    }
}
