import ClusterModel
import Glibc
import VolumePlan

/// Something about a volume could not be done: says what was attempted, why not, and what to do.
package enum VolumeError: Error, Sendable, CustomStringConvertible {
    /// The settings break these rules.
    case badSettings([String])
    /// What was asked for can never be right.
    case badRequest(String)
    /// `recover` has not run yet in this start of the agent.
    case notRecovered
    /// Another process works on the same folder.
    case storeTaken(path: String)
    /// No volume answers to the name.
    case notFound(VolumeName)
    /// The trash has no volume of this identity.
    case notInTrash(VolumeID)
    /// A volume of the name is there already, and differs.
    case exists(VolumeName, difference: String)
    /// Somebody still uses the volume.
    case inUse(VolumeName, by: String)
    /// It would have to be detached for this.
    case attached(VolumeName, attempt: String, cause: String)
    /// The disk is full or too much of it is promised.
    case noSpace(attempt: String, wanted: Int?, free: Int, promised: Int)
    /// The settings allow no more volumes on the disk.
    case capacityReached(attempt: String, wanted: Int, promised: Int, capacity: Int)
    /// The thin pool is full or nearly so.
    case poolFull(attempt: String, pool: String, percent: Int)
    /// The metadata of the thin pool is full or nearly so, whatever room for data there is.
    case poolMetadataFull(attempt: String, pool: String, percent: Int)
    /// The content does not fit into the smaller size.
    case contentTooLarge(VolumeName, used: Int, wanted: Int)
    /// The copy differs from what it was copied from.
    case copyDiffers(VolumeName, path: String, cause: String)
    /// Something that is not ours stands where a volume's file should.
    case foreign(path: String, what: String)
    /// A record cannot be read; nothing is done to its volume until it can.
    case damagedRecord(path: String, RecordDamage)
    /// A program is not on the machine.
    case programMissing(program: String, package: String)
    /// The kernel or its configuration cannot do what is asked for.
    case kernelLacks(feature: String, cause: String, advice: String)
    /// A system call failed.
    case system(attempt: String, code: Int32)
    /// A tool failed.
    case tool(attempt: String, cause: String)
    /// The caller no longer wants it; nothing of it is left.
    case cancelled(attempt: String)

    package var description: String {
        switch self {
        case .badSettings(let problems):
            "the volume settings are wrong: \(problems.joined(separator: "; "))"
        case .badRequest(let sentence): sentence
        case .notRecovered:
            "volumes are not ready: the agent is still looking at what the last start left; try "
                + "again in a moment"
        case .storeTaken(let path):
            "another agent, or a tool that it started, still works on the volumes in \(path); end "
                + "it, or give this agent a folder of its own"
        case .notFound(let name):
            "there is no volume \(name) here; `shoal volumes` names those there are"
        case .notInTrash(let id):
            "the trash has no volume \(id); `shoal volumes` names those it has"
        case .exists(let name, let difference):
            "the volume \(name) is there already, but \(difference); delete it first, or take "
                + "another name"
        case .inUse(let name, let user):
            "the volume \(name) is in use by \(user); stop what uses it and try again"
        case .attached(let name, let attempt, let cause):
            "cannot \(attempt) \(name) while it is attached: \(cause)"
        default: technicalDescription
        }
    }

    private var technicalDescription: String {
        switch self {
        case .noSpace(let attempt, let wanted, let free, let promised):
            "cannot \(attempt): "
                + (wanted.map { "it needs \(Quantity.display(bytes: $0)), but of " } ?? "of ")
                + "\(Quantity.display(bytes: free)) free, "
                + "\(Quantity.display(bytes: promised)) are promised to volumes that have not "
                + "used them yet; free space on the disk, or empty the trash"
        case .capacityReached(let attempt, let wanted, let promised, let capacity):
            "cannot \(attempt): it needs \(Quantity.display(bytes: wanted)), and "
                + "\(Quantity.display(bytes: promised)) of the \(Quantity.display(bytes: capacity)) "
                + "that the agent's configuration gives to volumes (volume-space) are promised; "
                + "raise that, or empty the trash"
        case .poolFull(let attempt, let pool, let percent):
            "cannot \(attempt): the thin pool \(pool) is \(percent) % full; extend it with "
                + "`lvextend -L +10G \(pool)`, or empty the trash"
        case .poolMetadataFull(let attempt, let pool, let percent):
            "cannot \(attempt): the metadata of the thin pool \(pool) is \(percent) % full, and "
                + "the rest is what LVM and the kernel keep; extend it with "
                + "`lvextend --poolmetadatasize +64M \(pool)`, or empty the trash"
        case .contentTooLarge(let name, let used, let wanted):
            "cannot shrink \(name) to \(Quantity.display(bytes: wanted)): its content takes "
                + "\(Quantity.display(bytes: used)); remove files or take a larger size"
        case .copyDiffers(let name, let path, let cause):
            "the copy of \(name) differs at `\(path)`: \(cause); the original is untouched, and "
                + "the copy was thrown away: check the disk, then try again"
        case .foreign(let path, let what):
            "\(path) is \(what), which Shoal did not put there; move it away and try again"
        case .damagedRecord(let path, let damage):
            "the volume record \(path) cannot be read (\(damage)); its volume is left alone: "
                + "restore the file from a backup, or move it away to give the volume up"
        case .programMissing(let program, let package):
            "the program `\(program)` is not on this machine; install it with "
                + "`apt-get install \(package)` and try again"
        case .kernelLacks(let feature, let cause, let advice):
            "this machine cannot do \(feature): \(cause); \(advice)"
        case .system(let attempt, let code):
            "cannot \(attempt): \(String(cString: strerror(code)))\(VolumeError.advice(code))"
        case .tool(let attempt, let cause): "cannot \(attempt): \(cause)"
        case .cancelled(let attempt): "stopped before it was done: \(attempt); nothing is changed"
        default: "the volume cannot be used"
        }
    }

    /// True when the disk was full.
    package var isDiskFull: Bool {
        switch self {
        case .noSpace, .capacityReached, .poolFull, .poolMetadataFull: true
        case .system(_, let code): code == ENOSPC || code == EDQUOT
        default: false
        }
    }

    private static func advice(_ code: Int32) -> String {
        switch code {
        case ENOSPC, EDQUOT: "; free space on the disk, or empty the trash"
        case EIO: "; the disk reports errors: look into the kernel's log"
        case EROFS: "; the file system is read-only: look into the kernel's log"
        case ELOOP: "; a symbolic link stands in the way: remove it"
        default: ""
        }
    }
}
