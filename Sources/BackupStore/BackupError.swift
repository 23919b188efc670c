import ClusterModel
import Glibc
import VolumeStore

/// A backup or restore could not be done: says what was attempted, why not, and what to do.
package enum BackupError: Error, Sendable, CustomStringConvertible {
    /// What was asked for can never be right.
    case badRequest(String)
    /// Restic is not on this machine.
    case resticMissing
    /// The folder of a directory target is not there.
    case targetMissing(path: String)
    /// The target does not answer.
    case unreachable(target: String, cause: String)
    /// The target does not let us in.
    case accessDenied(target: String, cause: String)
    /// The repository has another password.
    case wrongPassword(target: String)
    /// A process that may be alive holds the repository's lock.
    case locked(target: String, by: String)
    /// This agent itself works on the repository.
    case busy(target: String, doing: String)
    /// The target has no room.
    case targetFull(target: String)
    /// The folder that was restored into has no room.
    case folderFull(folder: String)
    /// There is no repository yet: nothing was backed up to it.
    case noRepository(target: String)
    /// The repository has no snapshot of that name.
    case noSnapshot(String, target: String)
    /// The repository is damaged.
    case damaged(target: String, cause: String)
    /// Some of the volume's files could not be read; nothing was kept.
    case sourceUnreadable(cause: String)
    /// The volume changed while it was read, or holds what restic cannot keep.
    case notKeepable(path: String, cause: String)
    /// What was restored is not what was backed up.
    case restoredDiffers(snapshot: String, folder: String)
    /// The folder to restore into has something in it.
    case folderNotEmpty(folder: String)
    /// A file or folder of this host could not be used.
    case file(VolumeError)
    /// The work was no longer wanted; the target shows nothing of it.
    case cancelled(attempt: String)
    /// It took longer than allowed and was ended.
    case tookTooLong(attempt: String, limit: Duration)
    /// Restic failed in a way that has no sentence of its own.
    case failed(attempt: String, cause: String)

    package var description: String {
        switch self {
        case .badRequest(let sentence): sentence
        case .resticMissing:
            "the program `restic` is not on this machine; install it with `apt-get install restic` "
                + "and try again"
        case .targetMissing(let path):
            "the backup target \(path) does not exist on this host; mount its disk, or make the "
                + "folder"
        case .unreachable(let target, let cause):
            "the backup target \(target) does not answer (\(cause)); check that it runs and that "
                + "this host reaches it"
        case .accessDenied(let target, let cause):
            "the backup target \(target) does not let us in (\(cause)); check the user, the keys and "
                + "what they may do"
        case .wrongPassword(let target):
            "the repository \(target) has another password: another cluster, or one with another "
                + "secret, made it; name another target, or move it away"
        case .locked(let target, let by):
            "the repository \(target) is locked \(by); wait until that has ended: a lock whose owner "
                + "is gone lapses after 30 minutes"
        case .busy(let target, let doing):
            "this host is \(doing) \(target) already; wait for that"
        case .noRepository(let target):
            "there is no backup at \(target); make one with `shoal volume backup`"
        case .noSnapshot(let id, let target):
            "there is no snapshot \(id.prefix(64)) at \(target); `shoal volume backups` names those "
                + "there are"
        default: contentDescription
        }
    }

    private var contentDescription: String {
        switch self {
        case .targetFull(let target):
            "the backup target \(target) is full; make room there, or keep fewer snapshots: what is "
                + "stored already is whole"
        case .folderFull(let folder):
            "what is to be restored does not fit into \(folder); restore into a larger volume (holes "
                + "in files take room when restored by restic before 0.15)"
        case .damaged(let target, let cause):
            "the repository \(target) is damaged (\(cause)); check the disk below it, then back up "
                + "again to another target, or move it away"
        case .sourceUnreadable(let cause):
            "the volume cannot be read (\(cause)); check its disk: no backup was kept"
        case .notKeepable(let path, let cause):
            "`\(path.prefix(300))` cannot be backed up: \(cause)"
        case .restoredDiffers(let snapshot, let folder):
            "what was restored into \(folder) is not what snapshot \(snapshot) was made of; throw it "
                + "away, check the repository, and restore another snapshot"
        case .folderNotEmpty(let folder):
            "\(folder) is not empty; restore into a new volume"
        case .file(let error): "\(error)"
        case .cancelled(let attempt): "stopped before it was done: \(attempt)"
        case .tookTooLong(let attempt, let limit):
            "cannot \(attempt): it did not end within \(limit); check the target, then try again"
        case .failed(let attempt, let cause): "cannot \(attempt): \(cause)"
        default: "the backup cannot be used"
        }
    }

    /// True when trying again later may help without anybody doing something.
    package var mayPass: Bool {
        switch self {
        case .unreachable, .locked, .busy, .cancelled, .tookTooLong: true
        default: false
        }
    }
}
