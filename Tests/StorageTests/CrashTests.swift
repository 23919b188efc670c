import Base
import CSQLite
import Consensus
import Foundation
import Storage
import Synchronization
import Testing

/// Runs statements on a database that no store has open.
func sqlite(_ path: String, _ text: String) throws {
    var handle: OpaquePointer?
    defer { sqlite3_close_v2(handle) }
    try #require(sqlite3_open(path, &handle) == SQLITE_OK)
    try #require(sqlite3_exec(handle, text, nil, nil, nil) == SQLITE_OK)
}

@Suite("Log store and crashes", .serialized)
struct CrashTests {
    /// Goal: what was reported durable is there after a crash at any point.
    ///
    /// Method: while requests are written, copy the database and its write-ahead log, as a crash
    /// would leave them, and open the copies. A copy is used only if SQLite did not restart the
    /// write-ahead log meanwhile, since then its two files are not of one moment.
    @Test("a crash at any point keeps all that was reported durable")
    func crashAtAnyPoint() async throws {
        let folder = try TemporaryFolder()
        let store = try LogStore(path: folder.database)
        let reported = Mutex<UInt64>(0)
        let last: UInt64 = 3_000
        let writer = Task {
            for ticket in 1...last {
                let request = PersistRequest(
                    ticket: ticket, hardState: HardState(epoch: Epoch(1)),
                    entries: entries(ticket...ticket, bytes: 300))
                store.persist([request]) { result in
                    guard case .success(let tickets) = result, let newest = tickets.last else {
                        return
                    }
                    reported.withLock { $0 = max($0, newest) }
                }
                if ticket % 7 == 0 { try? await Task.sleep(for: .milliseconds(1)) }
            }
        }
        var used = 0
        var copies = 0
        while reported.withLock({ $0 }) < last, copies < 1_000 {
            copies += 1
            let known = reported.withLock { $0 }
            let copy = try TemporaryFolder()
            let before = try? header(folder.database + "-wal")
            guard (try? copyFile(folder.database, copy.database)) != nil,
                (try? copyFile(folder.database + "-wal", copy.database + "-wal")) != nil,
                let before, try header(copy.database + "-wal") == before
            else { continue }
            let opened = try LogStore(path: copy.database)
            let loaded = try opened.load()
            opened.close()
            #expect(loaded.entries.count >= Int(known))
            if let count = loaded.entries.last?.index.value {
                #expect(loaded.entries == entries(1...count, bytes: 300))
            }
            used += 1
        }
        await writer.value
        store.close()
        #expect(used >= 5, "copies that could be used: \(used) of \(copies)")
    }

    /// The salts of a write-ahead log: they change when SQLite starts it anew.
    private func header(_ path: String) throws -> Data {
        let file = try FileHandle(forReadingFrom: URL(filePath: path))
        defer { try? file.close() }
        return try file.read(upToCount: 32) ?? Data()
    }

    private func copyFile(_ from: String, _ to: String) throws {
        try Data(contentsOf: URL(filePath: from)).write(to: URL(filePath: to))
    }

    /// Goal: a full disk is reported, loses nothing, and the store goes on when there is room.
    ///
    /// Method: a file system of 2 MiB in memory; needs root.
    @Test(
        "a full disk is reported, loses nothing, and ends by itself",
        .enabled(if: geteuid() == 0, "needs root to mount a small file system"))
    func fullDisk() async throws {
        let folder = try TemporaryFolder()
        guard mount("shoalt", folder.path, "tmpfs", 0, "size=2m") == 0 else {
            print("skipped: no tmpfs can be mounted here (errno \(errno))")
            return
        }
        defer { umount2(folder.path, Int32(MNT_DETACH)) }
        let ballast = folder.path + "/ballast"
        try Data(count: 1_000_000).write(to: URL(filePath: ballast))
        var store = try LogStore(path: folder.database)
        var written: UInt64 = 0
        var failure: StorageError?
        while failure == nil, written < 200 {
            do {
                _ = try await store.write(
                    PersistRequest(
                        ticket: written + 1, hardState: HardState(epoch: Epoch(1)),
                        entries: entries(written + 1...written + 1, bytes: 20_000)))
                written += 1
            } catch let error as StorageError {
                failure = error
            }
        }
        #expect(failure?.kind == .diskFull)
        #expect(failure?.description.contains("free space") == true)
        #expect(try store.load().entries == entries(1...written, bytes: 20_000))
        // Room again: what waited and what comes next are written in order.
        try FileManager.default.removeItem(atPath: ballast)
        let tickets = try await store.write(
            PersistRequest(
                ticket: written + 2, entries: entries(written + 2...written + 2, bytes: 20_000)))
        #expect(tickets == [written + 2])
        #expect(try store.load().entries == entries(1...written + 2, bytes: 20_000))
        store.close()
        store = try LogStore(path: folder.database)
        #expect(try store.load().entries == entries(1...written + 2, bytes: 20_000))
        store.close()
    }
}
