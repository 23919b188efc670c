import Base
import Wire

@testable import Consensus

/// A broken rule, with when and where.
struct Violation: Error, CustomStringConvertible {
    let description: String
}

/// A whole cluster of consensus cores in virtual time: network, disks, crashes, checkers.
///
/// The same seed gives the same run. A disk makes requests durable in order and late; a crash
/// loses what is not durable yet. After every event the rules of the log and the lease are checked.
struct ClusterHarness {
    /// One host.
    struct Host {
        let id: HostID
        /// Nil while it is down.
        var core: ConsensusCore?
        /// What survives a crash.
        var disk = RestoredLog()
        /// Requests that are not durable yet.
        var writes: [PersistRequest] = []
        /// Counts starts, so that events of an earlier run of the process are dropped.
        var run = 0
        /// The last index applied or restored.
        var applied: UInt64 = 0
        /// The state machine: a hash over everything applied.
        var state: UInt64 = 0
        var stateIsFrom: UInt64 = 0
        var tickAt: Instant?
        var restores = 0
        /// How fast its clock runs, in thousandths of true time.
        var clockRate: Int64 = 1_000
        /// The longest that its disk takes.
        var diskDelayMax = Duration.milliseconds(15)
    }

    enum Event {
        case deliver([UInt8], from: Int, to: Int)
        case written(host: Int, run: Int, ticket: UInt64)
        case tick(host: Int, run: Int)
    }

    var hosts: [Host] = []
    var config: ConsensusConfig
    var random: RandomSource
    var now = Instant.zero
    /// Lost messages in thousandths.
    var lossPerThousand = 0
    /// Pairs that cannot talk, as `from * 100 + to`.
    var blocked: Set<Int> = []
    var wantedVoters: [HostID]?
    /// What the run has shown to be committed, from index 1.
    var committed: [LogEntry] = []
    /// The state after each committed index.
    var states: [UInt64] = [0]
    var leaders: [UInt64: Int] = [:]
    var appended: [UInt64: [UInt64: LogEntry]] = [:]
    var appendedProposals: [UInt64: (index: LogIndex, epoch: Epoch)] = [:]
    var refusedProposals: [UInt64: HostID?] = [:]
    var snapshotEvery: UInt64?
    /// Bytes added to every snapshot's state.
    var snapshotPadding = 0
    var diskStalled: Set<Int> = []
    var delivered = 0
    private var queue = EventQueue()

    init(hosts count: Int, seed: UInt64, config: ConsensusConfig = ConsensusConfig()) {
        self.config = config
        random = RandomSource(seed: seed)
        for number in 0..<count {
            hosts.append(Host(id: HostID(testing: UInt64(number + 1))))
        }
        hosts[0].disk = ConsensusCore.bootstrap(voter: hosts[0].id)
    }

    // MARK: - Faults

    mutating func start(_ host: Int) throws {
        guard hosts[host].core == nil else { return }
        hosts[host].run += 1
        hosts[host].applied = 0
        hosts[host].state = 0
        hosts[host].tickAt = nil
        let seed = random.next()
        hosts[host].core = ConsensusCore(
            id: hosts[host].id, restored: hosts[host].disk, config: config,
            random: RandomSource(seed: seed), now: clock(host))
        try input(.setFollowers(hosts.map(\.id)), to: host)
    }

    mutating func startAll() throws {
        for host in hosts.indices { try start(host) }
    }

    mutating func crash(_ host: Int) {
        hosts[host].core = nil
        hosts[host].writes = []
    }

    /// Crashes hosts and starts them again at the same instant.
    mutating func bounce(_ group: [Int]) throws {
        for host in group where hosts[host].core != nil { crash(host) }
        for host in group { try start(host) }
    }

    mutating func block(from: Int, to: Int) { blocked.insert(from * 100 + to) }

    mutating func isolate(_ group: [Int]) {
        for one in hosts.indices {
            for other in hosts.indices where group.contains(one) != group.contains(other) {
                blocked.insert(one * 100 + other)
            }
        }
    }

    // MARK: - Running

    /// Hands an input to a host and carries out what it asks for.
    mutating func input(_ input: ConsensusInput, to host: Int) throws {
        guard hosts[host].core != nil else { return }
        var outputs: [ConsensusOutput] = []
        let time = clock(host)
        hosts[host].core?.handle(input, at: time, into: &outputs)
        for output in outputs { try carryOut(output, on: host) }
        try checkLeader(host)
        try scheduleTick(host)
        if let every = snapshotEvery, hosts[host].applied >= hosts[host].stateIsFrom + every {
            try takeSnapshot(host)
        }
    }

    mutating func takeSnapshot(_ host: Int) throws {
        hosts[host].stateIsFrom = hosts[host].applied
        let taken = LogSnapshot(
            index: LogIndex(hosts[host].applied), epoch: .zero, voters: [],
            state: snapshotState(hosts[host].state))
        try input(.snapshotTaken(taken), to: host)
    }

    private func snapshotState(_ state: UInt64) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(state)
        return writer.bytes + [UInt8](repeating: 7, count: snapshotPadding)
    }

    /// Runs until a time; the last event is at or before it.
    mutating func run(for duration: Duration) throws {
        let end = now + duration
        while let (time, event) = queue.next(before: end) {
            now = time
            try happen(event)
            try checkLease()
        }
        now = end
        try checkLease()
    }

    /// Runs until a condition holds; false when it does not within the limit.
    mutating func run(
        atMost limit: Duration, until condition: (ClusterHarness) -> Bool
    ) throws -> Bool {
        let end = now + limit
        while !condition(self) {
            guard now < end else { return false }
            try run(for: .milliseconds(10))
        }
        return true
    }

    private mutating func happen(_ event: Event) throws {
        switch event {
        case .deliver(let bytes, let from, let to):
            guard !blocked.contains(from * 100 + to) else { return }
            delivered += 1
            let message = try ConsensusMessage(decoding: bytes)
            try input(.received(message, from: hosts[from].id), to: to)
        case .written(let host, let run, let ticket):
            guard hosts[host].run == run, hosts[host].core != nil else { return }
            if diskStalled.contains(host) {
                queue.add(event, at: now + .milliseconds(50))
                return
            }
            while let write = hosts[host].writes.first, write.ticket <= ticket {
                try hosts[host].disk.apply(write)
                hosts[host].writes.removeFirst()
            }
            try input(.persisted(ticket: ticket), to: host)
        case .tick(let host, let run):
            guard hosts[host].run == run, hosts[host].tickAt == now else { return }
            hosts[host].tickAt = nil
            if let wantedVoters, hosts[host].core?.role == .leaseholder {
                try input(.setVoters(wantedVoters), to: host)
            }
            try input(.tick, to: host)
        }
    }

    private mutating func carryOut(_ output: ConsensusOutput, on host: Int) throws {
        switch output {
        case .persist(let request):
            try checkAppended(request.entries)
            hosts[host].writes.append(request)
            let delay = random.duration(in: .milliseconds(1)...hosts[host].diskDelayMax)
            queue.add(
                .written(host: host, run: hosts[host].run, ticket: request.ticket),
                at: now + delay)
        case .send(let message, let target):
            send(message, from: host, to: target)
        case .apply(let entries):
            for entry in entries { try apply(entry, on: host) }
        case .restore(let snapshot):
            guard snapshot.index.value < states.count,
                snapshot.state == snapshotState(states[Int(snapshot.index.value)])
            else { throw violation("restored a state that was never committed", host) }
            hosts[host].applied = snapshot.index.value
            hosts[host].stateIsFrom = snapshot.index.value
            hosts[host].state = states[Int(snapshot.index.value)]
            hosts[host].restores += 1
        case .roleChanged: break
        case .proposalAppended(let ticket, let index, let epoch):
            appendedProposals[ticket] = (index, epoch)
        case .proposalRefused(let ticket, let leaseholder):
            refusedProposals[ticket] = leaseholder
        }
    }

    private mutating func send(_ message: ConsensusMessage, from: Int, to target: HostID) {
        guard let to = hosts.firstIndex(where: { $0.id == target }),
            !blocked.contains(from * 100 + to), !random.happens(perThousand: lossPerThousand)
        else { return }
        let copies = lossPerThousand > 0 && random.happens(perThousand: 20) ? 2 : 1
        for _ in 0..<copies {
            let late = lossPerThousand > 0 && random.happens(perThousand: 20)
            let delay = random.duration(
                in: .milliseconds(1) ... .milliseconds(late ? 3_000 : 20))
            queue.add(.deliver(message.encoded, from: from, to: to), at: now + delay)
        }
    }

    private mutating func scheduleTick(_ host: Int) throws {
        guard let deadline = hosts[host].core?.nextDeadline else {
            hosts[host].tickAt = nil
            return
        }
        // The first true nanosecond at which the host's clock shows the deadline.
        let rate = hosts[host].clockRate
        let time = max(
            Instant(nanoseconds: (deadline.nanoseconds * 1_000 + rate - 1) / rate), now)
        guard time != hosts[host].tickAt else { return }
        hosts[host].tickAt = time
        queue.add(.tick(host: host, run: hosts[host].run), at: time)
    }

    // MARK: - Checkers

    private func violation(_ text: String, _ host: Int) -> Violation {
        Violation(description: "\(now) host \(host): \(text)")
    }

    private mutating func apply(_ entry: LogEntry, on host: Int) throws {
        guard entry.index.value == hosts[host].applied + 1 else {
            throw violation("applied \(entry.index) after \(hosts[host].applied)", host)
        }
        var hasher = FingerprintHasher()
        hasher.combine(hosts[host].state)
        hasher.combine(bytes: entry.encoded)
        if entry.index.value == UInt64(committed.count) + 1 {
            committed.append(entry)
            states.append(hasher.value)
        }
        guard committed[Int(entry.index.value) - 1] == entry else {
            throw violation("entry \(entry.index) is committed twice, differently", host)
        }
        hosts[host].applied = entry.index.value
        hosts[host].state = hasher.value
        guard states[Int(entry.index.value)] == hasher.value else {
            throw violation("the state at \(entry.index) differs", host)
        }
    }

    private mutating func checkAppended(_ entries: [LogEntry]) throws {
        for entry in entries {
            if let known = appended[entry.index.value]?[entry.epoch.value] {
                guard known == entry else {
                    throw Violation(
                        description: "\(now) two entries at \(entry.index) of one epoch")
                }
            } else {
                appended[entry.index.value, default: [:]][entry.epoch.value] = entry
            }
        }
    }

    private mutating func checkLeader(_ host: Int) throws {
        guard let core = hosts[host].core, core.role == .leaseholder else { return }
        if let other = leaders[core.epoch.value] {
            guard other == host else {
                throw violation("leads epoch \(core.epoch), as host \(other) does", host)
            }
            return
        }
        leaders[core.epoch.value] = host
        guard let last = committed.last else { return }
        guard core.log.epoch(at: last.index) == last.epoch else {
            throw violation("leads epoch \(core.epoch) without entry \(last.index)", host)
        }
    }

    private func checkLease() throws {
        let holders = hosts.indices.filter { hosts[$0].core?.holdsLease(at: clock($0)) == true }
        guard holders.count <= 1 else {
            throw Violation(description: "\(now) hosts \(holders) hold the lease")
        }
    }

    // MARK: - Questions

    /// What a host's clock shows.
    func clock(_ host: Int) -> Instant {
        Instant(nanoseconds: now.nanoseconds * hosts[host].clockRate / 1_000)
    }

    /// The host that holds the lease.
    var leaseholder: Int? {
        hosts.indices.first { hosts[$0].core?.holdsLease(at: clock($0)) == true }
    }

    /// True when all running hosts have applied everything that is committed.
    var allApplied: Bool {
        hosts.allSatisfy { $0.core == nil || $0.applied == UInt64(committed.count) }
    }

    func voters(of host: Int) -> [Int] {
        let ids = hosts[host].core?.voters ?? []
        return hosts.indices.filter { ids.contains(hosts[$0].id) }
    }

    func ids(_ numbers: [Int]) -> [HostID] { numbers.map { hosts[$0].id } }
}

extension RestoredLog {
    /// Does to this what storage does; refuses what would leave a gap.
    mutating func apply(_ request: PersistRequest) throws {
        if let state = request.hardState { hardState = state }
        if let from = request.truncateFrom { entries.removeAll { $0.index >= from } }
        for entry in request.entries {
            let last = max(entries.last?.index ?? .zero, snapshot?.index ?? .zero)
            guard entry.index == last.next else {
                throw Violation(description: "persisted \(entry.index) after \(last)")
            }
            entries.append(entry)
        }
        if let new = request.snapshot { snapshot = new }
        if let through = request.compactThrough { entries.removeAll { $0.index <= through } }
        if let index = request.commitIndex {
            guard index >= commitIndex,
                index <= max(entries.last?.index ?? .zero, snapshot?.index ?? .zero)
            else { throw Violation(description: "noted commit \(index) after \(commitIndex)") }
            commitIndex = index
        }
        guard let first = entries.first else { return }
        guard first.index <= (snapshot?.index ?? .zero).next,
            entries.last.map({ $0.index >= snapshot?.index ?? .zero }) ?? true
        else { throw Violation(description: "the log does not meet its snapshot") }
    }
}

/// Events by time, then by order of arrival: a binary heap.
struct EventQueue {
    private var heap: [(time: Instant, order: UInt64, event: ClusterHarness.Event)] = []
    private var added: UInt64 = 0

    mutating func add(_ event: ClusterHarness.Event, at time: Instant) {
        added += 1
        heap.append((time, added, event))
        var child = heap.count - 1
        while child > 0, precedes(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func next(before end: Instant) -> (Instant, ClusterHarness.Event)? {
        guard let first = heap.first, first.time <= end else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var smallest = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && precedes(child, smallest) {
                smallest = child
            }
            guard smallest != parent else { break }
            heap.swapAt(parent, smallest)
            parent = smallest
        }
        return (first.time, first.event)
    }

    private func precedes(_ left: Int, _ right: Int) -> Bool {
        (heap[left].time, heap[left].order) < (heap[right].time, heap[right].order)
    }
}
