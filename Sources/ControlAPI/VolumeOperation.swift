import FoundationEssentials

/// Something to be done with one volume, asked at any host and carried out where the volume is.
///
/// Its JSON form is the body of `POST /v1/volumes` and what one agent hands to another, an object of
/// one key: `{"snapshot": {"volume": "web.3/data", "label": "monday"}}`.
///
/// To add an operation: a case here with what it needs and its `subject`, which decides on which
/// host it runs; its work in the agent's `VolumeKeeper.perform`; the fields of its outcome, all
/// optional, in ``VolumeOperationResult``. Routing between hosts, progress and errors then work as
/// they are. An agent that does not know a case refuses it in words.
package enum VolumeOperation: Codable, Hashable, Sendable {
    /// Tell all there is to know of a volume or snapshot.
    case show(volume: String)
    /// Make a snapshot; without a label its time is its label.
    case snapshot(volume: String, label: String?)
    /// Make a volume of its own with the content of a volume or snapshot.
    case clone(volume: String, target: String)
    /// Put a snapshot, or a volume that no slot uses, into the trash.
    case remove(volume: String)
    /// Make a volume smaller.
    case shrink(volume: String, sizeBytes: Int)
    /// Let a full volume be written to for a while, so that files can be removed.
    case clean(volume: String, seconds: Int)
    /// Move a slot with all of its volumes to another host, by its name; `volume` may be any of them
    /// or the slot.
    case move(volume: String, host: String)
    /// Let a slot that is being moved stay where it is.
    case cancelMove(volume: String)
    /// Take one volume out of the trash, under its own name or another.
    case restore(id: String, name: String?)
    /// Remove one volume of the trash for good.
    case purge(id: String)
    /// Back a volume up now, where its service says or to another target.
    case backup(volume: String, to: String?)
    /// Make a new volume with the content of a backup of a volume: the newest, or the one named; on
    /// the host that holds the volume, or the one named.
    case restoreBackup(volume: String, backup: String?, target: String, host: String?)

    /// What it works on.
    package enum Subject: Hashable, Sendable {
        /// The volume or snapshot of this name: `web.3/data`, `web.3/data@monday`.
        case name(String)
        /// The slot of this name, or of a volume of this name: `web.3`, `web.3/data`.
        case slot(String)
        /// The volume of this identity, in the trash too.
        case identity(String)
        /// Whatever there is, on the host of this name.
        case host(String)
    }

    /// What it works on: it runs on the host that holds it.
    package var subject: Subject {
        switch self {
        case .backup(let volume, _): .name(volume)
        case .restoreBackup(let volume, _, _, let host):
            host.map { .host($0) } ?? .name(volume)
        case .show(let volume), .snapshot(let volume, _), .clone(let volume, _),
            .remove(let volume), .shrink(let volume, _), .clean(let volume, _):
            .name(volume)
        case .move(let volume, _), .cancelMove(let volume): .slot(volume)
        case .restore(let id, _), .purge(let id): .identity(id)
        }
    }

    /// The largest JSON form in bytes.
    package static let jsonBytesMax = 16 << 10

    /// The JSON form, keys sorted.
    package var json: [UInt8] { (try? StrictJSON.encode(self)) ?? [] }

    /// Reads the JSON form; throws a refusal that says what is wrong with it.
    package init(json: [UInt8]) throws {
        guard json.count <= VolumeOperation.jsonBytesMax else {
            throw ControlError(
                .tooLarge, "the operation is above \(VolumeOperation.jsonBytesMax) bytes")
        }
        self = try StrictJSON.decodeChoice(VolumeOperation.self, from: json)
    }
}

/// One line of an operation's answer: how far it is, its outcome, or why it failed; exactly one.
package struct VolumeOperationLine: Codable, Hashable, Sendable {
    /// How far it is.
    package var progress: VolumeProgressView?
    /// Its outcome: the last line.
    package var result: VolumeOperationResult?
    /// Why it failed: the last line.
    package var error: ErrorView?

    package init(
        progress: VolumeProgressView? = nil, result: VolumeOperationResult? = nil,
        error: ErrorView? = nil
    ) {
        self.progress = progress
        self.result = result
        self.error = error
    }

    /// The largest JSON form in bytes: a volume may have thousands of snapshots.
    package static let jsonBytesMax = (4 << 20) - 64

    /// The JSON form, keys sorted.
    package var json: [UInt8] { (try? StrictJSON.encode(self)) ?? [] }

    /// Reads the JSON form; keys of a newer agent are left alone.
    package init(json: [UInt8]) throws {
        self = try StrictJSON.decodeLenient(VolumeOperationLine.self, from: json)
    }
}

/// How far long work on a volume is.
package struct VolumeProgressView: Codable, Hashable, Sendable {
    /// What is being done, such as `copying web.3/data`.
    package var doing: String
    /// Bytes done.
    package var doneBytes: Int
    /// Bytes in all, as far as is known.
    package var totalBytes: Int

    package init(doing: String, doneBytes: Int, totalBytes: Int) {
        self.doing = doing
        self.doneBytes = doneBytes
        self.totalBytes = totalBytes
    }
}

/// What an operation on a volume came to.
package struct VolumeOperationResult: Codable, Hashable, Sendable {
    /// What was done, in a sentence for people.
    package var message: String
    /// The volume, as it is now: the one that was made, where one was.
    package var volume: VolumeDetails

    package init(message: String, volume: VolumeDetails) {
        self.message = message
        self.volume = volume
    }
}

/// All there is to know of one volume.
package struct VolumeDetails: Codable, Hashable, Sendable {
    /// What people call it: `web.3/data`, `web.3/data@monday` for a snapshot.
    package var volume: String
    /// Its own identity: sixteen hexadecimal digits.
    package var id: String
    /// The host that holds it.
    package var host: String
    /// `ready`, `growing`, `replacing`, `failed` (its disk or file system), `gone` (its content),
    /// `lost` (its host does not answer), `trash` or `removed`.
    package var state: String
    /// `lvm`, `loop` or `directory`.
    package var `class`: String
    /// `ext4`, `xfs`, or `host` for a folder of the host's own; absent while its host is lost.
    package var fileSystem: String?
    /// How much it holds.
    package var sizeBytes: Int
    /// How much of that is in use, the file system's own included.
    package var usedBytes: Int
    /// What it takes of the disk or pool below it; absent while its host is lost.
    package var allocatedBytes: Int?
    /// Where its host has it mounted; absent while it is not.
    package var path: String?
    /// True when nobody may write to it at the moment.
    package var readOnly: Bool
    /// What is wrong with it and what to do: a sentence; absent when nothing is.
    package var problem: String?
    /// The slot it belongs to; absent when it belongs to none.
    package var slot: String?
    /// Its backups; absent when there are none and none are wanted.
    package var backups: VolumeBackupsView?
    /// When it was made: seconds since 1970.
    package var createdAt: Int?
    /// When it went into the trash: seconds since 1970.
    package var trashedAt: Int?
    /// Its snapshots, by label.
    package var snapshots: [VolumeView]
    /// What lies in the trash under its name.
    package var trash: [VolumeView]

    package init(
        volume: String, id: String, host: String, state: String, class: String,
        fileSystem: String? = nil, sizeBytes: Int, usedBytes: Int, allocatedBytes: Int? = nil,
        path: String? = nil, readOnly: Bool = false, problem: String? = nil,
        slot: String? = nil, createdAt: Int? = nil, trashedAt: Int? = nil,
        snapshots: [VolumeView] = [], trash: [VolumeView] = []
    ) {
        self.volume = volume
        self.id = id
        self.host = host
        self.state = state
        self.class = `class`
        self.fileSystem = fileSystem
        self.sizeBytes = sizeBytes
        self.usedBytes = usedBytes
        self.allocatedBytes = allocatedBytes
        self.path = path
        self.readOnly = readOnly
        self.problem = problem
        self.slot = slot
        self.createdAt = createdAt
        self.trashedAt = trashedAt
        self.snapshots = snapshots
        self.trash = trash
    }
}
