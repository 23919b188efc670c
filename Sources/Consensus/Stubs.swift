import Base
extension ConsensusCore {
    static func configurations(of restored: RestoredLog) -> [Configuration] { [] }
    var isVoter: Bool { false }
    func quorumConfirmed(at now: Instant) -> Instant? { nil }
    func sortedOnce(_ hosts: [HostID]) -> [HostID] { hosts }
    mutating func restoreIfPending(into outputs: inout [ConsensusOutput]) {}
    mutating func receive(_ message: ConsensusMessage, from sender: HostID, at now: Instant, into outputs: inout [ConsensusOutput]) {}
    mutating func propose(_ command: [UInt8], ticket: UInt64, at now: Instant, into outputs: inout [ConsensusOutput]) {}
    mutating func persisted(_ ticket: UInt64, at now: Instant, into outputs: inout [ConsensusOutput]) {}
    mutating func refreshPeers(at now: Instant, into outputs: inout [ConsensusOutput]) {}
    mutating func setVoters(_ hosts: [HostID], at now: Instant, into outputs: inout [ConsensusOutput]) {}
    mutating func take(_ taken: LogSnapshot, into outputs: inout [ConsensusOutput]) {}
    mutating func handOver(to target: HostID, at now: Instant) {}
    mutating func checkDeadlines(at now: Instant, into outputs: inout [ConsensusOutput]) {}
    mutating func lead(at now: Instant, into outputs: inout [ConsensusOutput]) {}
    mutating func announce(into outputs: inout [ConsensusOutput]) {}
    mutating func applyCommitted(into outputs: inout [ConsensusOutput]) {}
}
