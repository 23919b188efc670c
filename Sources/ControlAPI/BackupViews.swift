/// The backups of one volume, as `GET /v1/backups` lists them.
package struct VolumeBackupsView: Codable, Hashable, Sendable {
    /// What people call the volume: `web.3/data`.
    package var volume: String
    /// The service.
    package var service: String
    /// The log entry that created the service: a later one of that name has backups of its own.
    package var owner: UInt64
    /// True when no slot has this volume any more.
    package var deleted: Bool
    /// How much the volume holds.
    package var sizeBytes: Int
    /// The time between two backups in seconds; absent when it is not backed up by itself.
    package var everySeconds: Int?
    /// Where its service file sends backups.
    package var to: String?
    /// The backups, the newest first; the same content at two places is listed twice.
    package var backups: [BackupView]
    /// The last drill; absent before the first.
    package var drill: BackupDrillView?
    /// Why the last attempt failed: absent when it did not.
    package var failure: BackupFailureView?
    /// How safe the data is.
    package var durability: DurabilityView

    package init(
        volume: String, service: String, owner: UInt64, deleted: Bool, sizeBytes: Int,
        everySeconds: Int? = nil, to: String? = nil, backups: [BackupView],
        drill: BackupDrillView? = nil, failure: BackupFailureView? = nil,
        durability: DurabilityView
    ) {
        self.volume = volume
        self.service = service
        self.owner = owner
        self.deleted = deleted
        self.sizeBytes = sizeBytes
        self.everySeconds = everySeconds
        self.to = to
        self.backups = backups
        self.drill = drill
        self.failure = failure
        self.durability = durability
    }
}

/// One backup.
package struct BackupView: Codable, Hashable, Sendable {
    /// Its identity: 64 hexadecimal digits, of which the first few are enough for commands.
    package var id: String
    /// When the content was as it is in it: RFC 3339, UTC.
    package var time: String
    /// How old it is, in seconds.
    package var ageSeconds: Int
    /// Bytes of its files.
    package var sizeBytes: Int
    /// Where it is: a host's name, or the target.
    package var place: String
    /// False while the host that keeps it does not answer.
    package var reachable: Bool
    /// False when the volume was written to while it was made.
    package var pointInTime: Bool
    /// The digest of names, attributes and content of all its files.
    package var digest: String
    /// True when the last drill of its repository failed: nobody should count on it.
    package var damaged: Bool

    package init(
        id: String, time: String, ageSeconds: Int, sizeBytes: Int, place: String, reachable: Bool,
        pointInTime: Bool, digest: String, damaged: Bool = false
    ) {
        self.id = id
        self.time = time
        self.ageSeconds = ageSeconds
        self.sizeBytes = sizeBytes
        self.place = place
        self.reachable = reachable
        self.pointInTime = pointInTime
        self.digest = digest
        self.damaged = damaged
    }
}

/// How the last drill went.
package struct BackupDrillView: Codable, Hashable, Sendable {
    /// When it ended: RFC 3339, UTC.
    package var time: String
    /// The backup.
    package var backup: String
    /// How old the backup was, in milliseconds.
    package var ageMilliseconds: Int
    /// How long restoring and verifying took, in milliseconds.
    package var durationMilliseconds: Int
    /// What was wrong; absent when the content was right.
    package var problem: String?

    package init(
        time: String, backup: String, ageMilliseconds: Int, durationMilliseconds: Int,
        problem: String? = nil
    ) {
        self.time = time
        self.backup = backup
        self.ageMilliseconds = ageMilliseconds
        self.durationMilliseconds = durationMilliseconds
        self.problem = problem
    }
}

/// Why a backup failed.
package struct BackupFailureView: Codable, Hashable, Sendable {
    /// When: RFC 3339, UTC.
    package var time: String
    /// Why, and what to do.
    package var reason: String

    package init(time: String, reason: String) {
        self.time = time
        self.reason = reason
    }
}

/// How safe a volume's data is, and what the figure was worked out from.
package struct DurabilityView: Codable, Hashable, Sendable {
    /// Copies on other disks than the volume's own that have the newest backup, answer, and were not
    /// found damaged.
    package var copies: Int
    /// Where these are.
    package var copiesAt: [String]
    /// How many the service file wants; absent for one target, or none.
    package var copiesWanted: Int?
    /// Places that do not count, each with the reason.
    package var notCounted: [String]
    /// Disks that have the data: the volume's own, unless that is lost, and those of the copies.
    package var disks: Int
    /// The share of disks taken to fail in a year.
    package var diskFailuresPerYear: Double
    /// The longest time from a failure until there is another good copy, in seconds.
    package var repairSeconds: Int
    /// The chance that volume and copies are all lost within a year.
    package var lossPerYear: Double
    /// The nines of the share of volumes that keep their data for a year: 4.5 for 99.997 %.
    package var nines: Double
    /// What a loss of the volume's disk alone costs now: what was written in so many seconds; absent
    /// without a backup, when it costs everything.
    package var windowSeconds: Int?

    package init(
        copies: Int, copiesAt: [String] = [], copiesWanted: Int? = nil,
        notCounted: [String] = [], disks: Int, diskFailuresPerYear: Double, repairSeconds: Int,
        lossPerYear: Double, nines: Double, windowSeconds: Int? = nil
    ) {
        self.copies = copies
        self.copiesAt = copiesAt
        self.copiesWanted = copiesWanted
        self.notCounted = notCounted
        self.disks = disks
        self.diskFailuresPerYear = diskFailuresPerYear
        self.repairSeconds = repairSeconds
        self.lossPerYear = lossPerYear
        self.nines = nines
        self.windowSeconds = windowSeconds
    }
}

/// The key of all backups of a cluster.
package struct BackupKeyView: Codable, Hashable, Sendable {
    /// The password of every repository.
    package var password: String
    /// The folder of the cluster in every target.
    package var cluster: String

    package init(password: String, cluster: String) {
        self.password = password
        self.cluster = cluster
    }
}

/// The body of `POST /v1/restorations`: bring a slot's volumes back from backups.
package struct RestorationRequest: Codable, Hashable, Sendable {
    /// One of the slot's volumes: `web.3/data`.
    package var volume: String
    /// The backup of that volume; absent for the newest.
    ///
    /// Other volumes of the slot get their newest.
    package var backup: String?
    /// The host's name; absent for the one that has the volumes, or the best when that is lost.
    package var host: String?
    /// Also when a host that is alive has the volumes: they go into its trash.
    package var replaces: Bool
    /// Volumes of the slot without a backup begin empty.
    package var allowsEmpty: Bool

    package init(
        volume: String, backup: String? = nil, host: String? = nil, replaces: Bool = false,
        allowsEmpty: Bool = false
    ) {
        self.volume = volume
        self.backup = backup
        self.host = host
        self.replaces = replaces
        self.allowsEmpty = allowsEmpty
    }
}

/// What `POST /v1/restorations` began.
package struct RestorationView: Codable, Hashable, Sendable {
    /// The slot.
    package var slot: String
    /// The name of the host that restores, and then runs the set.
    package var host: String
    /// The log entry of the order.
    package var index: UInt64
    /// What is restored, in words.
    package var summary: String

    package init(slot: String, host: String, index: UInt64, summary: String) {
        self.slot = slot
        self.host = host
        self.index = index
        self.summary = summary
    }
}
