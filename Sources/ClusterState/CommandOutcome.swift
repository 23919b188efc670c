import Base
import Wire

/// A command with who asked for it and when: the payload of a log entry.
package struct CommandEnvelope: Equatable, Sendable {
    /// Names the write, so that one that is tried again applies once.
    package var request: RequestID
    /// The asker's civil time: what events show, and nothing is decided by.
    package var proposedAt: WallTime
    /// The change.
    package var command: Command

    package init(request: RequestID, proposedAt: WallTime, command: Command) {
        self.request = request
        self.proposedAt = proposedAt
        self.command = command
    }
}

/// What applying one entry did.
package struct CommandOutcome: Equatable, Sendable {
    /// Whether it took effect.
    package var result: Result
    /// What changed by it; the same events are kept in the state for a while.
    package var events: [Event]

    package init(result: Result, events: [Event] = []) {
        self.result = result
        self.events = events
    }

    /// Whether a command took effect.
    package enum Result: Equatable, Sendable {
        /// It took effect, or there was nothing to change.
        case applied
        /// The same request took effect before; nothing changed this time.
        case duplicate
        /// Nothing changed; also the answer to a repeated request that was refused before.
        case refused(CommandRefusal)
    }
}

/// Why a command changed nothing.
package struct CommandRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind of reason, for programs.
    package var code: Code
    /// What was wrong and what to do, for the operator.
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message.bounded
    }

    package var description: String { message }

    /// The kinds of reasons.
    package enum Code: String, Hashable, Sendable, CaseIterable {
        /// A value breaks a rule.
        case invalid
        /// A spec names an image that no host loaded.
        case imageUnknown
        /// Another service publishes the host port.
        case portTaken
        /// There is no such service.
        case serviceUnknown
        /// There is no such host.
        case hostUnknown
        /// The host has been started again since.
        case hostStale
        /// The host is active; only a lost one can be forgotten.
        case hostActive
        /// A bound of the cluster is reached.
        case tooMany
        /// A host lacks room for what is asked.
        case noRoom
    }
}

/// The bounds of the replicated state; what exceeds them is refused, never cut off silently.
package enum Limits {
    /// Hosts, one /24 subnet each.
    package static let hosts = 10_000
    /// Services.
    package static let services = 10_000
    /// Sets of all services together.
    package static let sets = 200_000
    /// Image references.
    package static let images = 20_000
    /// Events kept.
    package static let events = 1_000
    /// Requests remembered.
    package static let requests = 4_096
    /// Volumes of one host, those in its trash included.
    package static let volumesOfHost = 8_192
    /// Volumes whose backups are known.
    package static let volumesBackedUp = 20_000
    /// Repositories with backups of one volume.
    package static let backupCopies = 16
    /// Backups of one volume in one repository; some more than are kept, for the moment before the
    /// oldest is removed.
    package static let backups = 128
    /// Volumes restored by one order.
    package static let restored = 64
    /// Moves of slots, those that are over and not known to both hosts included.
    package static let moves = 10_000
    /// Tombstones kept.
    package static let tombstones = 1_000
    /// Revisions kept of one service, beyond those that placed sets still run.
    package static let revisions = 10
    /// Revisions of one service in all.
    package static let revisionsMax = 64
    /// Decisions or reports in one command.
    package static let items = 8_192
    /// Bytes of a reason or message.
    package static let textBytes = 1_024
}
