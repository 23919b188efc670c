import Base
import Wire

/// What a voter must never forget: its epoch, and whom it voted for in it.
package struct HardState: Equatable, Sendable {
    /// The highest epoch seen.
    package var epoch: Epoch
    /// The candidate that has this host's vote in that epoch.
    package var votedFor: HostID?

    package init(epoch: Epoch = .zero, votedFor: HostID? = nil) {
        self.epoch = epoch
        self.votedFor = votedFor
    }
}

/// The state machine's state at one index; stands for all entries up to it.
package struct LogSnapshot: WireCodable, Equatable, Sendable {
    /// The last index applied to the state.
    package var index: LogIndex
    /// That entry's epoch.
    package var epoch: Epoch
    /// The voters in force at that index.
    package var voters: [HostID]
    /// The state in its own encoding; at most `stateBytesMax`.
    package var state: [UInt8]

    /// The largest state in bytes.
    package static let stateBytesMax = 256 << 20

    package init(index: LogIndex, epoch: Epoch, voters: [HostID], state: [UInt8]) {
        self.index = index
        self.epoch = epoch
        self.voters = voters
        self.state = state
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: 1)  // version
        writer.write(index)
        writer.write(epoch)
        writer.write(list: voters)
        writer.write(counted: state)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readByte()
        guard version == 1 else {
            throw .unknownCase(what: "LogSnapshot version", value: UInt64(version))
        }
        index = try reader.readIndex()
        epoch = try reader.readEpoch()
        voters = try reader.readVoters()
        state = try reader.readCounted(maximum: LogSnapshot.stateBytesMax)
    }
}

/// Everything a restarted host knows of the log.
package struct RestoredLog: Equatable, Sendable {
    /// Epoch and vote.
    package var hardState: HardState
    /// The newest snapshot, if any.
    package var snapshot: LogSnapshot?
    /// Contiguous entries.
    ///
    /// They may start before the snapshot's index (kept for slow followers),
    /// never after the one that follows it.
    package var entries: [LogEntry]
    /// An index up to which all is known to be committed; later entries may be, too.
    package var commitIndex: LogIndex

    package init(
        hardState: HardState = HardState(), snapshot: LogSnapshot? = nil, entries: [LogEntry] = [],
        commitIndex: LogIndex = .zero
    ) {
        self.hardState = hardState
        self.snapshot = snapshot
        self.entries = entries
        self.commitIndex = commitIndex
    }

    /// True on a host that has never been in a cluster.
    package var isEmpty: Bool {
        hardState == HardState() && snapshot == nil && entries.isEmpty
    }
}

/// One durable change.
///
/// The parts are applied in the order of the properties, all or none.
///
/// Requests must become durable in the order they were put out; `.persisted(ticket)` stands for
/// the request and all before it.
package struct PersistRequest: Equatable, Sendable {
    /// Names the request in `ConsensusInput.persisted`; rises by one with every request.
    package var ticket: UInt64
    /// Replaces epoch and vote.
    package var hardState: HardState?
    /// Removes the entry at this index and all after it.
    package var truncateFrom: LogIndex?
    /// Appends these entries.
    package var entries: [LogEntry]
    /// Replaces the snapshot.
    package var snapshot: LogSnapshot?
    /// Removes the entries up to and including this index.
    package var compactThrough: LogIndex?
    /// Notes that all entries up to this one are committed; never beyond what is durable with this
    /// request.
    package var commitIndex: LogIndex?

    package init(
        ticket: UInt64, hardState: HardState? = nil, truncateFrom: LogIndex? = nil,
        entries: [LogEntry] = [], snapshot: LogSnapshot? = nil, compactThrough: LogIndex? = nil,
        commitIndex: LogIndex? = nil
    ) {
        self.ticket = ticket
        self.hardState = hardState
        self.truncateFrom = truncateFrom
        self.entries = entries
        self.snapshot = snapshot
        self.compactThrough = compactThrough
        self.commitIndex = commitIndex
    }
}
