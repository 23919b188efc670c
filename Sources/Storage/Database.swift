import CSQLite
import Glibc

/// One SQLite connection.
///
/// Used by one thread only, and so not Sendable.
final class Database {
    /// The file.
    let path: String
    fileprivate let handle: OpaquePointer

    /// Opens or creates the file and takes it for this connection alone.
    init(path: String) throws(StorageError) {
        self.path = path
        var opened: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
        let code = sqlite3_open_v2(path, &opened, flags, nil)
        guard code == SQLITE_OK, let opened else {
            let error = Database.error(code, of: opened, "open", path)
            sqlite3_close_v2(opened)
            throw error
        }
        handle = opened
        sqlite3_extended_result_codes(handle, 1)
    }

    deinit { sqlite3_close_v2(handle) }

    /// Runs statements that give no rows.
    func execute(_ text: String, to operation: String) throws(StorageError) {
        let code = sqlite3_exec(handle, text, nil, nil, nil)
        guard code == SQLITE_OK else { throw error(code, operation) }
    }

    /// Runs `body` in one transaction; on an error nothing of it remains.
    func transaction(
        to operation: String, _ body: () throws(StorageError) -> Void
    ) throws(StorageError) {
        try execute("BEGIN IMMEDIATE", to: operation)
        do {
            try body()
            try execute("COMMIT", to: operation)
        } catch {
            // SQLite ends the transaction itself on some errors; then there is none to roll back.
            if sqlite3_get_autocommit(handle) == 0 {
                sqlite3_exec(handle, "ROLLBACK", nil, nil, nil)
            }
            throw error
        }
    }

    /// The error that a result code stands for.
    func error(_ code: Int32, _ operation: String) -> StorageError {
        Database.error(code, of: handle, operation, path)
    }

    /// What is stored is not what was written.
    func corrupt(_ reason: String) -> StorageError {
        StorageError(
            kind: .corrupt, operation: "load", path: path, reason: reason,
            nextStep: "keep the file for diagnosis, check the disk, and let this host join again "
                + "with an empty data folder")
    }

    private static func error(
        _ code: Int32, of handle: OpaquePointer?, _ operation: String, _ path: String
    ) -> StorageError {
        let message = String(cString: sqlite3_errmsg(handle) ?? sqlite3_errstr(code))
        let noSpace = handle.map { sqlite3_system_errno($0) == ENOSPC } ?? false
        let kind: StorageError.Kind
        let nextStep: String
        let primary = code & 0xFF
        switch primary == SQLITE_IOERR && noSpace ? SQLITE_FULL : primary {
        case SQLITE_FULL:
            kind = .diskFull
            nextStep = "free space on its file system; the agent goes on by itself"
        case SQLITE_BUSY, SQLITE_LOCKED:
            kind = .locked
            nextStep = "another agent uses this data folder: stop it, or use another folder"
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            kind = .corrupt
            nextStep =
                "keep the file for diagnosis, check the disk, and let this host join again "
                + "with an empty data folder"
        default:
            kind = .failed
            nextStep = "check the disk and the folder's permissions; the agent tries again"
        }
        return StorageError(
            kind: kind, operation: operation, path: path,
            reason: "\(message) (SQLite code \(code))", nextStep: nextStep)
    }
}

/// A prepared statement with typed parameters and columns, freed with its last use.
struct Statement: ~Copyable {
    private let database: Database
    private let handle: OpaquePointer
    private let operation: String

    init(_ database: Database, _ text: String, to operation: String) throws(StorageError) {
        var prepared: OpaquePointer?
        let code = sqlite3_prepare_v2(database.handle, text, -1, &prepared, nil)
        guard code == SQLITE_OK, let prepared else { throw database.error(code, operation) }
        self.database = database
        self.operation = operation
        handle = prepared
    }

    deinit { sqlite3_finalize(handle) }

    /// Sets a parameter, counted from 1.
    func bind(_ value: UInt64, at position: Int32) throws(StorageError) {
        try check(sqlite3_bind_int64(handle, position, Int64(bitPattern: value)))
    }

    /// Sets a parameter, counted from 1.
    func bind(_ value: [UInt8]?, at position: Int32) throws(StorageError) {
        guard let value else { return try check(sqlite3_bind_null(handle, position)) }
        guard !value.isEmpty else {
            return try check(sqlite3_bind_zeroblob(handle, position, 0))
        }
        // SQLITE_TRANSIENT, which Swift cannot see: SQLite copies the bytes.
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        try check(
            value.withUnsafeBytes {
                sqlite3_bind_blob64(
                    handle, position, $0.baseAddress, UInt64($0.count), transient)
            })
    }

    /// Sets a parameter, counted from 1.
    func bind(text value: String, at position: Int32) throws(StorageError) {
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        try check(sqlite3_bind_text(handle, position, value, -1, transient))
    }

    /// Goes to the next row; false when there is none.
    func step() throws(StorageError) -> Bool {
        switch sqlite3_step(handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        case let code: throw database.error(code, operation)
        }
    }

    /// Runs to the end and makes the statement ready for other parameters.
    func run() throws(StorageError) {
        defer { sqlite3_reset(handle) }
        while try step() {}
    }

    /// A column of the row, counted from 0, as a number.
    func number(_ column: Int32) -> UInt64 {
        UInt64(bitPattern: sqlite3_column_int64(handle, column))
    }

    /// A column of the row, counted from 0, as bytes; nil for NULL.
    func bytes(_ column: Int32) -> [UInt8]? {
        guard sqlite3_column_type(handle, column) != SQLITE_NULL else { return nil }
        let count = Int(sqlite3_column_bytes(handle, column))
        guard count > 0, let start = sqlite3_column_blob(handle, column) else { return [] }
        return Array(UnsafeRawBufferPointer(start: start, count: count))
    }

    private func check(_ code: Int32) throws(StorageError) {
        guard code == SQLITE_OK else { throw database.error(code, operation) }
    }
}
