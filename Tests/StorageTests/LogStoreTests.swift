import Base
import Consensus
import Foundation
import Storage
import Synchronization
import Testing

/// A folder that is removed with its last use.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "shoalt-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    var database: String { path + "/log.db" }
}

/// Entries of one epoch with small commands.
func entries(_ range: ClosedRange<UInt64>, epoch: UInt64 = 1, bytes: Int = 20) -> [LogEntry] {
    range.map {
        LogEntry(
            index: LogIndex($0), epoch: Epoch(epoch),
            payload: .command([UInt8](repeating: UInt8($0 % 251), count: bytes)))
    }
}

extension LogStore {
    /// Makes requests durable and waits for the first answer.
    func write(_ requests: PersistRequest...) async throws -> [UInt64] {
        let told = Mutex(false)
        return try await withCheckedThrowingContinuation { continuation in
            persist(requests) { result in
                let first = told.withLock { told in
                    defer { told = true }
                    return !told
                }
                if first { continuation.resume(with: result) }
            }
        }
    }
}

@Suite("Log store")
struct LogStoreTests {
    private let voter = HostID(testing: 1)

    @Test("what was written is loaded, through truncation, compaction and snapshots")
    func roundTrips() async throws {
        let folder = try TemporaryFolder()
        var expected = RestoredLog()
        var ticket: UInt64 = 0
        func step(
            hardState: HardState? = nil, truncateFrom: UInt64? = nil, entries: [LogEntry] = [],
            snapshot: LogSnapshot? = nil, compactThrough: UInt64? = nil,
            commitIndex: UInt64? = nil
        ) async throws {
            ticket += 1
            let store = try LogStore(path: folder.database)
            defer { store.close() }
            #expect(try store.load() == expected)
            let request = PersistRequest(
                ticket: ticket, hardState: hardState, truncateFrom: truncateFrom.map(LogIndex.init),
                entries: entries, snapshot: snapshot,
                compactThrough: compactThrough.map(LogIndex.init),
                commitIndex: commitIndex.map(LogIndex.init))
            #expect(try await store.write(request) == [ticket])
            if let commitIndex { expected.commitIndex = LogIndex(commitIndex) }
            if let hardState { expected.hardState = hardState }
            if let truncateFrom { expected.entries.removeAll { $0.index.value >= truncateFrom } }
            expected.entries += entries
            if let snapshot { expected.snapshot = snapshot }
            if let compactThrough {
                expected.entries.removeAll { $0.index.value <= compactThrough }
            }
            #expect(try store.load() == expected)
        }
        try await step(
            hardState: HardState(epoch: Epoch(1), votedFor: voter),
            entries: [LogEntry(index: LogIndex(1), epoch: Epoch(1), payload: .voters([voter]))])
        try await step(entries: entries(2...50))
        try await step(hardState: HardState(epoch: Epoch(4)), commitIndex: 38)
        try await step(truncateFrom: 41, entries: entries(41...60, epoch: 4))
        let snapshot = LogSnapshot(
            index: LogIndex(30), epoch: Epoch(1), voters: [voter],
            state: [UInt8](repeating: 3, count: 100_000))
        try await step(snapshot: snapshot, compactThrough: 20)
        // A snapshot from the leaseholder that replaces the whole log.
        let newer = LogSnapshot(index: LogIndex(90), epoch: Epoch(4), voters: [voter], state: [])
        try await step(truncateFrom: 91, snapshot: newer, compactThrough: 90)
        try await step(entries: entries(91...91, epoch: 4), commitIndex: 90)
        try await step(commitIndex: 91)
        try await step()
    }

    @Test("a note of commitment that is damaged, or beyond the log, is refused")
    func badCommitIndex() async throws {
        for isDamaged in [false, true] {
            let folder = try TemporaryFolder()
            let store = try LogStore(path: folder.database)
            defer { store.close() }
            _ = try await store.write(
                PersistRequest(
                    ticket: 1, hardState: HardState(epoch: Epoch(1)), entries: entries(1...3),
                    commitIndex: LogIndex(isDamaged ? 2 : 4)))
            if isDamaged { try store.set([1, 2, 3], for: "log.commit-index") }
            let error = #expect(throws: StorageError.self) { _ = try store.load() }
            #expect(error?.kind == .corrupt)
        }
    }

    @Test("local facts are kept")
    func facts() throws {
        let folder = try TemporaryFolder()
        var store = try LogStore(path: folder.database)
        #expect(try store.value(for: "name") == nil)
        try store.set([1, 2], for: "name")
        try store.set([], for: "empty")
        store.close()
        #expect(throws: StorageError.self) { try store.value(for: "name") }
        store = try LogStore(path: folder.database)
        #expect(try store.value(for: "name") == [1, 2])
        #expect(try store.value(for: "empty") == [])
        try store.set(nil, for: "name")
        #expect(try store.value(for: "name") == nil)
        store.close()
    }

    @Test("a second open is refused")
    func exclusive() throws {
        let folder = try TemporaryFolder()
        let store = try LogStore(path: folder.database)
        let error = #expect(throws: StorageError.self) { _ = try LogStore(path: folder.database) }
        #expect(error?.kind == .locked)
        #expect(error?.description.contains(folder.database) == true)
        store.close()
        try LogStore(path: folder.database).close()
    }

    @Test("a folder that is not there, and a file that is no database, are refused")
    func unusable() throws {
        let folder = try TemporaryFolder()
        let missing = #expect(throws: StorageError.self) {
            _ = try LogStore(path: folder.path + "/no/log.db")
        }
        #expect(missing?.kind == .failed)
        try Data(repeating: 65, count: 10_000).write(to: URL(filePath: folder.database))
        let noDatabase = #expect(throws: StorageError.self) {
            _ = try LogStore(path: folder.database)
        }
        #expect(noDatabase?.kind == .corrupt)
    }

    @Test("an entry that does not follow the last one is not written")
    func gap() async throws {
        let folder = try TemporaryFolder()
        let store = try LogStore(path: folder.database)
        defer { store.close() }
        await #expect(throws: StorageError.self) {
            try await store.write(PersistRequest(ticket: 1, entries: entries(2...3)))
        }
        #expect(try store.load().entries.isEmpty)
    }

    @Test("requests queued together become durable together, in order")
    func groupCommit() async throws {
        let folder = try TemporaryFolder()
        let store = try LogStore(path: folder.database)
        let count: UInt64 = 500
        let order = await withCheckedContinuation { continuation in
            let seen = Mutex<[UInt64]>([])
            for ticket in 1...count {
                let request = PersistRequest(
                    ticket: ticket, hardState: HardState(epoch: Epoch(1)),
                    entries: entries(ticket...ticket))
                store.persist([request]) { result in
                    let all = seen.withLock { seen in
                        seen += (try? result.get()) ?? []
                        return seen
                    }
                    if all.count == Int(count) { continuation.resume(returning: all) }
                }
            }
        }
        #expect(order == Array(1...count))
        #expect(try store.load().entries == entries(1...count))
        store.close()
    }

    @Test("a newer version's tables are refused")
    func newerVersion() throws {
        let folder = try TemporaryFolder()
        try LogStore(path: folder.database).close()
        try sqlite(folder.database, "UPDATE schema SET version = 99")
        let error = #expect(throws: StorageError.self) { _ = try LogStore(path: folder.database) }
        #expect(error?.kind == .newerVersion)
    }

    @Test(
        "damage is reported, never dropped",
        arguments: [
            "UPDATE entries SET payload = x'0102' WHERE entry_index = 5",
            "UPDATE entries SET epoch = 0 WHERE entry_index = 5",
            "DELETE FROM entries WHERE entry_index = 5",
            "DELETE FROM entries WHERE entry_index = 1",
            "UPDATE hard_state SET epoch = 9",
            "DELETE FROM hard_state",
            "UPDATE snapshots SET content = x'00'",
            "DELETE FROM snapshots; DELETE FROM entries WHERE entry_index < 4",
        ])
    func damage(change: String) async throws {
        let folder = try TemporaryFolder()
        var store = try LogStore(path: folder.database)
        let snapshot = LogSnapshot(
            index: LogIndex(3), epoch: Epoch(1), voters: [voter], state: [1, 2, 3])
        _ = try await store.write(
            PersistRequest(
                ticket: 1, hardState: HardState(epoch: Epoch(1)), entries: entries(1...10)),
            PersistRequest(
                ticket: 2, snapshot: change.contains("_index = 1") ? nil : snapshot))
        store.close()
        try sqlite(folder.database, change)
        store = try LogStore(path: folder.database)
        let error = #expect(throws: StorageError.self) { try store.load() }
        #expect(error?.kind == .corrupt)
        store.close()
    }

    @Test("a flipped byte in an entry's page is reported")
    func flippedByte() async throws {
        let folder = try TemporaryFolder()
        var store = try LogStore(path: folder.database)
        let marked = LogEntry(
            index: LogIndex(1), epoch: Epoch(1), payload: .command(Array("findthisentry".utf8)))
        _ = try await store.write(
            PersistRequest(ticket: 1, hardState: HardState(epoch: Epoch(1)), entries: [marked]))
        store.close()
        var file = try Data(contentsOf: URL(filePath: folder.database))
        let place = try #require(file.range(of: Data("findthisentry".utf8)))
        file[place.lowerBound + 3] ^= 1
        try file.write(to: URL(filePath: folder.database))
        store = try LogStore(path: folder.database)
        let error = #expect(throws: StorageError.self) { try store.load() }
        #expect(error?.reason.contains("entry 1") == true)
        store.close()
    }
}
