import ClusterModel

/// The file system inside a volume.
package enum FileSystemKind: String, Hashable, Sendable, CaseIterable {
    case ext4
    case xfs
    /// The host's own, of which a `directory` volume is a folder.
    case host

    /// The smallest volume that can hold one, in bytes: mke2fs wants room for its journal, and
    /// mkfs.xfs 6.0 and newer refuses less than 300 MiB.
    package var smallestSize: Int {
        switch self {
        case .ext4: 8 << 20
        case .xfs: 300 << 20
        case .host: 4_096
        }
    }
}

/// All that a host knows of one volume; on disk in one small file, replaced as a whole.
///
/// The state is also the journal: it is written before the first step of an operation, and says
/// what to finish or undo when the steps after it were cut off.
package struct VolumeRecord: Hashable, Sendable {
    /// Its identity.
    package let id: VolumeID
    /// What people call it; of a volume in the trash: called it.
    package var name: VolumeName
    /// How it is kept.
    package let volumeClass: VolumeClass
    /// The file system inside.
    package let fileSystem: FileSystemKind
    /// Its capacity in bytes, file system included.
    package var size: Int
    /// When it was made, in seconds since 1970.
    package let createdAt: Int
    /// The volume whose content it began with.
    package let origin: VolumeID?
    /// The project that the host's file system counts it under; 0 for none.
    package let project: UInt32
    /// Which service it was made for or given to, as the maker counts them; 0 for none.
    ///
    /// A service that is deleted and made again has the same name and another number.
    package var owner: UInt64
    /// Where it is in its life, and the operation under way.
    package var state: VolumeState

    package init(
        id: VolumeID, name: VolumeName, volumeClass: VolumeClass, fileSystem: FileSystemKind,
        size: Int, createdAt: Int, origin: VolumeID? = nil, project: UInt32 = 0,
        owner: UInt64 = 0, state: VolumeState
    ) {
        self.id = id
        self.name = name
        self.volumeClass = volumeClass
        self.fileSystem = fileSystem
        self.size = size
        self.createdAt = createdAt
        self.origin = origin
        self.project = project
        self.owner = owner
        self.state = state
    }

    /// The largest capacity in bytes: 2^50, as for every quantity.
    package static let sizeMax = 1 << 50
}

/// Where a volume is in its life.
package enum VolumeState: Hashable, Sendable {
    /// Being made, and not acknowledged to anybody: undone after a crash.
    case making(VolumeMaking)
    /// In use or ready for it.
    case ready
    /// Becoming larger: finished after a crash, and its size stays the old one until then.
    case growing(to: Int)
    /// A verified copy that takes the place of another volume, which goes to the trash: finished
    /// after a crash.
    case replacing(VolumeID)
    /// A copy of a volume of another host, under way or whole: kept over a crash, and nobody's volume
    /// until the cluster says that its slot has moved here.
    case receiving
    /// Deleted, but kept until it expires.
    case trashed(at: Int, reason: TrashReason)
    /// Being removed for good: finished after a crash.
    case removing
}

/// Why a volume is being made.
package enum VolumeMaking: String, Hashable, Sendable, CaseIterable {
    /// Empty.
    case creation
    /// As a snapshot of its origin.
    case snapshot
    /// As a copy of its origin.
    case clone
    /// As a smaller copy of its origin, whose place it will take.
    case shrink
}

/// Why a volume is in the trash.
package enum TrashReason: String, Hashable, Sendable, CaseIterable {
    /// Somebody deleted it.
    case deleted
    /// A smaller copy took its place.
    case shrunk
}

extension VolumeState {
    /// True when the volume answers to its name.
    package var holdsName: Bool {
        switch self {
        case .ready, .growing, .replacing: true
        case .making, .receiving, .trashed, .removing: false
        }
    }

    /// True in the trash.
    package var isTrashed: Bool {
        if case .trashed = self { return true }
        return false
    }

    /// The state in a word or two.
    package var summary: String {
        switch self {
        case .making(let making): "making (\(making.rawValue))"
        case .ready: "ready"
        case .growing: "growing"
        case .replacing: "replacing"
        case .receiving: "receiving"
        case .trashed: "in the trash"
        case .removing: "removing"
        }
    }
}
