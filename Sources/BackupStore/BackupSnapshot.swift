import VolumePlan

/// One backup of a volume, as it was at one time.
package struct BackupSnapshot: Hashable, Sendable {
    /// Restic's name of it: 64 hexadecimal digits.
    package var id: String
    /// When it was made, in seconds since 1970.
    package var time: Double
    /// Bytes of all files in it, each file's size once.
    package var bytes: Int
    /// How many files, links, folders and other names are in it.
    package var files: Int
    /// What it added to the repository in bytes, before compression; nil unless it was made just now.
    package var addedBytes: Int?
    /// What the tree is, as ``TreeDigest`` says; nil for a snapshot that somebody made by hand.
    package var contentDigest: ContentDigest?
    /// The capacity of the volume in bytes when it was made; nil when that is not known.
    package var volumeSize: Int?
    /// The caller's tags.
    package var tags: [String]
    /// Mode, owner, times and attributes of the volume's own folder.
    var root: RootFacts?

    /// The first digits of ``id``, as people read them.
    package var shortID: String { String(id.prefix(8)) }
}

/// How many of a volume's snapshots are kept: of each kind the newest in so many periods; a snapshot
/// stays when any of these keeps it.
package struct BackupRetention: Hashable, Sendable {
    /// The newest ones, whatever their age.
    package var last: Int
    /// The last of each hour, for so many hours that have one.
    package var hourly: Int
    /// The last of each day.
    package var daily: Int
    /// The last of each week.
    package var weekly: Int
    /// The last of each month.
    package var monthly: Int

    package init(
        last: Int = 0, hourly: Int = 0, daily: Int = 0, weekly: Int = 0, monthly: Int = 0
    ) {
        self.last = last
        self.hourly = hourly
        self.daily = daily
        self.weekly = weekly
        self.monthly = monthly
    }

    /// Restic's options; empty when it would keep nothing.
    var options: [String] {
        let counts = [
            ("last", last), ("hourly", hourly), ("daily", daily), ("weekly", weekly),
            ("monthly", monthly),
        ]
        return counts.filter { $0.1 > 0 }.flatMap { ["--keep-\($0.0)", String($0.1)] }
    }
}

/// How far a backup, a restore or a check has come.
package struct BackupProgress: Hashable, Sendable {
    /// What is being done.
    package enum Phase: String, Hashable, Sendable {
        /// The volume is read once, for its digest.
        case reading
        /// Restic stores what is new.
        case storing
        /// Restic writes the files.
        case restoring
        /// What was restored is read again and compared with the snapshot's digest.
        case verifying
    }

    /// What is being done.
    package var phase: Phase
    /// Bytes that are done in this phase.
    package var done: Int
    /// Bytes that it will be; nil while that is not known.
    package var total: Int?

    package init(phase: Phase, done: Int, total: Int?) {
        self.phase = phase
        self.done = done
        self.total = total
    }
}

/// Told how far work has come, on the engine's thread: it must not block.
package typealias BackupProgressHandler = @Sendable (BackupProgress) -> Void

/// How much of a repository's content a check reads.
package enum BackupCheckDepth: Hashable, Sendable {
    /// The index, the snapshots and the trees: that everything is there, not that it is right.
    case structure
    /// One of so many parts of the content too: part 1 to `of`, of at most 256; checks of all parts
    /// have read everything.
    case part(Int, of: Int)
    /// All of the content.
    case everything
}

/// What a check found.
package struct BackupCheckResult: Hashable, Sendable {
    /// What is wrong, in restic's words, at most 100 lines; empty when nothing is.
    package var problems: [String]

    /// True when nothing is wrong with what was looked at.
    package var isSound: Bool { problems.isEmpty }
}

/// What `forget` did.
package struct BackupForgetting: Hashable, Sendable {
    /// The snapshots that are kept, by their full identities.
    package var kept: [String]
    /// The snapshots that are gone, by their full identities.
    package var removed: [String]
}

/// What a repository takes.
package struct BackupSize: Hashable, Sendable {
    /// Bytes of everything stored, compressed and encrypted.
    package var storedBytes: Int
    /// How many snapshots share them.
    package var snapshots: Int
}
