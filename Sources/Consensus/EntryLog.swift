import Base

/// The part of the log that is in memory: contiguous entries after a base.
///
/// The base is the last entry that was compacted away; its epoch is still known, so that the
/// entry after it can be sent.
struct EntryLog: Equatable, Sendable {
    /// The index before the first entry here.
    private(set) var baseIndex = LogIndex.zero
    /// That entry's epoch.
    private(set) var baseEpoch = Epoch.zero
    private var entries: [LogEntry] = []

    init() {}

    /// The log of a restarted host.
    init(restored: RestoredLog) {
        guard let snapshot = restored.snapshot else {
            entries = restored.entries
            return
        }
        guard let first = restored.entries.first, first.index <= snapshot.index else {
            reset(index: snapshot.index, epoch: snapshot.epoch)
            entries = restored.entries
            return
        }
        if first.index.value > 1 {
            // What stood before the first kept entry is not known, so that entry is the base.
            reset(index: first.index, epoch: first.epoch)
            entries = Array(restored.entries.dropFirst())
        } else {
            entries = restored.entries
        }
    }

    /// The last index; the base's when there is no entry.
    var lastIndex: LogIndex { LogIndex(baseIndex.value + UInt64(entries.count)) }

    /// The last entry's epoch.
    var lastEpoch: Epoch { entries.last?.epoch ?? baseEpoch }

    /// The epoch at an index; nil when the index is before the base or after the last.
    func epoch(at index: LogIndex) -> Epoch? {
        guard index >= baseIndex, index <= lastIndex else { return nil }
        return index == baseIndex ? baseEpoch : entries[offset(of: index)].epoch
    }

    /// The entries from one index to another, both included; the range must be here.
    func entries(from first: LogIndex, through last: LogIndex) -> [LogEntry] {
        guard first <= last else { return [] }
        return Array(entries[offset(of: first)...offset(of: last)])
    }

    /// The size of the entries from one index to another, both included; the range must be here.
    func byteCount(from first: LogIndex, through last: LogIndex) -> Int {
        guard first <= last else { return 0 }
        return entries[offset(of: first)...offset(of: last)].reduce(0) { $0 + $1.byteCount }
    }

    /// Entries from an index on: at least one if there is one, then as many as the bounds allow.
    func entries(from first: LogIndex, countMaximum: Int, bytesMaximum: Int) -> [LogEntry] {
        guard first > baseIndex, first <= lastIndex else { return [] }
        let start = offset(of: first)
        var end = start
        var bytes = 0
        while end < entries.count, end - start < countMaximum {
            bytes += entries[end].byteCount
            if end > start, bytes > bytesMaximum { break }
            end += 1
        }
        return Array(entries[start..<end])
    }

    /// The largest index at most `index` whose epoch is at most `epoch`, and that epoch; the base
    /// when there is none (Raft's conflict hint).
    func lastIndex(upTo index: LogIndex, epoch: Epoch) -> (index: LogIndex, epoch: Epoch) {
        var candidate = min(index, lastIndex)
        while candidate > baseIndex {
            let found = entries[offset(of: candidate)].epoch
            if found <= epoch { return (candidate, found) }
            candidate = LogIndex(candidate.value - 1)
        }
        return (baseIndex, baseEpoch)
    }

    /// Appends entries that continue the log.
    mutating func append(_ new: [LogEntry]) {
        precondition(new.first.map { $0.index == lastIndex.next } ?? true)
        entries.append(contentsOf: new)
    }

    /// Removes the entry at `index` and all after it.
    mutating func truncate(from index: LogIndex) {
        precondition(index > baseIndex && index <= lastIndex)
        entries.removeSubrange(offset(of: index)...)
    }

    /// Moves the base up to `index`, when that is here.
    mutating func compact(through index: LogIndex) {
        guard index > baseIndex, let epoch = epoch(at: index) else { return }
        entries.removeFirst(offset(of: index) + 1)
        (baseIndex, baseEpoch) = (index, epoch)
    }

    /// Forgets everything and starts after `index`.
    mutating func reset(index: LogIndex, epoch: Epoch) {
        entries = []
        (baseIndex, baseEpoch) = (index, epoch)
    }

    private func offset(of index: LogIndex) -> Int { Int(index.value - baseIndex.value) - 1 }
}
