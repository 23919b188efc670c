import Base
import ClusterModel

/// One backup of a volume, as the log knows it: enough to find it, judge it and verify it.
package struct BackupRecord: Hashable, Sendable {
    /// The snapshot's identity in its repository: hexadecimal digits.
    package var id: String
    /// When the content was as it is in the backup.
    package var time: WallTime
    /// The bytes of its files.
    package var sizeBytes: Int
    /// The digest of names, attributes and content of all files; empty when it is not known.
    package var digest: String
    /// True when it was taken from a snapshot; false when the volume was written to meanwhile, so
    /// that files may be of different moments.
    package var isPointInTime: Bool
    /// True when the last drill could not bring it back as it was: nobody should count on it, nor on
    /// what else its repository has.
    package var isDamaged: Bool

    package init(
        id: String, time: WallTime, sizeBytes: Int, digest: String = "",
        isPointInTime: Bool = true, isDamaged: Bool = false
    ) {
        self.id = id
        self.time = time
        self.sizeBytes = sizeBytes
        self.digest = digest
        self.isPointInTime = isPointInTime
        self.isDamaged = isDamaged
    }

    /// True when another one has the same content: of one snapshot, or of one digest.
    package func isSameContent(as other: BackupRecord) -> Bool {
        time == other.time || !digest.isEmpty && digest == other.digest
    }
}

/// The backups of a volume in one repository.
package struct BackupCopy: Hashable, Sendable {
    /// The target as the service file names it, such as `/mnt/backup` or `peers:2`.
    package var target: String
    /// The host that keeps the repository; nil for a target outside the cluster.
    package var host: HostID?
    /// Its backups, oldest first.
    package var backups: [BackupRecord]

    package init(target: String, host: HostID? = nil, backups: [BackupRecord] = []) {
        self.target = target
        self.host = host
        self.backups = backups
    }

    /// True when the last drill of the repository failed; a drill that succeeds ends it.
    package var isDamaged: Bool { backups.contains { $0.isDamaged } }
}

/// How the last drill went: a backup restored beside the volume, verified and removed again.
package struct BackupDrill: Hashable, Sendable {
    /// When it ended.
    package var time: WallTime
    /// The backup.
    package var backup: String
    /// How old the backup was then.
    package var ageMilliseconds: Int
    /// How long restoring and verifying took.
    package var durationMilliseconds: Int
    /// What was wrong; empty when the content was as recorded.
    package var problem: String

    package init(
        time: WallTime, backup: String, ageMilliseconds: Int, durationMilliseconds: Int,
        problem: String = ""
    ) {
        self.time = time
        self.backup = backup
        self.ageMilliseconds = ageMilliseconds
        self.durationMilliseconds = durationMilliseconds
        self.problem = problem.bounded
    }
}

/// Why the last attempt to back up failed.
package struct BackupFailure: Hashable, Sendable {
    /// When.
    package var time: WallTime
    /// Why, and what to do.
    package var reason: String

    package init(time: WallTime, reason: String) {
        self.time = time
        self.reason = reason.bounded
    }
}

/// What the log knows of a volume's backups: what any host needs to restore it when the one that
/// held it is gone.
package struct VolumeBackups: Hashable, Sendable {
    /// The slot.
    package var slot: SlotID
    /// The volume's name in its service.
    package var name: String
    /// The entry that created the service: a later service of that name has others.
    package var owner: LogIndex
    /// What the volume is made of.
    package var volumeClass: VolumeClass
    /// How much it holds, in bytes.
    package var sizeBytes: Int
    /// Where its backups are.
    package var copies: [BackupCopy]
    /// The last drill; nil before the first.
    package var drill: BackupDrill?
    /// Why the last attempt failed; nil when it did not.
    package var failure: BackupFailure?

    package init(
        slot: SlotID, name: String, owner: LogIndex, volumeClass: VolumeClass, sizeBytes: Int,
        copies: [BackupCopy] = [], drill: BackupDrill? = nil, failure: BackupFailure? = nil
    ) {
        self.slot = slot
        self.name = name
        self.owner = owner
        self.volumeClass = volumeClass
        self.sizeBytes = sizeBytes
        self.copies = copies
        self.drill = drill
        self.failure = failure
    }

    /// What people call the volume: `web.3/data`.
    package var title: String { "\(slot)/\(name)" }

    /// What they are sorted and found by.
    var key: Key { Key(slot: slot, name: name, owner: owner) }

    struct Key: Comparable {
        let slot: SlotID
        let name: String
        let owner: LogIndex

        static func < (left: Key, right: Key) -> Bool {
            (left.slot, left.name, left.owner) < (right.slot, right.name, right.owner)
        }
    }

    /// The newest backup of all copies that can be reached, and the copy that has it.
    ///
    /// `isReachable` says it of a host that keeps copies; a target outside counts as reachable. What
    /// is damaged is taken only where nothing else is.
    package func newest(
        isReachable: (HostID) -> Bool = { _ in true }
    ) -> (backup: BackupRecord, copy: BackupCopy)? {
        var best: (backup: BackupRecord, copy: BackupCopy)?
        for copy in copies where copy.host.map(isReachable) ?? true {
            guard let backup = copy.backups.last else { continue }
            if let known = best {
                guard copy.isDamaged == known.copy.isDamaged else {
                    if known.copy.isDamaged { best = (backup, copy) }
                    continue
                }
                if known.backup.time >= backup.time { continue }
            }
            best = (backup, copy)
        }
        return best
    }

    /// Why a copy does not count for the safety of the newest backup.
    package enum CopyFault: Hashable, Sendable {
        /// Its last drill failed.
        case damaged
        /// Nobody answers for it.
        case unreachable
        /// It is on the host of the volume itself, whose disk is counted already.
        case atHome
        /// It has only older backups.
        case older
    }

    /// Why a copy does not count; nil when it does.
    ///
    /// `home` is the host that has the volume.
    package func fault(
        of copy: BackupCopy, home: HostID?, isReachable: (HostID) -> Bool = { _ in true }
    ) -> CopyFault? {
        let newest = copies.compactMap(\.backups.last).max {
            ($0.time, $1.id) < ($1.time, $0.id)
        }
        guard let newest, let last = copy.backups.last, last.isSameContent(as: newest) else {
            return copy.isDamaged ? .damaged : .older
        }
        if copy.isDamaged { return .damaged }
        if let host = copy.host {
            if host == home { return .atHome }
            if !isReachable(host) { return .unreachable }
        }
        return nil
    }

    /// A backup by its identity or a beginning of it that means one only, and its copy.
    package func find(_ id: String) -> (backup: BackupRecord, copy: BackupCopy)? {
        guard id.utf8.count >= VolumeBackups.idBytesMin else { return nil }
        var found: [(backup: BackupRecord, copy: BackupCopy)] = []
        for copy in copies {
            for backup in copy.backups where backup.id.hasPrefix(id) {
                found.append((backup, copy))
            }
        }
        return found.count == 1 ? found[0] : nil
    }

    /// The fewest digits that may stand for a backup.
    package static let idBytesMin = 4

    /// What breaks a bound; nil when the log may keep it.
    var problem: String? {
        if slot.ordinal < 0 || !Naming.isName(slot.service) { return "it is of no slot" }
        if !Naming.isName(name) { return "'\(name.bounded)' is no volume's name" }
        if !(0...HostFactsBounds.amountMax).contains(sizeBytes) { return "its size is no size" }
        if copies.count > Limits.backupCopies {
            return "\(copies.count) copies are more than the \(Limits.backupCopies) that are kept"
        }
        for copy in copies {
            if copy.target.utf8.count > SpecLimits.backupTargetBytes {
                return "a target is longer than \(SpecLimits.backupTargetBytes) bytes"
            }
            if copy.backups.count > Limits.backups {
                return "\(copy.backups.count) backups are more than \(Limits.backups)"
            }
            for backup in copy.backups where !backup.isSane {
                return "'\(backup.id.bounded)' is no backup"
            }
        }
        return nil
    }
}

extension BackupRecord {
    fileprivate var isSane: Bool {
        let isHexadecimal = id.utf8.allSatisfy { 48...57 ~= $0 || 97...102 ~= $0 }
        return isHexadecimal && (8...64).contains(id.utf8.count) && digest.utf8.count <= 128
            && (0...HostFactsBounds.amountMax).contains(sizeBytes)
    }
}

/// The order to bring a slot's volumes back from backups, on a host that then has the slot.
package struct VolumeRestoration: Hashable, Sendable {
    /// One volume and its backup.
    package struct Source: Hashable, Sendable {
        /// The volume's name.
        package var volume: String
        /// The backup; empty for a volume that begins empty, since it has none.
        package var backup: String

        package init(volume: String, backup: String) {
            self.volume = volume
            self.backup = backup
        }
    }

    /// The host that restores, and gets the slot.
    package var host: HostID
    /// Every volume of the slot, as its service has them.
    package var sources: [Source]
    /// The entry that decided it; a newer one replaces it.
    package var index: LogIndex
    /// What is wrong with it so far; empty while nothing is.
    package var problem: String

    package init(
        host: HostID, sources: [Source], index: LogIndex = .zero, problem: String = ""
    ) {
        self.host = host
        self.sources = sources
        self.index = index
        self.problem = problem
    }
}
