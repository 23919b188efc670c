import Base
import ClusterModel
import Foundation
import ImageStore

/// What a host keeps on disk of one of its sets, so that the next start of the agent finds it.
///
/// Written before the first step of making the set and removed after the last step of ending it: a
/// crash between any two leaves a record, and the record says what to finish.
struct SetRecord: Codable, Hashable, Sendable {
    /// The set.
    var slot: SlotID
    /// The decision it runs for.
    var placementIndex: UInt64
    /// The address it was given; four bytes.
    var address: [UInt8]
    /// The template it was made from.
    var spec: ServiceSpec
    /// The template's revision; nil in records of the first form.
    var revision: UInt64?
    /// The entry that created its service; nil in records of the first form.
    var owner: UInt64?
    /// The manifests its containers were made from, in the order of the spec: a restart takes the
    /// same again, also when the reference leads elsewhere by then.
    var images: [String]
    /// True once all its containers were started for the first time.
    var started: Bool

    /// True when its parts belong together: what is no whole record must not be acted on.
    ///
    /// Not whether the spec keeps today's rules; those may have become stricter while it ran.
    var isConsistent: Bool {
        let names = spec.containers.map(\.name)
        return slot.service == spec.name && slot.ordinal >= 0 && address.count == 4
            && !names.isEmpty && Set(names).count == names.count && images.count <= names.count
            && images.allSatisfy { Digest($0) != nil }
    }
}

/// The records of this host's sets: one small file each, replaced atomically.
struct SetRecords: Sendable {
    private let folder: String

    init(folder: String) throws {
        self.folder = folder
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700])
    }

    private func path(_ slot: SlotID) -> String { "\(folder)/\(slot).json" }

    func write(_ record: SetRecord) throws {
        let data = try JSONEncoder().encode(record)
        try DurableFile.write(Array(data), to: path(record.slot))
    }

    func remove(_ slot: SlotID) {
        try? FileManager.default.removeItem(atPath: path(slot))
    }

    /// The largest file that can be a record: the texts of a spec have 128 KiB, escaped six times
    /// as much.
    static let bytesMax = 4 << 20

    /// Every record that can be read; the names of files that cannot come second.
    ///
    /// A file cannot be read when it is no whole record, or the record of another set than its name
    /// says.
    func all() -> (records: [SetRecord], unreadable: [String]) {
        var records: [SetRecord] = []
        var unreadable: [String] = []
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        for name in names.sorted() where name.hasSuffix(".json") {
            if let record = read(name) {
                records.append(record)
            } else {
                unreadable.append(name)
            }
        }
        return (records, unreadable)
    }

    private func read(_ name: String) -> SetRecord? {
        let path = "\(folder)/\(name)"
        guard let facts = try? FileManager.default.attributesOfItem(atPath: path),
            facts[.type] as? FileAttributeType == .typeRegular,
            let size = facts[.size] as? Int, size <= SetRecords.bytesMax,
            let data = FileManager.default.contents(atPath: path),
            let record = try? JSONDecoder().decode(SetRecord.self, from: data),
            record.isConsistent, "\(record.slot).json" == name
        else { return nil }
        return record
    }
}
