import Base

/// What one run of the simulator is like.
///
/// Everything is drawn from the seed ("swarm testing"), so
/// that seeds differ in what they stress: some lose packets, some lose hosts, some do neither.
package struct SimulationOptions: Sendable {
    /// The seed that drew all the rest.
    package var seed: UInt64
    /// How many hosts: 1 to 7.
    package var hosts: Int
    /// How long faults go on.
    package var faultPhase: Duration
    /// How long the cluster has to come to rest afterwards.
    package var restPhase: Duration
    /// Datagrams lost, in thousandths.
    package var lossPerThousand: Int
    /// Datagrams delivered twice, in thousandths.
    package var duplicatesPerThousand: Int
    /// The shortest way through the network.
    package var delayMin: Duration
    /// The mean of what comes on top, exponentially distributed.
    package var delayMean: Duration
    /// The mean time between partitions; nil for none.
    package var partitionEvery: Duration?
    /// The mean time between crashes of an agent alone; nil for none.
    package var agentCrashEvery: Duration?
    /// The mean time between crashes of a whole host with its sets; nil for none.
    package var hostCrashEvery: Duration?
    /// The mean time between exits of a container; nil for none.
    package var containerExitEvery: Duration?
    /// The mean time between writes of users.
    package var writeEvery: Duration
    /// The slowest flush to disk.
    package var flushMax: Duration
    /// Datagrams that come a second time much later, in thousandths.
    package var replaysPerThousand: Int
    /// How much faster or slower than true time a host's clock may run, in millionths.
    ///
    /// Clocks may differ in speed by the ratio of the shortest election timeout to the lease:
    /// 1.25. The largest value here makes it 1.17.
    package var driftPerMillion: Int
    /// The mean time between stalls of an agent (no processor, a stopped machine); nil for none.
    package var stallEvery: Duration?
    /// The mean time between spells of a slow disk; nil for none.
    package var slowDiskEvery: Duration?
    /// The mean time between losses of a host with its disk, for good; nil for none.
    package var hostLossEvery: Duration?
    /// The mean time between visits of a further host, which joins and after seconds is gone for
    /// good; nil for none.
    package var visitEvery: Duration?
    /// Starts of a set or container that fail, in thousandths.
    package var startFailuresPerThousand: Int

    /// What each host can promise to volumes, in bytes; nil for clusters whose sets have none.
    package var volumeRoomBytes: Int?

    /// A cluster without faults or users of its own, for scenarios.
    package static func calm(seed: UInt64, hosts: Int) -> SimulationOptions {
        var options = SimulationOptions(seed: seed)
        options.hosts = hosts
        options.lossPerThousand = 0
        options.duplicatesPerThousand = 0
        options.replaysPerThousand = 0
        options.startFailuresPerThousand = 0
        options.volumeRoomBytes = nil
        options.visitEvery = nil
        options.delayMin = .microseconds(200)
        options.delayMean = .microseconds(500)
        options.flushMax = .milliseconds(5)
        return options
    }

    /// Draws the rest from the seed.
    ///
    /// New options are drawn last, so that old seeds stay what they
    /// were.
    package init(seed: UInt64) {
        var random = RandomSource(seed: seed).fork("options")
        func mean(_ range: ClosedRange<Int>, often: Int) -> Duration? {
            guard random.happens(perThousand: often) else { return nil }
            return .seconds(Int.random(in: range, using: &random))
        }
        self.seed = seed
        hosts = [1, 2, 3, 3, 3, 4, 5, 5, 7].randomElement(using: &random) ?? 3
        faultPhase = .seconds(Int.random(in: 60...150, using: &random))
        restPhase = .seconds(120)
        lossPerThousand = [0, 0, 10, 50, 150].randomElement(using: &random) ?? 0
        duplicatesPerThousand = [0, 0, 10, 50].randomElement(using: &random) ?? 0
        delayMin = .microseconds(Int.random(in: 100...2_000, using: &random))
        delayMean = .microseconds(Int.random(in: 100...20_000, using: &random))
        partitionEvery = mean(4...30, often: 500)
        agentCrashEvery = mean(3...30, often: 600)
        hostCrashEvery = mean(5...40, often: 500)
        containerExitEvery = mean(1...15, often: 700)
        writeEvery = .milliseconds(Int.random(in: 200...4_000, using: &random))
        flushMax = .milliseconds([2, 10, 40, 200].randomElement(using: &random) ?? 10)
        replaysPerThousand = [0, 0, 2, 20].randomElement(using: &random) ?? 0
        driftPerMillion = [0, 200, 10_000, 80_000].randomElement(using: &random) ?? 0
        stallEvery = mean(3...30, often: 400)
        slowDiskEvery = mean(10...40, often: 300)
        hostLossEvery = mean(10...60, often: 400)
        startFailuresPerThousand = [0, 0, 50, 300].randomElement(using: &random) ?? 0
        if random.happens(perThousand: 400) {
            // A few of the volumes that services ask for: room is short.
            volumeRoomBytes = Int.random(in: 1...6, using: &random) << 30
        }
        visitEvery = mean(5...30, often: 250)
    }

    /// One line that says it all.
    package var summary: String {
        func text(_ duration: Duration?) -> String {
            duration.map { "\($0.inMilliseconds / 1_000)s" } ?? "-"
        }
        return
            "hosts=\(hosts) faults=\(text(faultPhase)) loss=\(lossPerThousand)/1000 duplicates=\(duplicatesPerThousand)/1000"
            + " partitions=\(text(partitionEvery)) agent-crashes=\(text(agentCrashEvery))"
            + " host-crashes=\(text(hostCrashEvery)) exits=\(text(containerExitEvery))"
            + " writes=\(writeEvery.inMilliseconds)ms flush=\(flushMax.inMilliseconds)ms"
            + " replays=\(replaysPerThousand)/1000 drift=\(driftPerMillion)/1000000"
            + " stalls=\(text(stallEvery)) slow-disks=\(text(slowDiskEvery))"
            + " losses=\(text(hostLossEvery)) start-failures=\(startFailuresPerThousand)/1000"
            + " volume-room=\(volumeRoomBytes.map { "\($0 >> 30)Gi" } ?? "-")"
            + " visits=\(text(visitEvery))"
    }
}
