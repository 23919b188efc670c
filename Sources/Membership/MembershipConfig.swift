import Base

/// Settings of membership; all hosts of a cluster should have the same.
///
/// With the defaults and three hosts a crash is known within 4 s at the worst: 1.5 s until a
/// survivor's shuffled round reaches the host, 0.5 s until the probe has failed, 1.5 s of
/// suspicion, 0.2 s until the next gossip.
package struct MembershipConfig: Sendable, Equatable {
    /// How often a host probes one other: `probeInterval × (1 + health)`.
    ///
    /// A dead host is first suspected after one to two intervals. Halving this halves detection
    /// time and doubles the background traffic (about four datagrams per interval and host).
    package var probeInterval: Duration = .milliseconds(500)

    /// How long a direct ping may take before others are asked: `probeTimeout × (1 + health)`.
    ///
    /// Above the slowest round trip, well under the interval: the rest is for indirect probes.
    package var probeTimeout: Duration = .milliseconds(200)

    /// How many members are asked to probe on our behalf (SWIM's K).
    package var indirectProbes = 3

    /// The shortest suspicion: `suspicionMultiplier × max(1, ⌈log10 n⌉) × probeInterval`.
    ///
    /// A host that is silent for less than this and one interval is never declared dead.
    package var suspicionMultiplier = 3

    /// The longest suspicion: `suspicionMaxMultiplier × shortest`.
    package var suspicionMaxMultiplier = 4

    /// Independent accusers beside the first until a suspicion is as short as it gets (k).
    ///
    /// With c of them the suspicion lasts `max - (max - min) × log(c + 1) / log(k + 1)`
    /// (Lifeguard §IV.B). Clusters with fewer than k + 2 hosts use the shortest at once. 0 to 8.
    package var suspicionConfirmations = 2

    /// The worst local health: probes then take `1 + healthMax` times as long (Lifeguard §IV.A).
    package var healthMax = 8

    /// From this local health on, our own accusations carry no weight: they wait longest.
    package var doubtfulHealth = 3

    /// A timer handled later than this means that we are slow ourselves.
    package var lateTolerance: Duration = .milliseconds(250)

    /// How often news is sent beside the probes, while there is news.
    package var gossipInterval: Duration = .milliseconds(200)

    /// To how many members news goes at once.
    package var gossipFanout = 3

    /// Copies of one rumour that each host sends: `retransmitMultiplier × ⌈log10(n + 1)⌉`.
    package var retransmitMultiplier = 4

    /// How often tables are compared with one random member's, at any cluster size.
    ///
    /// After a comparison that found a member to be there or gone, the next comes ten times as
    /// soon: such news runs through any cluster in a logarithmic number of comparisons.
    package var syncInterval: Duration = .seconds(10)

    /// The most pages of one comparison; the next goes on where this one stopped.
    ///
    /// In a large cluster whose facts change all the time every bucket differs somewhere. This
    /// keeps the traffic of a host under `syncPagesMax × datagramBytesMax` per interval.
    package var syncPagesMax = 32

    /// How long a page of a table may take before it is asked for again.
    package var syncTimeout: Duration = .milliseconds(500)

    /// How often the seeds are asked until one answers.
    package var joinRetryInterval: Duration = .seconds(1)

    /// The most seeds that are kept; more are ignored.
    package var seedsMax = 16

    /// How often one random dead member is pinged, so that healed partitions merge.
    package var deadRetryInterval: Duration = .seconds(5)

    /// How long dead and departed members are remembered.
    package var deadRetention: Duration = .seconds(24 * 3_600)

    /// The most dead and departed members that are remembered; the oldest goes first.
    package var deadMax = 10_000

    /// The most members, ourselves included; beyond it newcomers are ignored.
    package var membersMax = 20_000

    /// The most bytes of an encoded message: 1,280 (the smallest IPv6 packet) less the headers
    /// of IP, UDP and transport would be safest; 1,200 leaves transport 228 of 1,428.
    package var datagramBytesMax = 1_200

    /// The most indirect probes that are carried out for others at once; more are ignored.
    package var relaysMax = 64

    /// How often a leaving host repeats that it leaves, once per gossip interval.
    package var leaveRounds = 3

    /// The defaults.
    package init() {}

    /// Every broken rule as a sentence; empty when the settings can be used.
    package func problems() -> [String] {
        var problems: [String] = []
        func require(_ holds: Bool, _ rule: String) {
            if !holds { problems.append("membership: \(rule)") }
        }
        let shortest = Duration.milliseconds(1)
        require(probeTimeout >= shortest, "probeTimeout must be 1 ms at least")
        require(probeInterval >= probeTimeout * 2, "probeInterval must be twice probeTimeout")
        require(gossipInterval >= shortest, "gossipInterval must be 1 ms at least")
        require(syncInterval >= syncTimeout, "syncInterval must not be below syncTimeout")
        require(syncTimeout >= shortest, "syncTimeout must be 1 ms at least")
        require(joinRetryInterval >= shortest, "joinRetryInterval must be 1 ms at least")
        require(deadRetryInterval >= shortest, "deadRetryInterval must be 1 ms at least")
        require(lateTolerance > .zero, "lateTolerance must be above 0")
        require((1...1_000).contains(suspicionMultiplier), "suspicionMultiplier is 1 to 1000")
        require((1...100).contains(suspicionMaxMultiplier), "suspicionMaxMultiplier is 1 to 100")
        require((0...8).contains(suspicionConfirmations), "suspicionConfirmations is 0 to 8")
        require((0...64).contains(healthMax), "healthMax is 0 to 64")
        require((0...64).contains(indirectProbes), "indirectProbes is 0 to 64")
        require((1...64).contains(gossipFanout), "gossipFanout is 1 to 64")
        require((1...100).contains(retransmitMultiplier), "retransmitMultiplier is 1 to 100")
        require((1...1_000_000).contains(membersMax), "membersMax is 1 to 1000000")
        require((0...membersMax).contains(deadMax), "deadMax is 0 to membersMax")
        require((1...100_000).contains(syncPagesMax), "syncPagesMax is 1 to 100000")
        require((0...1_024).contains(relaysMax), "relaysMax is 0 to 1024")
        require((1_200...65_000).contains(datagramBytesMax), "datagramBytesMax is 1200 to 65000")
        return problems
    }
}

/// The smallest e with 10^e at or above `value`; 0 for 1 and less.
func ceilingOfLog10(_ value: Int) -> Int {
    var exponent = 0
    var power = 1
    while power < value, exponent < 18 {
        power *= 10
        exponent += 1
    }
    return exponent
}
