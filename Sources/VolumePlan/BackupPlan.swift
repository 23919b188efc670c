import Base
import ClusterModel

/// When a volume's backup is due.
package enum BackupSchedule {
    /// True when a backup should be made now.
    ///
    /// Times in seconds of one clock. Every volume has its own moment within the period, by the hash
    /// of its name, so that a cluster's volumes are not all backed up at once. What was missed while
    /// the host was off is caught up with one backup. A volume without one is due at once.
    package static func isDue(now: Int, last: Int?, every: Int, volume: String) -> Bool {
        guard let last else { return true }
        guard every > 0 else { return false }
        let offset = Int(truncatingIfNeeded: hash(of: volume) % UInt64(every))
        // The last moment of this volume that is not after now; rounds down also below zero.
        let since = now - offset
        let periods = since >= 0 ? since / every : (since - every + 1) / every
        return last < periods * every + offset
    }

    /// How long after so many failures in a row the next attempt waits, in seconds: a minute at
    /// first, doubled each time, at most an hour and at most the period.
    package static func retryDelay(failures: Int, every: Int) -> Int {
        guard failures > 0 else { return 0 }
        return min(max(every, 1), min(60 << min(failures - 1, 6), 3_600))
    }

    static func hash(of text: String) -> UInt64 {
        var hasher = FingerprintHasher()
        for byte in text.utf8 { hasher.combine(byte) }
        return hasher.value
    }
}

/// Which hosts keep a volume's backups.
package enum BackupHolders {
    /// A live host that could.
    package struct Candidate: Hashable, Sendable {
        /// The host.
        package var id: HostID
        /// Where it stands.
        package var zone: Zone

        package init(id: HostID, zone: Zone) {
            self.id = id
            self.zone = zone
        }
    }

    /// Chooses so many hosts for a volume on `home`, which is none of them.
    ///
    /// Those that keep them already stay, so that nothing is copied without need. Each further one
    /// stands in a rack that has neither the volume nor a copy, where there is one, and of those in
    /// a datacentre that has neither; among equals the highest hash of volume and host wins
    /// (rendezvous hashing: a host that comes or goes moves no other's). The answer is the same for
    /// any order of `candidates`. Fewer when there are fewer hosts. Those of `avoiding` come last,
    /// also when they keep one already: a host that refused is better than none.
    package static func choose(
        _ count: Int, for volume: String, home: Candidate, among candidates: [Candidate],
        keeping current: [HostID] = [], avoiding avoided: [HostID] = []
    ) -> [HostID] {
        var left = candidates.filter { $0.id != home.id }
        // Nobody else can win where enough keep them already; asked each second for each volume.
        let keepers = left.filter { current.contains($0.id) && !avoided.contains($0.id) }
        if keepers.count >= count { left = keepers }
        var chosen: [Candidate] = []
        while chosen.count < count, !left.isEmpty {
            let ranked = left.indices.map { position in
                (rank(left[position], volume, [home] + chosen, current, avoided), position)
            }
            guard let best = ranked.min(by: { $0.0 < $1.0 }) else { break }
            chosen.append(left.remove(at: best.1))
        }
        return chosen.map(\.id)
    }

    /// Lower is better.
    private struct Rank: Comparable {
        let isAvoided: Int
        let isNew: Int
        let sharesRack: Int
        let sharesDatacenter: Int
        let score: UInt64
        let id: HostID

        static func < (left: Rank, right: Rank) -> Bool {
            let (a, b) = (
                (left.isAvoided, left.isNew, left.sharesRack, left.sharesDatacenter),
                (right.isAvoided, right.isNew, right.sharesRack, right.sharesDatacenter)
            )
            if a != b { return a < b }
            return (left.score, left.id) < (right.score, right.id)
        }
    }

    private static func rank(
        _ candidate: Candidate, _ volume: String, _ taken: [Candidate], _ current: [HostID],
        _ avoided: [HostID]
    ) -> Rank {
        var hasher = FingerprintHasher()
        for byte in candidate.id.bytes { hasher.combine(byte) }
        for byte in volume.utf8 { hasher.combine(byte) }
        return Rank(
            isAvoided: avoided.contains(candidate.id) ? 1 : 0,
            isNew: current.contains(candidate.id) ? 0 : 1,
            sharesRack: taken.count { $0.zone == candidate.zone },
            sharesDatacenter: taken.count { $0.zone.datacenter == candidate.zone.datacenter },
            score: UInt64.max - hasher.value, id: candidate.id)
    }
}
