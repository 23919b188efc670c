import ClusterModel
import Glibc
import VolumePlan

extension VolumeStore {
    /// Makes an empty volume; fine when it is there already and the same.
    ///
    /// Throws `exists` when another one has the name, `noSpace` or `poolFull` when it does not fit,
    /// `kernelLacks` and `programMissing` when this machine cannot keep such volumes.
    @discardableResult
    package func create(_ request: VolumeRequest) async throws -> VolumeRecord {
        let size = try checkedSize(request)
        return try await alone(with: request.name) {
            if let existing = record(named: request.name) {
                try requireSame(existing, request, size: size)
                return existing
            }
            let attempt = "make the volume \(request.name)"
            if request.volumeClass == .lvm { try await requirePoolSpace(attempt: attempt) }
            try requireSpace(size, volumeClass: request.volumeClass, attempt: attempt)
            var record = VolumeRecord(
                id: newID(), name: request.name, volumeClass: request.volumeClass,
                fileSystem: request.fileSystem, size: size, createdAt: settings.now(),
                project: try newProject(request.volumeClass), owner: request.owner,
                state: .making(.creation))
            try save(record)
            try await undoingFailure(of: record) {
                try await makeBacking(record, attempt: attempt)
                record.state = .ready
                try save(record)
            }
            return record
        }
    }

    /// Runs the steps that make a volume; should one fail, takes away what they made.
    ///
    /// Should that fail as well, the record stays and `recover` tries again.
    func undoingFailure(
        of record: VolumeRecord, _ body: () async throws -> Void
    ) async throws {
        do {
            try await body()
        } catch {
            // A record that stands has been acknowledged, whatever failed after it.
            if case .making? = records[record.id]?.state { try? await undo(record) }
            throw error
        }
    }

    /// Takes a volume away that was never acknowledged.
    func undo(_ record: VolumeRecord) async throws {
        try await unmountWork(record.id)
        try await removeBacking(record)
        try forget(record.id)
    }

    // MARK: - Checks

    /// The size in whole MiB; throws when it can never be right.
    private func checkedSize(_ request: VolumeRequest) throws(VolumeError) -> Int {
        guard request.name.snapshot == nil else {
            throw .badRequest(
                "`\(request.name)` names a snapshot; make one with `shoal volume snapshot`")
        }
        let isHost = request.fileSystem == .host
        guard isHost == (request.volumeClass == .directory) else {
            throw .badRequest(
                "a volume of class \(request.volumeClass.rawValue) cannot have the file system "
                    + "\(request.fileSystem.rawValue): `directory` has the host's, `loop` and "
                    + "`lvm` have ext4 or xfs")
        }
        return try VolumeStore.wholeSize(
            request.size, name: request.name, fileSystem: request.fileSystem)
    }

    /// A size in whole MiB, within bounds.
    static func wholeSize(
        _ size: Int, name: VolumeName, fileSystem: FileSystemKind
    ) throws(VolumeError) -> Int {
        guard (1...VolumeRecord.sizeMax).contains(size), size >= fileSystem.smallestSize else {
            throw .badRequest(
                "the size of \(name) must be at least "
                    + "\(Quantity.display(bytes: fileSystem.smallestSize)) for "
                    + "\(fileSystem.rawValue), and at most 1 PiB")
        }
        let unit = 1 << 20
        return (size + unit - 1) / unit * unit
    }

    private func requireSame(
        _ record: VolumeRecord, _ request: VolumeRequest, size: Int
    ) throws(VolumeError) {
        let difference: String? =
            if record.volumeClass != request.volumeClass {
                "has class \(record.volumeClass.rawValue)"
            } else if record.fileSystem != request.fileSystem {
                "has file system \(record.fileSystem.rawValue)"
            } else if record.size != size {
                "has a size of \(Quantity.display(bytes: record.size))"
            } else {
                nil
            }
        if let difference { throw .exists(request.name, difference: difference) }
    }

    /// Throws unless the disk still has so many bytes that nobody was promised.
    ///
    /// A sparse file takes its blocks when they are first written, and then it is too late to say
    /// no: the file system inside would lose what its owner believes written. What is there briefly
    /// does not count against the room that the settings give to volumes.
    func requireSpace(
        _ size: Int, volumeClass: VolumeClass, isBrief: Bool = false, attempt: String
    ) throws(VolumeError) {
        guard volumeClass != .lvm, !settings.allowsOvercommit else { return }
        if !isBrief { try requireCapacity(size, attempt: attempt) }
        let free = try folders.data.space(attempt: attempt).free
        let promised = promisedBytes()
        guard size <= free - promised - settings.reserveBytes else {
            throw .noSpace(
                attempt: attempt, wanted: size, free: free,
                promised: promised + settings.reserveBytes)
        }
    }

    /// Bytes of the disk that a volume's content takes now; its size where that is not known.
    func takenBytes(_ record: VolumeRecord) -> Int {
        let taken =
            switch record.volumeClass {
            case .lvm, .loop: fileAllocated(record)
            case .directory: measured[record.id]?.used
            }
        return min(record.size, taken ?? record.size)
    }

    /// Bytes of the disk that volumes were promised and have not taken yet.
    private func promisedBytes() -> Int {
        records.values.reduce(0) { sum, record in
            switch record.volumeClass {
            case .lvm: return sum
            case .loop: return sum + max(0, record.size - (fileAllocated(record) ?? 0))
            case .directory: return sum + max(0, record.size - (measured[record.id]?.used ?? 0))
            }
        }
    }
}
