import Base
import Consensus

/// One host's log on a virtual disk: what is durable, and what a crash would lose.
struct SimulatedDisk {
    /// What survives a crash.
    private(set) var durable: RestoredLog
    /// Written, but not yet flushed; in order.
    private var pending: [PersistRequest] = []

    init(_ restored: RestoredLog = RestoredLog(hardState: HardState(), snapshot: nil, entries: []))
    {
        durable = restored
    }

    /// The last request that is not flushed yet.
    var lastTicket: UInt64? { pending.last?.ticket }

    mutating func write(_ request: PersistRequest) { pending.append(request) }

    /// Flushes everything up to this ticket; the tickets that became durable.
    mutating func flush(through ticket: UInt64) -> [UInt64] {
        var flushed: [UInt64] = []
        while let first = pending.first, first.ticket <= ticket {
            apply(first)
            flushed.append(first.ticket)
            pending.removeFirst()
        }
        return flushed
    }

    /// The machine lost power: what was not flushed is gone.
    mutating func crash() { pending = [] }

    private mutating func apply(_ request: PersistRequest) {
        if let state = request.hardState { durable.hardState = state }
        if let snapshot = request.snapshot {
            durable.snapshot = snapshot
            // A snapshot beyond the log replaces it: nothing before it is needed, nothing after
            // it is known.
            if durable.entries.last.map({ $0.index < snapshot.index }) ?? true {
                durable.entries = []
            }
        }
        if let from = request.truncateFrom {
            durable.entries.removeAll { $0.index >= from }
        }
        durable.entries.append(contentsOf: request.entries)
        if let through = request.compactThrough {
            durable.entries.removeAll { $0.index <= through }
        }
        if let index = request.commitIndex { durable.commitIndex = index }
    }
}
