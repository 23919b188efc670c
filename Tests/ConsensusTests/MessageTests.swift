import Base
import Testing
import Wire

@testable import Consensus

@Suite("Consensus messages")
struct MessageTests {
    /// One message of every kind, and its bytes.
    ///
    /// The bytes are a contract between versions: a
    /// change needs a new `ConsensusMessage.version`.
    static let golden: [(message: ConsensusMessage, bytes: String)] = [
        (message(.preVote(lastIndex: LogIndex(300), lastEpoch: Epoch(2))), "010701ac0202"),
        (message(.preVoteReply(granted: true)), "01070201"),
        (
            message(.vote(lastIndex: LogIndex(3), lastEpoch: Epoch(2), transfer: true)),
            "010703030201"
        ),
        (message(.voteReply(granted: false)), "01070400"),
        (
            message(
                .append(
                    .init(
                        previousIndex: LogIndex(3), previousEpoch: Epoch(2),
                        entries: [
                            LogEntry(
                                index: LogIndex(4), epoch: Epoch(2), payload: .command([9, 8])),
                            LogEntry(
                                index: LogIndex(5), epoch: Epoch(7),
                                payload: .voters([HostID(testing: 1)])),
                            LogEntry(index: LogIndex(6), epoch: Epoch(7), payload: .noop),
                        ], commit: LogIndex(3), sentAt: 1_000))),
            "01070503020304020102090805070201"
                + "9e3779b97f4a7c15000000000000000000000000000000000000000000000001"
                + "06070303e807"
        ),
        (
            message(
                .appendReply(
                    .init(
                        matched: false, index: LogIndex(5), hintEpoch: Epoch(2),
                        refused: LogIndex(9), sentAt: 77))),
            "0107060005020" + "94d"
        ),
        (
            message(
                .snapshot(
                    .init(
                        index: LogIndex(10), epoch: Epoch(6), voters: [HostID(testing: 1)],
                        totalBytes: 5, offset: 2, bytes: [1, 2, 3]))),
            "0107070a0601"
                + "9e3779b97f4a7c15000000000000000000000000000000000000000000000001"
                + "050203010203"
        ),
        (message(.snapshotReply(index: LogIndex(10), received: 5)), "0107080a05"),
        (message(.timeoutNow), "010709"),
    ]

    private static func message(_ body: ConsensusMessage.Body) -> ConsensusMessage {
        ConsensusMessage(epoch: Epoch(7), body: body)
    }

    @Test("every message has the bytes that other versions expect")
    func goldenBytes() throws {
        for (message, expected) in MessageTests.golden {
            #expect(hexadecimal(message.encoded) == expected)
            #expect(try ConsensusMessage(decoding: message.encoded) == message)
        }
    }

    @Test("a snapshot's record has the bytes that other versions expect")
    func goldenSnapshot() throws {
        let snapshot = LogSnapshot(
            index: LogIndex(3), epoch: Epoch(2), voters: [HostID(testing: 1)], state: [5, 6])
        let expected =
            "01030201" + "9e3779b97f4a7c15000000000000000000000000000000000000000000000001"
            + "020506"
        #expect(hexadecimal(snapshot.encoded) == expected)
        #expect(try LogSnapshot(decoding: snapshot.encoded) == snapshot)
    }

    @Test("cut, changed and random bytes are refused or read, and never crash")
    func hostileBytes() {
        var random = RandomSource(seed: 7)
        for (message, _) in MessageTests.golden {
            let bytes = message.encoded
            for count in bytes.indices {
                #expect(throws: WireError.self) {
                    try ConsensusMessage(decoding: Array(bytes[..<count]))
                }
            }
            for _ in 0..<2_000 {
                var changed = bytes
                for _ in 0..<Int.random(in: 1...3, using: &random) {
                    changed[Int.random(in: 0..<bytes.count, using: &random)] =
                        UInt8.random(in: 0...255, using: &random)
                }
                guard let read = try? ConsensusMessage(decoding: changed) else { continue }
                #expect((try? ConsensusMessage(decoding: read.encoded)) == read)
            }
        }
        for _ in 0..<5_000 {
            let count = Int.random(in: 0...60, using: &random)
            let bytes = [1] + (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            _ = try? ConsensusMessage(decoding: bytes)
            _ = try? LogSnapshot(decoding: bytes)
            _ = try? LogEntry(decoding: bytes)
        }
    }

    @Test("numbers that could overflow, and lists out of order, are refused")
    func bounds() {
        let tooLarge = ConsensusMessage(epoch: Epoch(.max), body: .timeoutNow)
        #expect(throws: WireError.self) { try ConsensusMessage(decoding: tooLarge.encoded) }
        let unsorted = LogEntry(
            index: LogIndex(1), epoch: Epoch(1),
            payload: .voters([HostID(testing: 1), HostID(testing: 1)]))
        #expect(throws: WireError.self) { try LogEntry(decoding: unsorted.encoded) }
        let gap = ConsensusMessage(
            epoch: Epoch(1),
            body: .append(
                .init(
                    previousIndex: LogIndex(1), previousEpoch: Epoch(1),
                    entries: [LogEntry(index: LogIndex(3), epoch: Epoch(1), payload: .noop)],
                    commit: .zero, sentAt: 0)))
        #expect(throws: WireError.self) { try ConsensusMessage(decoding: gap.encoded) }
    }

    /// Goal: a well-formed but senseless message does no harm.
    ///
    /// Method: hosts in all roles take
    /// mutated messages from a voter and from a stranger.
    @Test("senseless messages crash no host", arguments: 1...10)
    func senselessMessages(seed: UInt64) throws {
        var random = RandomSource(seed: seed)
        var cluster = ClusterHarness(hosts: 3, seed: seed)
        cluster.wantedVoters = cluster.ids([0, 1, 2])
        try cluster.startAll()
        try cluster.run(for: .seconds(4))
        for _ in 0..<3_000 {
            let golden = MessageTests.golden[
                Int.random(in: 0..<MessageTests.golden.count, using: &random)]
            var bytes = golden.message.encoded
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] =
                    UInt8.random(in: 0...20, using: &random)
            }
            guard let message = try? ConsensusMessage(decoding: bytes) else { continue }
            let host = Int.random(in: 0..<3, using: &random)
            let sender = HostID(testing: UInt64.random(in: 1...4, using: &random))
            var outputs: [ConsensusOutput] = []
            cluster.hosts[host].core?.handle(
                .received(message, from: sender), at: cluster.now, into: &outputs)
            cluster.now = cluster.now + .milliseconds(3)
        }
    }
}
