import Base
import Consensus
import Wire

/// The tables of the log, and what is checked when they are read.
struct LogDatabase {
    /// The newest version of the tables that this program knows.
    static let schemaVersion: UInt64 = 1
    /// The fact that says how far the log is known to be committed.
    private static let commitFact = "log.commit-index"

    let database: Database

    init(path: String) throws(StorageError) {
        database = try Database(path: path)
        // EXCLUSIVE before the first access: no other process, and no shared-memory file.
        // FULL in WAL mode: every commit is on the disk before it is reported.
        try database.execute(
            """
            PRAGMA locking_mode = EXCLUSIVE;
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = FULL;
            PRAGMA trusted_schema = OFF;
            """, to: "open")
        try createTables()
    }

    private func createTables() throws(StorageError) {
        try database.transaction(to: "open") { () throws(StorageError) in
            try database.execute(
                "CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL) STRICT", to: "open")
            let query = try Statement(database, "SELECT max(version) FROM schema", to: "open")
            let version = try query.step() ? query.number(0) : 0
            guard version <= LogDatabase.schemaVersion else {
                throw StorageError(
                    kind: .newerVersion, operation: "open", path: database.path,
                    reason: "its tables have version \(version), this program knows "
                        + "\(LogDatabase.schemaVersion)",
                    nextStep: "start the version of shoal that wrote it, or a newer one")
            }
            guard version == 0 else { return }
            try database.execute(
                """
                CREATE TABLE entries (entry_index INTEGER PRIMARY KEY, epoch INTEGER NOT NULL,
                    payload BLOB NOT NULL, checksum INTEGER NOT NULL) STRICT;
                CREATE TABLE hard_state (id INTEGER PRIMARY KEY CHECK (id = 1),
                    epoch INTEGER NOT NULL, voted_for BLOB, checksum INTEGER NOT NULL) STRICT;
                CREATE TABLE snapshots (log_index INTEGER PRIMARY KEY, content BLOB NOT NULL,
                    checksum INTEGER NOT NULL) STRICT;
                CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
                INSERT INTO schema (version) VALUES (1);
                """, to: "open")
        }
    }

    // MARK: - Writing

    /// Makes requests durable, in order, all or none.
    func persist(_ requests: [PersistRequest]) throws(StorageError) {
        try database.transaction(to: "write") { () throws(StorageError) in
            for request in requests { try apply(request) }
        }
    }

    private func apply(_ request: PersistRequest) throws(StorageError) {
        if let hardState = request.hardState { try write(hardState) }
        if let index = request.truncateFrom {
            try change("DELETE FROM entries WHERE entry_index >= ?", index)
        }
        try write(request.entries, snapshot: request.snapshot)
        if let snapshot = request.snapshot {
            let content = snapshot.encoded
            let statement = try Statement(
                database,
                "INSERT OR REPLACE INTO snapshots (log_index, content, checksum) VALUES (?, ?, ?)",
                to: "write")
            try statement.bind(snapshot.index.value, at: 1)
            try statement.bind(content, at: 2)
            try statement.bind(fingerprint(content), at: 3)
            try statement.run()
            try change("DELETE FROM snapshots WHERE log_index < ?", snapshot.index)
        }
        if let index = request.compactThrough {
            try change("DELETE FROM entries WHERE entry_index <= ?", index)
        }
        if let index = request.commitIndex { try write(commitIndex: index) }
    }

    /// Kept among the facts: it is no part of the log, and older versions do without.
    private func write(commitIndex: LogIndex) throws(StorageError) {
        let statement = try Statement(
            database, "INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", to: "write")
        try statement.bind(text: LogDatabase.commitFact, at: 1)
        try statement.bind(encoded(commitIndex), at: 2)
        try statement.run()
    }

    private func write(_ hardState: HardState) throws(StorageError) {
        let statement = try Statement(
            database,
            "INSERT OR REPLACE INTO hard_state (id, epoch, voted_for, checksum) VALUES (1, ?, ?, ?)",
            to: "write")
        try statement.bind(hardState.epoch.value, at: 1)
        try statement.bind(hardState.votedFor?.bytes, at: 2)
        try statement.bind(checksum(of: hardState), at: 3)
        try statement.run()
    }

    private func write(_ entries: [LogEntry], snapshot: LogSnapshot?) throws(StorageError) {
        guard let first = entries.first else { return }
        let last = try Statement(
            database,
            """
            SELECT max(coalesce((SELECT max(entry_index) FROM entries), 0),
                coalesce((SELECT max(log_index) FROM snapshots), 0))
            """, to: "write")
        let lastIndex = try last.step() ? last.number(0) : 0
        guard first.index.value == lastIndex + 1 else {
            throw StorageError(
                kind: .failed, operation: "write", path: database.path,
                reason: "entry \(first.index) does not follow entry \(lastIndex)",
                nextStep: "this is a fault of shoal: report it, and start the agent again")
        }
        let statement = try Statement(
            database,
            "INSERT INTO entries (entry_index, epoch, payload, checksum) VALUES (?, ?, ?, ?)",
            to: "write")
        for entry in entries {
            let payload = entry.encoded
            try statement.bind(entry.index.value, at: 1)
            try statement.bind(entry.epoch.value, at: 2)
            try statement.bind(payload, at: 3)
            try statement.bind(fingerprint(payload), at: 4)
            try statement.run()
        }
    }

    private func change(_ text: String, _ index: LogIndex) throws(StorageError) {
        let statement = try Statement(database, text, to: "write")
        try statement.bind(index.value, at: 1)
        try statement.run()
    }

    // MARK: - Reading

    /// Reads everything and refuses what is damaged or does not fit together.
    func load() throws(StorageError) -> RestoredLog {
        let restored = RestoredLog(
            hardState: try loadHardState(), snapshot: try loadSnapshot(),
            entries: try loadEntries(), commitIndex: try loadCommitIndex())
        let start = restored.snapshot?.index ?? .zero
        guard restored.commitIndex <= max(restored.entries.last?.index ?? .zero, start) else {
            throw database.corrupt(
                "entry \(restored.commitIndex) was known to be committed, and is not there")
        }
        if let first = restored.entries.first, let last = restored.entries.last {
            guard first.index <= start.next, last.index >= start else {
                throw database.corrupt(
                    "entries \(first.index) to \(last.index) do not meet the snapshot at \(start)")
            }
            guard restored.hardState.epoch >= last.epoch else {
                throw database.corrupt(
                    "entry \(last.index) is of epoch \(last.epoch), but the highest epoch seen "
                        + "is \(restored.hardState.epoch)")
            }
        }
        return restored
    }

    private func loadHardState() throws(StorageError) -> HardState {
        let query = try Statement(
            database, "SELECT epoch, voted_for, checksum FROM hard_state", to: "load")
        guard try query.step() else { return HardState() }
        var state = HardState(epoch: Epoch(query.number(0)))
        if let bytes = query.bytes(1) {
            guard let voted = HostID(bytes: bytes) else {
                throw database.corrupt("the vote is not a host's identity")
            }
            state.votedFor = voted
        }
        guard checksum(of: state) == query.number(2), state.epoch.value <= LogEntry.numberMax else {
            throw database.corrupt("the checksum of epoch and vote is wrong")
        }
        return state
    }

    private func loadCommitIndex() throws(StorageError) -> LogIndex {
        guard let bytes = try value(for: LogDatabase.commitFact) else { return .zero }
        var reader = ByteReader(bytes)
        guard let index = (try? reader.readUInt64()).map(LogIndex.init), encoded(index) == bytes
        else {
            throw database.corrupt("the note of how far the log is committed is damaged")
        }
        return index
    }

    private func loadSnapshot() throws(StorageError) -> LogSnapshot? {
        let query = try Statement(
            database,
            "SELECT content, checksum, log_index FROM snapshots ORDER BY log_index DESC LIMIT 1",
            to: "load")
        guard try query.step() else { return nil }
        let content = query.bytes(0) ?? []
        guard fingerprint(content) == query.number(1),
            let snapshot = try? LogSnapshot(decoding: content),
            snapshot.index.value == query.number(2)
        else {
            throw database.corrupt("the snapshot at \(query.number(2)) is damaged")
        }
        return snapshot
    }

    private func loadEntries() throws(StorageError) -> [LogEntry] {
        let query = try Statement(
            database,
            "SELECT entry_index, epoch, payload, checksum FROM entries ORDER BY entry_index",
            to: "load")
        var entries: [LogEntry] = []
        while try query.step() {
            let index = query.number(0)
            let payload = query.bytes(2) ?? []
            guard fingerprint(payload) == query.number(3),
                let entry = try? LogEntry(decoding: payload), entry.index.value == index,
                entry.epoch.value == query.number(1)
            else {
                throw database.corrupt("entry \(index) is damaged")
            }
            if let last = entries.last {
                guard entry.index == last.index.next, entry.epoch >= last.epoch else {
                    throw database.corrupt("entry \(index) does not follow entry \(last.index)")
                }
            }
            entries.append(entry)
        }
        return entries
    }

    // MARK: - Facts

    /// A local fact; nil when there is none of that name.
    func value(for name: String) throws(StorageError) -> [UInt8]? {
        let query = try Statement(
            database, "SELECT value FROM facts WHERE name = ?", to: "read a fact in")
        try query.bind(text: name, at: 1)
        return try query.step() ? query.bytes(0) : nil
    }

    /// Sets or removes a local fact.
    func set(_ value: [UInt8]?, for name: String) throws(StorageError) {
        try database.transaction(to: "write a fact to") { () throws(StorageError) in
            let text =
                value == nil
                ? "DELETE FROM facts WHERE name = ?1"
                : "INSERT OR REPLACE INTO facts (name, value) VALUES (?1, ?2)"
            let statement = try Statement(database, text, to: "write a fact to")
            try statement.bind(text: name, at: 1)
            if let value { try statement.bind(value, at: 2) }
            try statement.run()
        }
    }
}

/// A checksum against damage, not against an adversary (FNV-1a).
private func fingerprint(_ bytes: [UInt8]) -> UInt64 {
    var hasher = FingerprintHasher()
    hasher.combine(bytes: bytes)
    return hasher.value
}

/// An index with its checksum.
private func encoded(_ index: LogIndex) -> [UInt8] {
    var writer = ByteWriter()
    writer.write(index.value)
    writer.write(fingerprint(writer.bytes))
    return writer.bytes
}

private func checksum(of state: HardState) -> UInt64 {
    var writer = ByteWriter()
    writer.write(state.epoch)
    writer.write(optional: state.votedFor)
    return fingerprint(writer.bytes)
}
