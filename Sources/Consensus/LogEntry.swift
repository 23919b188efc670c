import Base
import Wire

/// What one log entry carries.
package enum EntryPayload: Equatable, Sendable {
    /// A command of the replicated state machine; at most `LogEntry.commandBytesMax` bytes.
    case command([UInt8])
    /// The voters from this entry on, sorted; in force as soon as the entry is in a log.
    case voters([HostID])
    /// Nothing: a new leaseholder's first entry, which lets it commit what came before it.
    case noop
}

/// One entry of the replicated log.
package struct LogEntry: WireCodable, Equatable, Sendable {
    /// Its position; the first is 1.
    package var index: LogIndex
    /// The lease term in which it was appended.
    package var epoch: Epoch
    /// What it carries.
    package var payload: EntryPayload

    /// The largest command in bytes.
    package static let commandBytesMax = 4 << 20
    /// The most voters a cluster may have, a change in flight included.
    package static let votersMax = 15
    /// The highest epoch and index read from outside; far below overflow, far above any real one.
    package static let numberMax: UInt64 = 1 << 62

    package init(index: LogIndex, epoch: Epoch, payload: EntryPayload) {
        self.index = index
        self.epoch = epoch
        self.payload = payload
    }

    /// The size that limits count, in bytes: the payload plus a fixed share for the rest.
    package var byteCount: Int {
        switch payload {
        case .command(let bytes): bytes.count + 32
        case .voters(let voters): voters.count * HostID.byteCount + 32
        case .noop: 32
        }
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(index)
        writer.write(epoch)
        switch payload {
        case .command(let bytes):
            writer.write(byte: 1)
            writer.write(counted: bytes)
        case .voters(let voters):
            writer.write(byte: 2)
            writer.write(list: voters)
        case .noop:
            writer.write(byte: 3)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        index = try reader.readIndex()
        epoch = try reader.readEpoch()
        guard index > .zero else { throw .invalid(what: "log index 0") }
        switch try reader.readByte() {
        case 1:
            payload = .command(try reader.readCounted(maximum: LogEntry.commandBytesMax))
        case 2:
            payload = .voters(try reader.readVoters())
        case 3:
            payload = .noop
        case let other:
            throw .unknownCase(what: "EntryPayload", value: UInt64(other))
        }
    }
}

extension ByteReader {
    /// Reads an epoch that can be counted up without overflow.
    mutating func readEpoch() throws(WireError) -> Epoch {
        Epoch(try readBoundedNumber("epoch"))
    }

    /// Reads a log index that can be counted up without overflow.
    mutating func readIndex() throws(WireError) -> LogIndex {
        LogIndex(try readBoundedNumber("log index"))
    }

    /// Reads a list of voters: sorted, each once, at least one.
    mutating func readVoters() throws(WireError) -> [HostID] {
        let voters = try readList(of: HostID.self, maximum: LogEntry.votersMax)
        guard !voters.isEmpty, zip(voters, voters.dropFirst()).allSatisfy({ $0 < $1 }) else {
            throw .invalid(what: "voters that are empty or not sorted")
        }
        return voters
    }

    private mutating func readBoundedNumber(_ what: String) throws(WireError) -> UInt64 {
        let value = try readUInt64()
        guard value <= LogEntry.numberMax else {
            throw .tooLarge(what: what, value: value, maximum: LogEntry.numberMax)
        }
        return value
    }
}
