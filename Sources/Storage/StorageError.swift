/// Why the host's database could not be opened, read or written.
package struct StorageError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What kind of trouble it is, for callers that act on it.
    package enum Kind: Equatable, Sendable {
        /// Another process has the database open.
        case locked
        /// The file system is full; nothing of the request was written.
        case diskFull
        /// What is on disk is not what was written.
        case corrupt
        /// A newer Shoal wrote it.
        case newerVersion
        /// The store was closed.
        case closed
        /// Reading or writing failed otherwise.
        case failed
    }

    /// What kind of trouble it is.
    package let kind: Kind
    /// What was attempted.
    package let operation: String
    /// The database's path.
    package let path: String
    /// What SQLite or the check said.
    package let reason: String
    /// What the operator does next.
    package let nextStep: String

    package init(kind: Kind, operation: String, path: String, reason: String, nextStep: String) {
        self.kind = kind
        self.operation = operation
        self.path = path
        self.reason = reason
        self.nextStep = nextStep
    }

    package var description: String { "\(operation) \(path): \(reason); \(nextStep)" }
}
