import Base

/// The consensus core's times and bounds; times must be equal on every host of a cluster.
package struct ConsensusConfig: Equatable, Sendable {
    /// How often the leaseholder tells each voter that it is there.
    package var heartbeatInterval: Duration = .milliseconds(200)
    /// How often it tells each other follower, of which there may be thousands.
    package var followerHeartbeatInterval: Duration = .seconds(1)
    /// The silence after which a voter may campaign, drawn anew each time; below the lower bound
    /// it also refuses its vote to others.
    ///
    /// A dead leaseholder is replaced within about the upper bound plus two round trips.
    package var electionTimeout: ClosedRange<Duration> =
        .milliseconds(1_000) ... .milliseconds(1_800)
    /// The pause before a campaign that found no majority is tried again, drawn anew each time.
    package var campaignRetry: ClosedRange<Duration> = .milliseconds(250) ... .milliseconds(500)
    /// How long the lease lasts, counted from when a heartbeat was sent that a majority confirmed.
    ///
    /// Below `electionTimeout.lowerBound` by the drift bound: 800 ms against 1,000 ms bears clocks
    /// that differ in speed by a fifth.
    package var leaseDuration: Duration = .milliseconds(800)
    /// How long one that does not vote believes in a silent leaseholder.
    package var followerSilenceMax: Duration = .seconds(5)
    /// The most entries in one message.
    package var messageEntriesMax = 1_024
    /// The most bytes of entries in one message, unless a single entry is larger.
    package var messageBytesMax = 256 << 10
    /// The most messages with entries on their way to one peer.
    package var inflightMessagesMax = 32
    /// The most bytes of entries on their way to one peer.
    package var inflightBytesMax = 4 << 20
    /// Bytes of a snapshot's state in one message.
    package var snapshotChunkBytes = 256 << 10
    /// The most bytes of entries that are not yet committed or not yet durable here; proposals
    /// beyond are refused.
    package var uncommittedBytesMax = 64 << 20
    /// The most entries that are not yet committed or not yet durable here.
    package var uncommittedEntriesMax = 16_384
    /// Entries kept before a snapshot, so that a slow follower needs no snapshot.
    package var trailingEntries: UInt64 = 1_000

    /// How long after entries were committed that is noted on disk, unless a write notes it before.
    package var commitNoteDelay: Duration = .seconds(1)

    package init() {}

    /// Every broken rule, not only the first.
    package func problems() -> [String] {
        var problems: [String] = []
        if leaseDuration >= electionTimeout.lowerBound {
            problems.append("leaseDuration must be below electionTimeout's lower bound")
        }
        if heartbeatInterval * 2 > leaseDuration {
            problems.append("leaseDuration must be at least two heartbeatIntervals")
        }
        if heartbeatInterval <= .zero || followerHeartbeatInterval <= .zero {
            problems.append("heartbeat intervals must be positive")
        }
        if campaignRetry.lowerBound <= .zero {
            problems.append("campaignRetry must be positive")
        }
        if messageEntriesMax < 1 || messageEntriesMax > ConsensusMessage.entriesMax {
            problems.append("messageEntriesMax must be 1 to \(ConsensusMessage.entriesMax)")
        }
        if snapshotChunkBytes < 1 || snapshotChunkBytes > ConsensusMessage.chunkBytesMax {
            problems.append("snapshotChunkBytes must be 1 to \(ConsensusMessage.chunkBytesMax)")
        }
        if inflightMessagesMax < 1 || inflightBytesMax < 1 || messageBytesMax < 1 {
            problems.append("message bounds must be positive")
        }
        return problems
    }
}
