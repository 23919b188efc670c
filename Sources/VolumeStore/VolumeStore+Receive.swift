import ClusterModel
import Glibc
import VolumePlan

/// A volume of another host, as far as a copy of it must know.
package struct VolumeOriginal: Hashable, Sendable {
    /// Its name.
    package var name: VolumeName
    /// Its identity there.
    package var id: VolumeID
    /// How it is kept, there and here.
    package var volumeClass: VolumeClass
    /// The file system inside.
    package var fileSystem: FileSystemKind
    /// Its capacity in bytes.
    package var size: Int
    /// Which service it belongs to.
    package var owner: UInt64

    package init(
        name: VolumeName, id: VolumeID, volumeClass: VolumeClass, fileSystem: FileSystemKind,
        size: Int, owner: UInt64
    ) {
        self.name = name
        self.id = id
        self.volumeClass = volumeClass
        self.fileSystem = fileSystem
        self.size = size
        self.owner = owner
    }
}

/// Copying volumes between hosts, piece by piece; folders file by file, in VolumeStore+Trees.swift.
///
/// A copy is kept over a crash and nobody's volume; the log decides what becomes of it.
extension VolumeStore {
    // MARK: Where it comes from

    /// Opens a volume for copying while it is used: what is read may be torn, and a later pass over
    /// the volume at rest finds every piece that changed.
    package func openForCopying(_ name: VolumeName) async throws -> VolumeBlocks {
        let record = try requireReady(name)
        return try await openBlocks(record)
    }

    /// Runs the body while the volume is in no use and cannot get into any.
    ///
    /// Throws `inUse` while somebody has it.
    package func atRest<Value: Sendable>(
        _ name: VolumeName, _ body: @Sendable (VolumeBlocks) async throws -> Value
    ) async throws -> Value {
        try await resting(name) { record in
            let blocks = try await openBlocks(record)
            // What was written past the page cache must not be hidden by what is in it.
            _ = posix_fadvise(blocks.file.descriptor, 0, 0, POSIX_FADV_DONTNEED)
            return try await body(blocks)
        }
    }

    /// Keeps others from a volume that nobody uses while the body runs.
    func resting<Value: Sendable>(
        _ name: VolumeName, _ body: (VolumeRecord) async throws -> Value
    ) async throws -> Value {
        try await alone(with: name) {
            let record = try requireReady(name)
            try requireUnused(record)
            return try await body(record)
        }
    }

    private func openBlocks(_ record: VolumeRecord) async throws -> VolumeBlocks {
        let attempt = "copy \(record.name)"
        switch record.volumeClass {
        case .loop:
            return try VolumeBlocks(
                try openImageFile(record, attempt: attempt), size: record.size, attempt: attempt)
        case .lvm:
            let device = try await activateLogicalVolume(record, attempt: attempt)
            // LVM's names are symbolic links.
            guard let resolved = realpath(device, nil) else {
                throw VolumeError.system(attempt: attempt, code: errno)
            }
            defer { free(resolved) }
            let file = try OpenFile(String(cString: resolved), flags: O_RDWR, attempt: attempt)
            return try VolumeBlocks(file, size: record.size, attempt: attempt)
        case .directory:
            throw VolumeError.badRequest(
                "\(record.name) is of class directory: it has files, and no blocks to copy")
        }
    }

    /// The digests of some pieces.
    package func digests(
        of blocks: VolumeBlocks, _ pieces: Range<Int>
    ) throws -> [PieceDigest] {
        try pieces.map { try blocks.digest($0) }
    }

    /// One piece; no bytes stand for zeros.
    package func read(_ piece: Int, of blocks: VolumeBlocks) throws -> [UInt8] {
        try blocks.read(piece)
    }

    // MARK: Where it goes

    /// The copies here, under way or whole.
    package func receivedCopies() throws -> [VolumeRecord] {
        guard isRecovered else { throw VolumeError.notRecovered }
        return records.values.filter { $0.state == .receiving }.sorted { $0.id < $1.id }
    }

    /// Throws when a copy of this volume cannot be made here: its class, its room, its name.
    package func requireReceivable(_ original: VolumeOriginal) async throws {
        guard isRecovered else { throw VolumeError.notRecovered }
        if let known = record(named: original.name) {
            throw VolumeError.exists(original.name, difference: "is another (\(known.id))")
        }
        if original.volumeClass == .directory { try VolumeStore.requireTreeTools() }
        let isHere = records.values.contains {
            $0.state == .receiving && $0.origin == original.id && $0.size == original.size
        }
        guard !isHere else { return }
        let attempt = "copy \(original.name) here"
        if original.volumeClass == .lvm { try await requirePoolSpace(attempt: attempt) }
        try requireSpace(original.size, volumeClass: original.volumeClass, attempt: attempt)
    }

    /// Makes what a volume of another host will be copied into, or finds what is there of it.
    package func beginReceiving(_ original: VolumeOriginal) async throws -> VolumeRecord {
        try await requireReceivable(original)
        return try await alone(with: original.name) {
            for record in try receivedCopies() where record.name == original.name {
                if record.origin == original.id, record.size == original.size,
                    record.volumeClass == original.volumeClass, record.owner == original.owner
                {
                    return record
                }
                try await discard(record)
            }
            let attempt = "make room for the copy of \(original.name)"
            var record = VolumeRecord(
                id: newID(), name: original.name, volumeClass: original.volumeClass,
                fileSystem: original.fileSystem, size: original.size, createdAt: settings.now(),
                origin: original.id, project: try newProject(original.volumeClass),
                owner: original.owner, state: .making(.creation))
            try save(record)
            try await undoingFailure(of: record) {
                switch record.volumeClass {
                case .loop: _ = try makeImageFile(record, attempt: attempt)
                case .lvm:
                    try await makeLogicalVolume(record, attempt: attempt, isEmpty: true)
                case .directory: try await makeTreeCopy(record, attempt: attempt)
                }
                record.state = .receiving
                try save(record)
            }
            return record
        }
    }

    /// Opens a copy for writing.
    package func openCopy(_ id: VolumeID) async throws -> VolumeBlocks {
        try await openBlocks(try requireCopy(id))
    }

    /// Writes a piece of a copy; no bytes stand for zeros.
    package func write(_ piece: Int, _ bytes: [UInt8], to blocks: VolumeBlocks) throws {
        checkpoint("write piece")
        try blocks.write(piece, bytes)
    }

    /// Brings a copy to the disk.
    package func settle(_ blocks: VolumeBlocks) throws {
        try blocks.settle()
        checkpoint("settled copy")
    }

    /// Makes a copy the volume that it is a copy of: its slot has moved here.
    @discardableResult
    package func acceptCopy(_ id: VolumeID) async throws -> VolumeRecord {
        guard let name = records[id]?.name else { throw VolumeError.notInTrash(id) }
        return try await alone(with: name) {
            guard var record = records[id] else { throw VolumeError.notInTrash(id) }
            guard record.state == .receiving else { return record }
            if let known = self.record(named: record.name) {
                throw VolumeError.exists(record.name, difference: "is another (\(known.id))")
            }
            checkpoint("accept copy")
            record.state = .ready
            try limitDirectory(record, attempt: "limit \(record.name)")
            try save(record)
            return record
        }
    }

    /// Removes a copy that came to nothing, for good: its original is untouched.
    package func discardCopy(_ id: VolumeID) async throws {
        guard let name = records[id]?.name else { return }
        try await alone(with: name) {
            guard let record = records[id], record.state == .receiving else { return }
            try await discard(record)
        }
    }

    private func discard(_ record: VolumeRecord) async throws {
        var record = record
        record.state = .removing
        try save(record, essential: true)
        try await removeBacking(record)
        try forget(record.id)
    }

    func requireCopy(_ id: VolumeID) throws(VolumeError) -> VolumeRecord {
        guard let record = records[id], record.state == .receiving else {
            throw .badRequest("there is no copy \(id) under way")
        }
        return record
    }
}
