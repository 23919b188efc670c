import ClusterModel
import VolumePlan

/// What volume to make.
package struct VolumeRequest: Hashable, Sendable {
    /// What to call it; without a snapshot's label.
    package var name: VolumeName
    /// How to keep it.
    package var volumeClass: VolumeClass
    /// Its capacity in bytes, file system included; rounded up to whole MiB.
    package var size: Int
    /// The file system inside: ext4 or xfs; of `directory` volumes always the host's.
    package var fileSystem: FileSystemKind
    /// Which service it is for, as the caller counts them; 0 for none.
    package var owner: UInt64

    package init(
        name: VolumeName, volumeClass: VolumeClass, size: Int, fileSystem: FileSystemKind? = nil,
        owner: UInt64 = 0
    ) {
        self.name = name
        self.volumeClass = volumeClass
        self.size = size
        self.owner = owner
        self.fileSystem = fileSystem ?? (volumeClass == .directory ? .host : .ext4)
    }
}

/// How to mount a volume; set-user-id programs and device files never work in one.
package struct VolumeMountOptions: Hashable, Sendable {
    /// Nobody may write.
    package var isReadOnly: Bool
    /// No program in it may be started.
    package var forbidsPrograms: Bool
    /// Access times are not kept.
    package var omitsAccessTimes: Bool

    package init(
        isReadOnly: Bool = false, forbidsPrograms: Bool = false, omitsAccessTimes: Bool = true
    ) {
        self.isReadOnly = isReadOnly
        self.forbidsPrograms = forbidsPrograms
        self.omitsAccessTimes = omitsAccessTimes
    }
}

/// A mounted volume.
package struct AttachedVolume: Hashable, Sendable {
    /// Its identity.
    package var id: VolumeID
    /// Where it is mounted: to be bound into containers, and the same each time.
    package var path: String
    /// True when nobody may write at the moment.
    package var isReadOnly: Bool
}

/// How much of a volume is used.
package struct VolumeUsage: Hashable, Sendable {
    /// Bytes in use, the file system's own included where it has one.
    package var used: Int
    /// Its capacity in bytes.
    package var capacity: Int
    /// Bytes that it takes of the disk or pool below it.
    package var allocated: Int

    package init(used: Int, capacity: Int, allocated: Int) {
        self.used = used
        self.capacity = capacity
        self.allocated = allocated
    }
}

/// One volume as it is now.
package struct VolumeStatus: Hashable, Sendable {
    /// What the host keeps on disk about it.
    package var record: VolumeRecord
    /// Where it is mounted; nil when it is not attached.
    package var path: String?
    /// True when it is attached and nobody may write.
    package var isReadOnly: Bool
    /// Bytes that it takes of the disk or pool below it; nil when that could not be found out.
    package var allocated: Int?
    /// How it is otherwise.
    package var condition: VolumeCondition
}

/// How far long work has come.
package struct VolumeProgress: Hashable, Sendable {
    /// What is being done, such as `copying web.3/data`.
    package var doing: String
    /// Bytes done.
    package var done: Int
    /// Bytes in all, as far as is known.
    package var total: Int

    package init(doing: String, done: Int, total: Int) {
        self.doing = doing
        self.done = done
        self.total = total
    }
}

/// Receives progress, now and then, in order.
package typealias VolumeProgressHandler = @Sendable (VolumeProgress) -> Void
