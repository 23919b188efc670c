import ClusterModel
import EventLoop
import Glibc
import VolumePlan

/// Copying volumes of class `directory` between hosts: rsync at each, their words carried by the
/// caller from one to the other.
extension VolumeStore {
    /// Throws when this machine lacks a program for copying folders.
    package static func requireTreeTools() throws(VolumeError) {
        for program in TreeCopying.programs { _ = try VolumeTools.path(of: program) }
    }

    // MARK: Where it comes from

    /// Starts to give a volume's files: what it writes to its standard output is for the receiver,
    /// and it reads what that says.
    ///
    /// Of a volume in use, files may be torn; a later pass over the volume at rest finds what
    /// changed. `isThorough` finds it by reading all files on both sides. The command ends with the
    /// agent, or when it is killed.
    package func startGiving(
        _ name: VolumeName, isThorough: Bool
    ) async throws -> RunningCommand {
        let record = try requireTree(try requireReady(name))
        checkpoint("give files")
        return try await tools.start(
            TreeCopying.sender(of: contentPath(record), isThorough: isThorough),
            attempt: "copy \(name)")
    }

    /// Runs the body while a volume of class `directory` is in no use and cannot get into any; it
    /// gets the folder with its files.
    ///
    /// Throws `inUse` while somebody has it.
    package func treeAtRest<Value: Sendable>(
        _ name: VolumeName, _ body: @Sendable (String) async throws -> Value
    ) async throws -> Value {
        try await resting(name) { record in
            try await body(contentPath(try requireTree(record)))
        }
    }

    /// Bytes in use of a volume of class `directory`, as far as they are known without looking at
    /// every file; its capacity otherwise.
    package func treeUsage(_ name: VolumeName) async throws -> Int {
        let record = try requireTree(try requireReady(name))
        guard record.project == 0 else { return try await measure(record).used }
        return measured[record.id]?.used ?? record.size
    }

    // MARK: Where it goes

    /// Starts to take what a sender gives into a copy, beside or over what is there of it.
    package func startTaking(_ id: VolumeID) async throws -> RunningCommand {
        let record = try requireTree(try requireCopy(id))
        let attempt = "copy \(record.name) here"
        try limitDirectory(record, attempt: attempt)
        checkpoint("take files")
        return try await tools.start(
            TreeCopying.receiver(into: contentPath(record)), attempt: attempt)
    }

    /// Throws when a copy takes more than it may, or the disk of the store has come to its end; to
    /// be called every now and then while files arrive.
    ///
    /// Where the disk counts by project, the kernel keeps the bound by itself.
    package func requireBounded(_ id: VolumeID) async throws {
        let record = try requireCopy(id)
        let attempt = "copy \(record.name) here"
        let free = try folders.data.space(attempt: attempt).free
        guard free >= settings.reserveBytes else {
            throw VolumeError.noSpace(
                attempt: attempt, wanted: nil, free: free, promised: settings.reserveBytes)
        }
        guard record.project == 0 else { return }
        let usage = try await measure(record)
        guard usage.used <= limit(of: record) else {
            throw VolumeError.tool(
                attempt: attempt,
                cause: "it takes more than twice its capacity of "
                    + "\(Quantity.display(bytes: record.size)); grow it, or remove files")
        }
    }

    /// Brings a copy to the disk; returns the folder with its files.
    package func settleTree(_ id: VolumeID) async throws -> String {
        let path = contentPath(try requireTree(try requireCopy(id)))
        try synchronizeFileSystem(at: path, attempt: "synchronize \(path)")
        checkpoint("settled copy")
        return path
    }

    /// Makes the empty copy, and finds out now whether its slot could start with it.
    func makeTreeCopy(_ record: VolumeRecord, attempt: String) async throws {
        try makeDirectory(record, attempt: attempt)
        try await mountWork(record, isReadOnly: true)
        try await unmountWork(record.id)
    }

    private func requireTree(_ record: VolumeRecord) throws(VolumeError) -> VolumeRecord {
        guard record.volumeClass == .directory else {
            throw .badRequest(
                "\(record.name) is of class \(record.volumeClass.rawValue): no folder")
        }
        return record
    }
}
