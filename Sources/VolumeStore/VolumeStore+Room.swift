import CLinux
import Glibc
import VolumePlan

/// What a store can promise to volumes in all, what it has promised included.
package struct StoreRoom: Hashable, Sendable {
    /// Bytes of the disk, for volumes of class `loop` and `directory` together.
    package var diskBytes: Int
    /// True when the settings limit that, and not the disk, of which others take, too.
    package var isLimited: Bool
    /// Bytes of the disk in all: what changes by less than a part of that is not worth telling.
    package var diskTotalBytes: Int
    /// Bytes of the thin pool; nil without one that works.
    package var poolBytes: Int?
    /// Why the configured pool does not work, in words; empty when it does or none is configured.
    package var poolProblem: String
    /// Whether the kernel has loop devices.
    package var hasLoop: Bool
}

extension VolumeStore {
    /// Measures what can be promised now.
    ///
    /// `isCounted` says which volumes the caller counts itself, by their size: for the others what
    /// they may still take is not offered. A new volume that is just being made counts as counted.
    /// Of a pool that is nearly full, only what its volumes have is offered, so nothing new.
    package func room(isCounted: (VolumeRecord) -> Bool) async throws -> StoreRoom {
        guard isRecovered else { throw VolumeError.notRecovered }
        let space = try folders.data.space(attempt: "measure the disk of \(path)")
        var disk = space.free - settings.reserveBytes
        for record in records.values where record.volumeClass != .lvm {
            let taken = taken(by: record)
            if isCounted(record) {
                disk += taken
            } else if record.state != .making(.creation), record.state != .removing {
                disk -= max(0, record.size - taken)
            }
        }
        let limit = settings.capacityBytes.map { $0 - uncounted(isCounted) }
        var room = StoreRoom(
            diskBytes: max(0, min(disk, limit ?? disk)),
            isLimited: limit.map { $0 <= disk } ?? false, diskTotalBytes: space.total,
            poolBytes: nil, poolProblem: "",
            hasLoop: access("/dev/loop-control", F_OK) == 0)
        guard settings.thinPool != nil else { return room }
        do {
            room.poolBytes = try await poolRoom(isCounted: isCounted)
        } catch {
            room.poolProblem = "\(error)"
        }
        return room
    }

    /// Whether the disk counts by project, so that the limits of `directory` volumes are hard.
    package var hasProjectQuota: Bool {
        clinux_volume_has_project_quota(folders.data.descriptor) == 1
    }

    /// Bytes of the disk that a volume takes now.
    private func taken(by record: VolumeRecord) -> Int {
        switch record.volumeClass {
        case .lvm: 0
        case .loop: fileAllocated(record) ?? 0
        case .directory: measured[record.id]?.used ?? 0
        }
    }

    /// The sizes of volumes on the disk that nobody else counts.
    private func uncounted(_ isCounted: (VolumeRecord) -> Bool) -> Int {
        records.values.reduce(0) { sum, record in
            let isOther =
                record.volumeClass != .lvm && !isCounted(record)
                && record.state != .making(.creation) && record.state != .removing
            return isOther ? sum + record.size : sum
        }
    }

    /// What the pool can promise, less what copies in it that nobody counts have taken.
    private func poolRoom(isCounted: (VolumeRecord) -> Bool) async throws -> Int {
        let pool = try await poolState(attempt: "measure the thin pool")
        let taken = try await logicalVolumeAllocations()
        var counted = 0
        var others = 0
        for record in records.values where record.volumeClass == .lvm {
            if isCounted(record) {
                counted += record.size
            } else if record.state != .making(.creation) {
                others += taken[record.id] ?? 0
            }
        }
        let room = max(0, pool.size - others)
        return pool.isDataNearlyFull || pool.isMetadataNearlyFull ? min(room, counted) : room
    }

    /// Throws when volumes of the disk would be promised more than the settings allow.
    func requireCapacity(_ size: Int, attempt: String) throws(VolumeError) {
        guard let most = settings.capacityBytes else { return }
        let promised = records.values.reduce(0) { sum, record in
            record.volumeClass == .lvm ? sum : sum + record.size
        }
        guard size <= most - promised else {
            throw .capacityReached(
                attempt: attempt, wanted: size, promised: promised, capacity: most)
        }
    }
}
