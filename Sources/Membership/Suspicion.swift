import Base

/// Decides how long a suspect may stay silent before it is declared dead.
///
/// Lifeguard §IV.B: the time starts at the longest and shrinks as independent members accuse. A
/// lone accuser is more likely to be the faulty party, so it has to wait longest; one that knows
/// itself to be slow does not even count.
struct Suspicion: Sendable, Equatable {
    /// The suspect.
    let id: HostID
    /// Who accuses it, in order of arrival, each once.
    private(set) var accusers: [HostID] = []
    /// When it started.
    private let startedAt: Instant
    /// The time with all confirmations.
    private let shortest: Duration
    /// The time without any.
    private let longest: Duration
    /// How many accusers beside the first make it shortest.
    private let confirmationsNeeded: Int
    /// What our own slowness has added.
    private var grace: Duration = .zero

    /// Starts a suspicion in a cluster of `hosts` present members, the suspect included.
    init(of id: HostID, hosts: Int, config: MembershipConfig, at now: Instant) {
        self.id = id
        startedAt = now
        shortest =
            config.probeInterval * (config.suspicionMultiplier * max(1, ceilingOfLog10(hosts)))
        longest = shortest * config.suspicionMaxMultiplier
        let needed = min(config.suspicionConfirmations, Suspicion.logarithms.count - 1)
        confirmationsNeeded = hosts - 2 >= needed ? needed : 0
    }

    /// ln(i + 1) × 1,000.
    private static let logarithms: [Int] = [
        0, 693, 1_099, 1_386, 1_609, 1_792, 1_946, 2_079, 2_197,
    ]

    /// Records an accusation; returns whether it was news and so is worth gossiping on.
    mutating func confirm(by accuser: HostID) -> Bool {
        guard accusers.count <= confirmationsNeeded, !accusers.contains(accuser) else {
            return false
        }
        accusers.append(accuser)
        return true
    }

    /// Gives the suspect more time because we were not listening.
    mutating func extend(by duration: Duration) { grace += duration }

    /// When the suspect is declared dead.
    var deadline: Instant {
        guard !accusers.isEmpty else { return startedAt + longest + grace }
        guard confirmationsNeeded > 0 else { return startedAt + shortest + grace }
        let confirmations = min(accusers.count - 1, confirmationsNeeded)
        let share = (longest - shortest) * Suspicion.logarithms[confirmations]
        let saved = share / Suspicion.logarithms[confirmationsNeeded]
        return startedAt + (longest - saved) + grace
    }
}
