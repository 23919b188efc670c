import FoundationEssentials
import VolumePlan

/// A line that `restic backup --json` wrote; what it may hold beyond this is left alone.
struct BackupLine: Decodable {
    /// `status`, `summary`, `error`, `verbose_status`.
    var kind: String
    var totalBytes: UInt64?
    var doneBytes: UInt64?
    var snapshot: String?
    var addedBytes: UInt64?
    var processedBytes: UInt64?

    private enum CodingKeys: String, CodingKey {
        case kind = "message_type"
        case totalBytes = "total_bytes"
        case doneBytes = "bytes_done"
        case snapshot = "snapshot_id"
        case addedBytes = "data_added"
        case processedBytes = "total_bytes_processed"
    }

    /// Reads a line; nil when it is none.
    init?(_ bytes: [UInt8]) {
        guard bytes.first == UInt8(ascii: "{"),
            let line = try? JSONDecoder().decode(BackupLine.self, from: Data(bytes))
        else { return nil }
        self = line
    }
}

/// A snapshot in the output of `restic snapshots --json`.
struct ListedSnapshot: Decodable {
    var id: String
    var time: String
    var tags: [String]?
    var hostname: String?
}

/// A group in the output of `restic forget --json`.
struct ForgetGroup: Decodable {
    var keep: [ListedSnapshot]?
    var remove: [ListedSnapshot]?
}

/// The output of `restic stats --json --mode raw-data`.
struct ListedSize: Decodable {
    var bytes: UInt64
    var snapshots: UInt64?

    private enum CodingKeys: String, CodingKey {
        case bytes = "total_size"
        case snapshots = "snapshots_count"
    }
}

/// The output of `restic cat lock`.
struct ListedLock: Decodable {
    var hostname: String
    var pid: Int32
}

/// Reads what restic wrote.
enum ResticOutput {
    /// A whole document.
    ///
    /// Throws ``BackupError/failed(attempt:cause:)`` when it is none.
    static func decode<Value: Decodable>(
        _ type: Value.Type, _ bytes: [UInt8], attempt: String
    ) throws(BackupError) -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch {
            throw .failed(
                attempt: attempt,
                cause: "restic answered what cannot be read: "
                    + String(decoding: bytes.prefix(200), as: UTF8.self))
        }
    }
}

/// What travels with a snapshot as tags: no comma may be in one.
enum SnapshotTags {
    /// What our own tags begin with; a caller's may not.
    private static let prefix = "shoal-"

    /// Our tags for a snapshot.
    static func make(
        digest: ContentDigest, bytes: Int, files: Int, volumeSize: Int?, root: RootFacts
    ) -> [String] {
        [
            "shoal-digest=\(digest)", "shoal-bytes=\(bytes)", "shoal-files=\(files)",
            "shoal-root=\(root.text)",
        ] + (volumeSize.map { ["shoal-size=\($0)"] } ?? [])
    }

    /// Why a caller's tag cannot be one; nil when it can.
    static func problem(_ tag: String) -> String? {
        let isProper =
            (1...128).contains(tag.utf8.count)
            && tag.utf8.allSatisfy { $0 > 32 && $0 < 127 && $0 != UInt8(ascii: ",") }
        guard isProper, !tag.hasPrefix(prefix) else {
            return "`\(tag.prefix(128))` is no tag for a backup: tags are 1 to 128 letters, digits "
                + "and signs without blanks or commas, and do not begin with `shoal-`"
        }
        return nil
    }

    /// The snapshot that a listed one is; nil when its identity or time cannot be right.
    static func snapshot(_ listed: ListedSnapshot) -> BackupSnapshot? {
        guard listed.id.utf8.count == 64,
            listed.id.utf8.allSatisfy({ 48...57 ~= $0 || 97...102 ~= $0 }),
            let time = SnapshotTime.seconds(listed.time)
        else { return nil }
        let tags = listed.tags ?? []
        func value(_ name: String) -> Substring? {
            let start = "shoal-\(name)="
            return tags.first { $0.hasPrefix(start) }?.dropFirst(start.count)
        }
        func number(_ name: String) -> Int? {
            value(name).flatMap { Int($0) }.flatMap { $0 < 0 ? nil : $0 }
        }
        return BackupSnapshot(
            id: listed.id, time: time, bytes: number("bytes") ?? 0, files: number("files") ?? 0,
            addedBytes: nil, contentDigest: value("digest").flatMap { ContentDigest($0) },
            volumeSize: number("size"), tags: tags.filter { !$0.hasPrefix(prefix) },
            root: value("root").flatMap { RootFacts($0) })
    }
}

/// Reads times as Go writes them: `2026-11-24T22:15:58.051611825Z`, or with `+02:00` at the end.
enum SnapshotTime {
    /// Seconds since 1970; nil for anything else.
    static func seconds(_ text: String) -> Double? {
        let form = /(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)/
        guard text.utf8.count <= 40, let match = text.wholeMatch(of: form)?.output,
            let year = Int(match.1), let month = Int(match.2), let day = Int(match.3),
            let hour = Int(match.4), let minute = Int(match.5), let second = Int(match.6),
            (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 61
        else { return nil }
        let fraction = match.7.flatMap { Double("0\($0)") } ?? 0
        var offset = 0
        if match.8 != "Z" {
            guard let hours = Int(match.8.dropFirst().prefix(2)),
                let minutes = Int(match.8.suffix(2))
            else { return nil }
            offset = (hours * 60 + minutes) * 60 * (match.8.hasPrefix("-") ? -1 : 1)
        }
        let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second
        return Double(seconds - offset) + fraction
    }

    /// Days since 1970 in the Gregorian calendar; March is the first month of its year, so that the
    /// day that leap years add is the last.
    private static func days(_ year: Int, _ month: Int, _ day: Int) -> Int {
        let shifted = month > 2 ? year : year - 1
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
            - 719_468
    }
}
