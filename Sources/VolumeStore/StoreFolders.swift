import Glibc
import VolumePlan

/// The folders of a store, open, and the records in one of them.
///
/// - `records`: a small file for each volume; the journal.
/// - `data`, `trash`: files of `loop` volumes and folders of `directory` volumes, by identity.
/// - `mounts`: where attached volumes are mounted, by name.
/// - `working`: where a volume is mounted for the store's own work, by identity.
struct StoreFolders: Sendable {
    /// The store's folder without symbolic links, as the kernel's list of mounts names it.
    let path: String
    let root: OpenFile
    let records: OpenFile
    let data: OpenFile
    let trash: OpenFile
    let mounts: OpenFile
    let work: OpenFile
    private let checkpoint: @Sendable (String) -> Void

    /// Space that is given up when the disk is full, so that deleting can still be written down.
    private static let ballastName = "ballast"
    private static let ballastBytes = 64 << 10
    private static let recordEnd = ".record"
    private static let unfinishedEnd = ".record.new"

    /// Opens the folders and makes those that are missing.
    init(settings: VolumeStoreSettings) throws(VolumeError) {
        let root = try StoreFolders.openRoot(settings.root)
        func open(_ name: String) throws(VolumeError) -> OpenFile {
            let attempt = "open the folder \(settings.root)/\(name)"
            guard mkdirat(root.descriptor, name, 0o700) == 0 || errno == EEXIST else {
                throw .system(attempt: attempt, code: errno)
            }
            let folder = try StoreFolders.openOwn(
                root, name, path: "\(settings.root)/\(name)", attempt: attempt)
            return folder
        }
        self.root = root
        records = try open("records")
        data = try open("data")
        trash = try open("trash")
        mounts = try open("mounts")
        work = try open("working")
        checkpoint = settings.checkpoint ?? { _ in }
        path = try StoreFolders.resolved(settings.root)
        makeBallast()
    }

    private static func openRoot(_ path: String) throws(VolumeError) -> OpenFile {
        var made = ""
        for part in path.split(separator: "/") {
            made += "/\(part)"
            guard mkdir(made, 0o700) == 0 || errno == EEXIST || errno == EROFS else {
                throw .system(attempt: "make the folder \(made)", code: errno)
            }
        }
        let attempt = "open the folder \(path)"
        let root = try OpenFile(path, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
        try requireOwn(root, path: path, attempt: attempt)
        return root
    }

    private static func openOwn(
        _ root: OpenFile, _ name: String, path: String, attempt: String
    ) throws(VolumeError) -> OpenFile {
        do {
            let folder = try OpenFile(
                in: root, name, flags: O_RDONLY | O_DIRECTORY, attempt: attempt)
            try requireOwn(folder, path: path, attempt: attempt)
            return folder
        } catch .system(_, let code) where code == ELOOP || code == ENOTDIR {
            throw .foreign(path: path, what: "no folder but a file or a symbolic link")
        }
    }

    /// Refuses a folder that somebody else could change under our hands.
    private static func requireOwn(
        _ folder: OpenFile, path: String, attempt: String
    ) throws(VolumeError) {
        let facts = try folder.status(attempt: attempt)
        guard facts.st_uid == geteuid(), facts.st_mode & 0o022 == 0 else {
            throw .foreign(
                path: path, what: "a folder that others may write to, or that others own")
        }
    }

    private static func resolved(_ path: String) throws(VolumeError) -> String {
        guard let text = realpath(path, nil) else {
            throw .system(attempt: "resolve the path \(path)", code: errno)
        }
        defer { free(text) }
        return String(cString: text)
    }

    // MARK: - Records

    /// Where a volume's record is.
    func recordPath(_ id: VolumeID) -> String { "\(path)/records/\(id)\(StoreFolders.recordEnd)" }

    /// Brings a record to the disk, whole or not at all.
    ///
    /// `essential`: the ballast may be given up for it, since it is a step towards more space.
    func write(_ record: VolumeRecord, essential: Bool) throws(VolumeError) {
        do {
            try writeOnce(record)
        } catch {
            guard essential, error.isDiskFull,
                unlinkat(root.descriptor, StoreFolders.ballastName, 0) == 0
            else { throw error }
            try writeOnce(record)
        }
        makeBallast()
    }

    private func writeOnce(_ record: VolumeRecord) throws(VolumeError) {
        let attempt = "write the record of \(record.name), \(recordPath(record.id))"
        let unfinished = "\(record.id)\(StoreFolders.unfinishedEnd)"
        checkpoint("write record \(record.state.summary)")
        // A leftover of a crash, or a symbolic link that somebody put there.
        unlinkat(records.descriptor, unfinished, 0)
        do throws(VolumeError) {
            let file = try OpenFile(
                in: records, unfinished, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600,
                attempt: attempt)
            try file.writeAll(Array(record.text.utf8), attempt: attempt)
            try file.synchronize(attempt: attempt)
            checkpoint("rename record \(record.state.summary)")
            guard
                renameat(
                    records.descriptor, unfinished, records.descriptor,
                    "\(record.id)\(StoreFolders.recordEnd)") == 0
            else { throw VolumeError.system(attempt: attempt, code: errno) }
        } catch {
            unlinkat(records.descriptor, unfinished, 0)
            throw error
        }
        try records.synchronize(attempt: attempt)
        checkpoint("wrote record \(record.state.summary)")
    }

    /// Removes a record for good; fine when there is none.
    func remove(_ id: VolumeID) throws(VolumeError) {
        checkpoint("remove record")
        let attempt = "remove the record \(recordPath(id))"
        guard
            unlinkat(records.descriptor, "\(id)\(StoreFolders.recordEnd)", 0) == 0
                || errno == ENOENT
        else { throw .system(attempt: attempt, code: errno) }
        try records.synchronize(attempt: attempt)
        checkpoint("removed record")
    }

    /// What the folder of records holds.
    struct Contents {
        var records: [VolumeRecord] = []
        /// Records that cannot be read: what to tell about each, with the volume's identity.
        var damaged: [(id: VolumeID, error: VolumeError)] = []
        /// Names of files that are no records.
        var foreign: [String] = []
        /// Names of records that were never finished, and so never counted.
        var unfinished: [String] = []
    }

    /// Reads all records.
    func readRecords() throws(VolumeError) -> Contents {
        var contents = Contents()
        for name in try records.names(attempt: "list \(path)/records") {
            if name.hasSuffix(StoreFolders.unfinishedEnd),
                VolumeID(name.dropLast(StoreFolders.unfinishedEnd.count)) != nil
            {
                contents.unfinished.append(name)
            } else if name.hasSuffix(StoreFolders.recordEnd),
                let id = VolumeID(name.dropLast(StoreFolders.recordEnd.count))
            {
                do throws(VolumeError) {
                    contents.records.append(try readRecord(id))
                } catch {
                    contents.damaged.append((id, error))
                }
            } else {
                contents.foreign.append(name)
            }
        }
        return contents
    }

    private func readRecord(_ id: VolumeID) throws(VolumeError) -> VolumeRecord {
        let attempt = "read the volume record \(recordPath(id))"
        let file = try OpenFile(
            in: records, "\(id)\(StoreFolders.recordEnd)", flags: O_RDONLY | O_NONBLOCK,
            attempt: attempt)
        let facts = try file.status(attempt: attempt)
        guard isRegular(facts.st_mode) else {
            throw .foreign(path: recordPath(id), what: "no regular file")
        }
        let bytes = try file.readAll(maximum: VolumeRecord.textBytesMax, attempt: attempt)
        do throws(RecordDamage) {
            let record = try VolumeRecord(text: String(decoding: bytes, as: UTF8.self))
            guard record.id == id else { throw RecordDamage.line("id") }
            return record
        } catch {
            throw .damagedRecord(path: recordPath(id), error)
        }
    }

    /// Removes a record that was never finished.
    func removeUnfinished(_ name: String) { unlinkat(records.descriptor, name, 0) }

    /// Lays the ballast again if the disk has room for it; no harm when it has not.
    private func makeBallast() {
        let name = StoreFolders.ballastName
        var facts = stat()
        let isThere =
            fstatat(root.descriptor, name, &facts, AT_SYMLINK_NOFOLLOW) == 0
            && isRegular(facts.st_mode) && facts.st_size == StoreFolders.ballastBytes
        guard !isThere else { return }
        unlinkat(root.descriptor, name, 0)
        guard
            let file = try? OpenFile(
                in: root, name, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600,
                attempt: "lay the ballast")
        else { return }
        if posix_fallocate(file.descriptor, 0, off_t(StoreFolders.ballastBytes)) != 0 {
            unlinkat(root.descriptor, name, 0)
        }
    }
}
