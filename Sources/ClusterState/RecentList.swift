import Base

/// The last so many elements of an endless row: adding one beyond the bound drops the oldest.
struct RecentList<Element: Equatable & Sendable>: Equatable, Sendable {
    private let maximum: Int
    private var storage: [Element] = []
    /// Where the oldest is, once the list is full.
    private var start = 0

    init(maximum: Int) { self.maximum = maximum }

    /// The elements, oldest first.
    var elements: [Element] { Array(storage[start...]) + Array(storage[..<start]) }

    /// How many there are.
    var count: Int { storage.count }

    /// Adds the newest; returns the oldest when it had to go.
    @discardableResult
    mutating func append(_ element: Element) -> Element? {
        guard storage.count == maximum else {
            storage.append(element)
            return nil
        }
        let oldest = storage[start]
        storage[start] = element
        start = (start + 1) % maximum
        return oldest
    }

    static func == (left: RecentList, right: RecentList) -> Bool {
        left.maximum == right.maximum && left.elements == right.elements
    }
}

/// The last requests and how they ended, so that one that comes twice applies once.
struct RequestMemory: Equatable, Sendable {
    /// In the order they were applied.
    private(set) var order = RecentList<RequestID>(maximum: Limits.requests)
    /// How each ended; nil when it was applied.
    ///
    /// For looking up only: the order of a dictionary differs between processes.
    private var refusals: [RequestID: CommandRefusal?] = [:]

    /// How a request ended before; nil when it is new.
    func outcome(of request: RequestID) -> CommandOutcome.Result? {
        guard let remembered = refusals[request] else { return nil }
        guard let refusal = remembered else { return .duplicate }
        return .refused(refusal)
    }

    /// Remembers a new request.
    mutating func remember(_ request: RequestID, refusal: CommandRefusal?) {
        if let forgotten = order.append(request) { refusals[forgotten] = nil }
        refusals.updateValue(refusal, forKey: request)
    }
}
