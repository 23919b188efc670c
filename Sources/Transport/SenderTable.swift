import Base

/// What is known of each sender: its newest start and which of its datagrams came already.
///
/// Only authentic senders get in, so only members can fill it. Beyond `sendersMax` the tenth that
/// was silent longest is forgotten; a recorded datagram of a forgotten sender would then be accepted
/// once more, by the start of the agent that it names and no other. What datagrams carry is
/// idempotent and versioned for that case too.
struct SenderTable {
    private struct Record {
        var bootEpoch: BootEpoch
        var window = ReplayWindow()
        var lastHeard: UInt64
    }

    /// Why a sender's datagram is not taken.
    enum Refusal {
        /// It comes from an older start of the sender's agent.
        case staleBoot
        /// It came already, or is too old to tell.
        case replayed
    }

    private let sendersMax: Int
    private var records: [HostID: Record] = [:]
    private var clock: UInt64 = 0

    init(sendersMax: Int) {
        self.sendersMax = max(10, sendersMax)
    }

    /// How many senders are known.
    var count: Int { records.count }

    /// The newest start known of a host.
    func bootEpoch(of host: HostID) -> BootEpoch? { records[host]?.bootEpoch }

    /// Why a datagram with this header is refused; nil when it may be opened.
    func refusal(of sender: PeerIdentity, sequence: UInt64) -> Refusal? {
        guard sequence > 0 else { return .replayed }
        guard let record = records[sender.hostID] else { return nil }
        if sender.bootEpoch < record.bootEpoch { return .staleBoot }
        if sender.bootEpoch > record.bootEpoch { return nil }
        return record.window.hasSeen(sequence) ? .replayed : nil
    }

    /// Records an authentic datagram; true when it shows a newer start than was known.
    mutating func record(_ sender: PeerIdentity, sequence: UInt64) -> Bool {
        let isNewer = note(sender)
        records[sender.hostID]?.window.record(sequence)
        return isNewer
    }

    /// Records that a sender was heard on a proven connection; true when its start is newer.
    mutating func note(_ sender: PeerIdentity) -> Bool {
        clock += 1
        guard let known = records[sender.hostID], known.bootEpoch >= sender.bootEpoch else {
            let isNewer = records[sender.hostID] != nil
            records[sender.hostID] = Record(bootEpoch: sender.bootEpoch, lastHeard: clock)
            if records.count > sendersMax { forgetSilentOnes() }
            return isNewer
        }
        records[sender.hostID]?.lastHeard = clock
        return false
    }

    private mutating func forgetSilentOnes() {
        let times = records.values.map(\.lastHeard).sorted()
        let limit = times[times.count / 10]
        records = records.filter { $0.value.lastHeard > limit }
    }
}
