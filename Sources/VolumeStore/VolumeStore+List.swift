import Glibc
import VolumePlan

extension VolumeStore {
    /// Every volume and snapshot here, those in the trash too, by name.
    ///
    /// `measuring`: also what each takes of the disk or pool, for which LVM must be asked.
    package func list(measuring: Bool = true) async throws -> [VolumeStatus] {
        guard isRecovered else { throw VolumeError.notRecovered }
        let table = try mountTable()
        var statuses: [VolumeStatus] = []
        let before = records
        let allocated = measuring ? try await logicalVolumeAllocations() : [:]
        if measuring { lookAtContent(table, known: before, logical: allocated) }
        for record in records.values {
            let entry =
                record.state.holdsName ? table.mount(at: mountPath(record)) : nil
            let bytes: Int? =
                switch record.volumeClass {
                case .loop: fileAllocated(record)
                case .directory: measured[record.id]?.allocated
                case .lvm: allocated[record.id]
                }
            statuses.append(
                VolumeStatus(
                    record: record, path: entry?.mountPoint,
                    isReadOnly: entry.map {
                        $0.options.contains("ro") || VolumeStore.hasStopped($0)
                    } ?? false,
                    allocated: bytes, condition: condition(record, isMounted: entry != nil)))
        }
        return statuses.sorted { ($0.record.name, $0.record.id) < ($1.record.name, $1.record.id) }
    }

    /// Records that cannot be read: their volumes are here, under names that nobody knows.
    package var damagedRecords: [VolumeID] { damaged.sorted() }

    /// What there is of one volume; throws `notFound`.
    package func find(_ name: VolumeName) throws(VolumeError) -> VolumeRecord {
        try requireReady(name)
    }
}
