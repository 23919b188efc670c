import Base
import Wire

/// What voters and followers say to each other (Raft's remote calls as one-way messages).
package struct ConsensusMessage: WireCodable, Equatable, Sendable {
    /// The sender's epoch; in a pre-vote the epoch it would campaign in.
    package var epoch: Epoch
    /// What it says.
    package var body: Body

    /// The form's version, the first byte.
    package static let version: UInt8 = 1
    /// The most entries in one message.
    package static let entriesMax = 4_096
    /// The most bytes of one chunk of a snapshot.
    package static let chunkBytesMax = 1 << 20

    package init(epoch: Epoch, body: Body) {
        self.epoch = epoch
        self.body = body
    }

    /// The kinds of message.
    package enum Body: Equatable, Sendable {
        /// Would you vote for me? (Ongaro's thesis, 9.6)
        case preVote(lastIndex: LogIndex, lastEpoch: Epoch)
        /// The answer. A grant carries the asked epoch, a refusal the answerer's own.
        case preVoteReply(granted: Bool)
        /// Vote for me. `transfer`: the leaseholder itself asked for this election.
        case vote(lastIndex: LogIndex, lastEpoch: Epoch, transfer: Bool)
        /// The answer.
        case voteReply(granted: Bool)
        /// Entries that follow `previous`; none is a heartbeat.
        case append(Append)
        /// The answer to `append`, and to a snapshot that is complete.
        case appendReply(AppendReply)
        /// A part of a snapshot.
        case snapshot(SnapshotChunk)
        /// How many bytes of the snapshot at `index` are here.
        case snapshotReply(index: LogIndex, received: UInt64)
        /// Campaign at once: the leaseholder hands over.
        case timeoutNow
    }

    /// Entries from the leaseholder.
    package struct Append: Equatable, Sendable {
        /// The index before the first entry; 0 with epoch 0 always matches.
        package var previousIndex: LogIndex
        /// That entry's epoch.
        package var previousEpoch: Epoch
        /// Contiguous entries from `previousIndex` + 1.
        package var entries: [LogEntry]
        /// The leaseholder's commit index.
        package var commit: LogIndex
        /// When it was sent by the leaseholder's clock, in nanoseconds; echoed in the answer.
        package var sentAt: UInt64
    }

    /// The answer to `Append`.
    package struct AppendReply: Equatable, Sendable {
        /// True when the log matched.
        package var matched: Bool
        /// Matched: the last index that is equal to the leaseholder's and durable.
        ///
        /// Not matched: where the logs may still be equal.
        package var index: LogIndex
        /// Not matched: the epoch at `index`.
        package var hintEpoch: Epoch
        /// Not matched: the `previousIndex` that was refused.
        package var refused: LogIndex
        /// The `sentAt` of what is answered; 0 in an answer to a snapshot.
        package var sentAt: UInt64
    }

    /// A part of a snapshot.
    package struct SnapshotChunk: Equatable, Sendable {
        /// The snapshot's last index.
        package var index: LogIndex
        /// That entry's epoch.
        package var epoch: Epoch
        /// The voters at that index.
        package var voters: [HostID]
        /// The size of the whole state.
        package var totalBytes: UInt64
        /// Where `bytes` stand in it.
        package var offset: UInt64
        /// The bytes.
        package var bytes: [UInt8]
    }
}

extension ConsensusMessage {
    package func encode(into writer: inout ByteWriter) {
        writer.write(byte: ConsensusMessage.version)
        writer.write(epoch)
        switch body {
        case .preVote(let lastIndex, let lastEpoch):
            writer.write(byte: 1)
            writer.write(lastIndex)
            writer.write(lastEpoch)
        case .preVoteReply(let granted):
            writer.write(byte: 2)
            writer.write(granted)
        case .vote(let lastIndex, let lastEpoch, let transfer):
            writer.write(byte: 3)
            writer.write(lastIndex)
            writer.write(lastEpoch)
            writer.write(transfer)
        case .voteReply(let granted):
            writer.write(byte: 4)
            writer.write(granted)
        case .append(let append):
            writer.write(byte: 5)
            append.encode(into: &writer)
        case .appendReply(let reply):
            writer.write(byte: 6)
            reply.encode(into: &writer)
        case .snapshot(let chunk):
            writer.write(byte: 7)
            chunk.encode(into: &writer)
        case .snapshotReply(let index, let received):
            writer.write(byte: 8)
            writer.write(index)
            writer.write(received)
        case .timeoutNow:
            writer.write(byte: 9)
        }
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        let version = try reader.readByte()
        guard version == ConsensusMessage.version else {
            throw .unknownCase(what: "ConsensusMessage version", value: UInt64(version))
        }
        epoch = try reader.readEpoch()
        switch try reader.readByte() {
        case 1:
            body = .preVote(
                lastIndex: try reader.readIndex(), lastEpoch: try reader.readEpoch())
        case 2:
            body = .preVoteReply(granted: try reader.readBool())
        case 3:
            body = .vote(
                lastIndex: try reader.readIndex(), lastEpoch: try reader.readEpoch(),
                transfer: try reader.readBool())
        case 4:
            body = .voteReply(granted: try reader.readBool())
        case 5:
            body = .append(try Append(from: &reader))
        case 6:
            body = .appendReply(try AppendReply(from: &reader))
        case 7:
            body = .snapshot(try SnapshotChunk(from: &reader))
        case 8:
            body = .snapshotReply(
                index: try reader.readIndex(), received: try reader.readUInt64())
        case 9:
            body = .timeoutNow
        case let other:
            throw .unknownCase(what: "ConsensusMessage", value: UInt64(other))
        }
    }
}

extension ConsensusMessage.Append: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(previousIndex)
        writer.write(previousEpoch)
        writer.write(list: entries)
        writer.write(commit)
        writer.write(sentAt)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        previousIndex = try reader.readIndex()
        previousEpoch = try reader.readEpoch()
        entries = try reader.readList(maximum: ConsensusMessage.entriesMax)
        commit = try reader.readIndex()
        sentAt = try reader.readUInt64()
        var last = (index: previousIndex, epoch: previousEpoch)
        for entry in entries {
            guard entry.index == last.index.next, entry.epoch >= last.epoch else {
                throw .invalid(what: "entries that do not follow each other")
            }
            last = (entry.index, entry.epoch)
        }
    }
}

extension ConsensusMessage.AppendReply: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(matched)
        writer.write(index)
        writer.write(hintEpoch)
        writer.write(refused)
        writer.write(sentAt)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        matched = try reader.readBool()
        index = try reader.readIndex()
        hintEpoch = try reader.readEpoch()
        refused = try reader.readIndex()
        sentAt = try reader.readUInt64()
    }
}

extension ConsensusMessage.SnapshotChunk: WireCodable {
    package func encode(into writer: inout ByteWriter) {
        writer.write(index)
        writer.write(epoch)
        writer.write(list: voters)
        writer.write(totalBytes)
        writer.write(offset)
        writer.write(counted: bytes)
    }

    package init(from reader: inout ByteReader) throws(WireError) {
        index = try reader.readIndex()
        epoch = try reader.readEpoch()
        voters = try reader.readVoters()
        totalBytes = try reader.readUInt64()
        offset = try reader.readUInt64()
        bytes = try reader.readCounted(maximum: ConsensusMessage.chunkBytesMax)
        guard totalBytes <= UInt64(LogSnapshot.stateBytesMax), offset <= totalBytes,
            UInt64(bytes.count) <= totalBytes - offset
        else {
            throw .invalid(what: "chunk outside its snapshot")
        }
    }
}
