import Base
import Consensus

/// A host's durable log, snapshot, vote and local facts: one SQLite file and one thread.
package final class LogStore: Sendable {
    /// Opens the database at `path`, creating it if need be, and takes it for this process alone.
    package init(path: String) throws(StorageError) { fatalError("not built") }

    /// Reads and verifies everything; refuses rather than drops what is damaged.
    package func load() throws(StorageError) -> RestoredLog { fatalError("not built") }

    /// Makes requests durable, in order; everything queued meanwhile shares one transaction.
    ///
    /// The completion is called on the storage thread with the requests' tickets.
    package func persist(
        _ requests: [PersistRequest],
        completion: @escaping @Sendable (Result<[UInt64], StorageError>) -> Void
    ) { fatalError("not built") }

    /// A local fact; nil when it was never set.
    package func value(for name: String) throws(StorageError) -> [UInt8]? {
        fatalError("not built")
    }

    /// Sets a local fact durably; nil removes it.
    package func set(_ value: [UInt8]?, for name: String) throws(StorageError) {
        fatalError("not built")
    }

    /// Finishes what is queued, then closes the file and ends the thread.
    package func close() { fatalError("not built") }
}
