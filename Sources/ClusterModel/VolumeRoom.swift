/// Bytes of volumes, by what keeps them.
package struct VolumeRoom: Hashable, Sendable {
    /// On the host's disk: volumes of class `loop` and `directory`.
    package var diskBytes: Int
    /// In the host's thin pool: volumes of class `lvm`.
    package var poolBytes: Int

    package init(diskBytes: Int = 0, poolBytes: Int = 0) {
        self.diskBytes = diskBytes
        self.poolBytes = poolBytes
    }

    /// The room of one volume; a negative size is none.
    package init(_ bytes: Int, of volumeClass: VolumeClass) {
        self.init()
        switch volumeClass {
        case .lvm: poolBytes = max(bytes, 0)
        case .loop, .directory: diskBytes = max(bytes, 0)
        }
    }

    /// The room of all volumes of one set.
    package init(_ volumes: [VolumeSpec]) {
        self = volumes.reduce(VolumeRoom()) { $0 + VolumeRoom($1.sizeBytes, of: $1.volumeClass) }
    }

    /// The sum; stops at `Int.max`, since sizes come from other hosts.
    package static func + (left: VolumeRoom, right: VolumeRoom) -> VolumeRoom {
        VolumeRoom(
            diskBytes: saturatingSum(left.diskBytes, right.diskBytes),
            poolBytes: saturatingSum(left.poolBytes, right.poolBytes))
    }

    /// What is needed beyond `other`: never less than none.
    package func beyond(_ other: VolumeRoom) -> VolumeRoom {
        VolumeRoom(
            diskBytes: max(0, saturatingSum(diskBytes, -max(other.diskBytes, 0))),
            poolBytes: max(0, saturatingSum(poolBytes, -max(other.poolBytes, 0))))
    }
}

/// What a host can promise to volumes in all; what it has promised already is part of it.
///
/// The host works it out from its disk and its thin pool, and tells when it changed.
package struct VolumeOffer: Hashable, Sendable {
    /// Bytes of its disk for volumes of class `loop` and `directory` together.
    package var diskBytes: Int
    /// Bytes of its thin pool, for volumes of class `lvm`; nil without one that works.
    package var poolBytes: Int?
    /// Whether it can keep volumes of class `loop`.
    package var hasLoop: Bool

    package init(diskBytes: Int, poolBytes: Int? = nil, hasLoop: Bool = true) {
        self.diskBytes = diskBytes
        self.poolBytes = poolBytes
        self.hasLoop = hasLoop
    }

    /// True when every amount is within what one host may say of itself.
    package var isSane: Bool {
        let range = 0...HostFactsBounds.volumeBytesMax
        return range.contains(diskBytes) && range.contains(poolBytes ?? 0)
    }
}
