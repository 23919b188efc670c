import Base

/// What waits to be sent along: one slot per host and topic, so bounded by the member table.
///
/// A slot holds no content: what is sent is what the table says then, so the newest wins by
/// construction. Fresh rumours go first; a rumour that was sent goes to the end of the line.
struct RumorQueue: Sendable, Equatable {
    /// What a rumour is about.
    enum Topic: Sendable {
        /// Status, incarnation, boot epoch, address.
        case record
        /// Those and the facts.
        case facts
    }

    /// The slots of one host: how often each topic was sent; nil when it is no news.
    struct Rumor: Sendable, Equatable {
        /// The host.
        let id: HostID
        /// Copies sent of the record.
        var recordCopies: Int?
        /// Copies sent with facts; each also counts for the record.
        var factsCopies: Int?
    }

    /// The line, first to be sent first.
    private(set) var line: [Rumor] = []

    /// True when there is nothing to tell.
    var isEmpty: Bool { line.isEmpty }

    /// Makes a topic fresh.
    ///
    /// `isQueued` tells whether the host is in the line, to save a search.
    mutating func add(_ id: HostID, _ topic: Topic, isQueued: Bool) {
        var rumor = Rumor(id: id)
        if isQueued, let index = line.firstIndex(where: { $0.id == id }) {
            rumor = line.remove(at: index)
        }
        switch topic {
        case .record: rumor.recordCopies = 0
        case .facts: rumor.factsCopies = 0
        }
        line.insert(rumor, at: 0)
    }

    /// Notes that the first `count` were sent; what was sent `copiesMax` times is done.
    ///
    /// Returns the hosts that have nothing more to tell. The bound is the one of now, not of when
    /// the rumour began: in a cluster that has just grown it takes more copies to reach all.
    mutating func sent(first count: Int, copiesMax: Int) -> [HostID] {
        func after(_ copies: Int?) -> Int? {
            copies.flatMap { $0 + 1 < copiesMax ? $0 + 1 : nil }
        }
        var done: [HostID] = []
        var again: [Rumor] = []
        for var rumor in line.prefix(count) {
            rumor.recordCopies = after(rumor.recordCopies)
            rumor.factsCopies = after(rumor.factsCopies)
            if rumor.recordCopies == nil, rumor.factsCopies == nil {
                done.append(rumor.id)
            } else {
                again.append(rumor)
            }
        }
        line.removeFirst(min(count, line.count))
        line.append(contentsOf: again)
        return done
    }

    /// Drops a host that is forgotten.
    mutating func remove(_ id: HostID) { line.removeAll { $0.id == id } }
}
