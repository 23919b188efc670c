import Base
import ClusterModel
import ClusterState
import Consensus
import Membership
import PeerCore

/// A whole cluster in virtual time: the agents' own code over a virtual network, disks and sets.
///
/// One thread, one queue of events, one seed: the same seed gives the same history, byte for byte.
package struct World {
    /// What may happen.
    enum Event {
        case datagram([UInt8], from: PeerIdentity, address: SocketAddress, to: Int, PeerIdentity)
        case message([UInt8], from: Int, id: HostID, bootEpoch: BootEpoch, to: HostID)
        case tick(host: Int)
        case deferred(PeerInput, host: Int, id: HostID, bootEpoch: BootEpoch)
        case flushed(host: Int, id: HostID, bootEpoch: BootEpoch, ticket: UInt64)
        case setStarted(host: Int, SlotID, LogIndex)
        case containerStarted(host: Int, SlotID, LogIndex, container: String)
        case setGone(host: Int, SlotID, LogIndex)
        case trashEmptied(host: Int, id: HostID, volume: String)
        case markQuiet
        case fault(Fault)
        case write
    }

    /// What may go wrong.
    enum Fault {
        case partition
        case heal
        case agentCrash
        case hostCrash
        case start(host: Int)
        case containerExit
        case stall
        case slowDisk
        case hostLoss
        case visit
        case depart(host: Int)
    }

    package let options: SimulationOptions
    /// Virtual time.
    package internal(set) var now = Instant.zero
    var hosts: [SimulatedHost]
    var queue = EventQueue<Event>()
    /// Chance of the network and disks, of faults, of users: apart, so that one moves no other.
    var networkRandom: RandomSource
    var faultRandom: RandomSource
    var writeRandom: RandomSource
    /// For each pair, whether packets pass from the first to the second.
    var isCut: [[Bool]]
    /// When the last message of a pair arrives: messages keep their order.
    var lastArrival: [[Instant]]
    /// True while the outputs of one input are carried out.
    private var isInterpreting = false
    /// The newest start of each host that each start of an agent has heard from.
    var heard: [PeerIdentity: [HostID: BootEpoch]] = [:]
    var faultsAreOn = true
    var checker = Checker()
    /// Chance of what services ask for of volumes.
    var volumeRandom: RandomSource
    /// How many volumes were made.
    var lastVolume = 0
    /// What users asked for and were told.
    var users = Users()
    /// Everything that happened, as one number.
    var history = FingerprintHasher()
    package internal(set) var eventCount = 0
    /// Events in a row at one instant: too many are an endless loop.
    private var stuckCount = 0
    /// The hosts to which the present event happened.
    var touched: [Int] = []
    /// What an output broke; thrown once the event is over.
    var broken: Violation?
    /// How far the log was shortly before the end: at rest nothing is written.
    var quietIndex: LogIndex?
    /// How many identities were given out.
    var lastIdentity: UInt64
    /// Prints a line for everything that matters.
    let isVerbose: Bool
    /// The last lines, for a report on failure.
    var recentLines: [String] = []

    package init(options: SimulationOptions, verbose: Bool = false) {
        self.options = options
        isVerbose = verbose
        let random = RandomSource(seed: options.seed)
        networkRandom = random.fork("network")
        faultRandom = random.fork("faults")
        writeRandom = random.fork("writes")
        volumeRandom = random.fork("volumes")
        // The last of them comes and goes.
        let count = options.hosts + (options.visitEvery == nil ? 0 : 1)
        isCut = Array(repeating: Array(repeating: false, count: count), count: count)
        lastArrival = Array(repeating: Array(repeating: .zero, count: count), count: count)
        var clockRandom = random.fork("clocks")
        let drift = Int64(options.driftPerMillion)
        hosts = (0..<count).map { index in
            SimulatedHost(
                id: HostID(testing: UInt64(index + 1)),
                address: SocketAddress(10, 0, 0, UInt8(index + 1), port: 7_400),
                facts: HostFacts(
                    name: "h\(index + 1)",
                    capacity: Resources(millicores: 4_000, memoryBytes: 4 << 30, sets: 40),
                    zone: Zone(datacenter: "d1", rack: "r\(index % 3)")),
                bootedAt: Instant.zero - clockRandom.duration(in: .zero ... .seconds(1_000_000)),
                driftPerMillion: Int64.random(in: -drift...drift, using: &clockRandom))
        }
        lastIdentity = UInt64(count)
        if options.visitEvery != nil { hosts[count - 1].isAway = true }
        hosts[0].disk = SimulatedDisk(ConsensusCore.bootstrap(voter: hosts[0].id))
    }

    /// Runs both phases; throws what was found wrong.
    package mutating func run() throws(Violation) {
        for index in hosts.indices { start(host: index) }
        scheduleFirstFaults()
        queue.schedule(.write, at: now + .seconds(3))
        try advance(to: Instant.zero + options.faultPhase)
        endFaults()
        try comeToRest()
    }

    /// Lets the rest phase pass and checks what must hold after it.
    mutating func comeToRest() throws(Violation) {
        queue.schedule(.markQuiet, at: now + options.restPhase - World.quietPhase)
        try advance(to: now + options.restPhase)
        try checkRest()
    }

    /// How long nothing may be written before the end.
    ///
    /// The longest delay before something that
    /// failed is tried again is a minute; the rest lasts twice that.
    static let quietPhase = Duration.seconds(25)

    /// A number that is equal for equal histories.
    package var fingerprint: UInt64 {
        var hasher = history
        hasher.combine(UInt64(eventCount))
        for host in hosts {
            hasher.combine(host.peer?.state.fingerprint ?? 0)
            hasher.combine(host.peer?.consensus.lastIndex.value ?? 0)
        }
        return hasher.value
    }

    /// Lets everything happen that is due until then.
    mutating func advance(to end: Instant) throws(Violation) {
        while let next = queue.nextInstant, next <= end, let (at, event) = queue.next() {
            stuckCount = at == now ? stuckCount + 1 : 0
            guard stuckCount < 100_000 else {
                throw Violation("rule 8: 100,000 events at one instant; the last: \(event)")
            }
            now = at
            eventCount += 1
            happen(event)
            try checkStep()
        }
        now = end
    }

    private mutating func happen(_ event: Event) {
        switch event {
        case .datagram(let bytes, let sender, let address, let host, let receiver):
            deliver(bytes, from: sender, address: address, to: host, meantFor: receiver)
        case .message(let bytes, let sender, let id, let bootEpoch, let receiver):
            // A connection dies with the process that opened it, and knows whom it reaches.
            guard hosts[sender].id == id, hosts[sender].bootEpoch == bootEpoch,
                let host = hosts.firstIndex(where: { $0.id == receiver })
            else { return }
            feed(.message(bytes, from: id), to: host)
        case .tick(let host):
            guard hosts[host].tickAt == now else { return }
            hosts[host].tickAt = nil
            countTick(host)
            feed(.tick, to: host)
        case .deferred(let input, let host, let id, let bootEpoch):
            guard hosts[host].id == id, hosts[host].bootEpoch == bootEpoch else { return }
            feed(input, to: host)
        case .flushed(let host, let id, let bootEpoch, let ticket):
            guard hosts[host].id == id, hosts[host].bootEpoch == bootEpoch,
                hosts[host].peer != nil
            else { return }
            hosts[host].isFlushing = false
            for ticket in hosts[host].disk.flush(through: ticket) {
                feed(.persisted(ticket: ticket), to: host)
            }
            flushIfIdle(host)
        case .setStarted(let host, let slot, let index):
            setStarted(host, slot, index)
        case .containerStarted(let host, let slot, let index, let container):
            containerStarted(host, slot, index, container)
        case .setGone(let host, let slot, let index):
            setGone(host, slot, index)
        case .trashEmptied(let host, let id, let volume):
            emptyTrash(host, id, volume)
        case .fault(let fault):
            happen(fault)
        case .write:
            write()
        case .markQuiet:
            quietIndex = hosts.compactMap { $0.peer?.appliedIndex }.max()
        }
    }

    /// A deadline that is always due makes an agent spin without standing still in time.
    private mutating func countTick(_ host: Int) {
        let second = now.nanoseconds / 1_000_000_000
        if hosts[host].tickSecond != second {
            hosts[host].tickSecond = second
            hosts[host].tickCount = 0
        }
        hosts[host].tickCount += 1
        if hosts[host].tickCount > World.ticksPerSecondMax {
            broken = Violation(
                "rule 8: h\(host + 1) ticks more than \(World.ticksPerSecondMax) times a second")
        }
    }

    /// The most ticks of one host in one second; usual are less than a hundred.
    static let ticksPerSecondMax = 2_000

    // MARK: Feeding a brain

    mutating func feed(_ input: PeerInput, to host: Int) {
        guard hosts[host].peer != nil else { return }
        // What an output brings about is heard after the outputs beside it were carried out.
        guard now >= hosts[host].stalledUntil, !isInterpreting else {
            return queue.schedule(
                .deferred(
                    input, host: host, id: hosts[host].id, bootEpoch: hosts[host].bootEpoch),
                at: max(now, hosts[host].stalledUntil))
        }
        touched.append(host)
        var outputs: [PeerOutput] = []
        let clock = hosts[host].clock(at: now)
        hosts[host].peer?.handle(input, at: clock, into: &outputs)
        isInterpreting = true
        for output in outputs { interpret(output, of: host) }
        isInterpreting = false
        guard let deadline = hosts[host].peer?.nextDeadline else { return }
        let due = max(hosts[host].trueInstant(of: deadline), now + .microseconds(1))
        guard hosts[host].tickAt.map({ due < $0 }) ?? true else { return }
        hosts[host].tickAt = due
        queue.schedule(.tick(host: host), at: due)
    }

    private mutating func interpret(_ output: PeerOutput, of host: Int) {
        switch output {
        case .persist(let request):
            hosts[host].disk.write(request)
            flushIfIdle(host)
        case .sendDatagram(let bytes, let address, let receiver):
            sendDatagram(bytes, from: host, to: address, receiver: receiver)
        case .sendMessage(let bytes, let id, _):
            sendMessage(bytes, from: host, to: id)
        case .run(let order):
            checkOrder(order, of: host)
            run(order, on: host)
        case .trashVolumes(let volumes, _): trash(volumes, on: host)
        case .restart(let slot, let index, let container):
            queue.schedule(
                .containerStarted(host: host, slot, index, container: container),
                at: now + networkRandom.duration(in: .milliseconds(5)...(.milliseconds(100))))
        case .stop(let slot, let index, _):
            checkStop(slot, index, of: host)
            queue.schedule(
                .setGone(host: host, slot, index),
                at: now + networkRandom.duration(in: .milliseconds(5)...(.milliseconds(500))))
        case .answered(let ticket, let outcome, let index):
            users.answered(ticket, outcome, index, &checker)
        case .unanswered(let ticket, let failure):
            users.unanswered(ticket, failure)
        case .applied(_, let events):
            for event in events where isVerbose {
                say(host, "\(event.index) \(event.kind) \(event.subject): \(event.message)")
            }
        case .member(let member, let before):
            if before != member.status { say(host, "\(member.id.short) is \(member.status)") }
        case .lease(let holder, let epoch):
            say(host, "epoch \(epoch): lease \(holder?.short ?? "-")")
        case .note(let note):
            say(host, "note \(note)")
        }
    }

    mutating func say(_ host: Int?, _ text: String) {
        let line = "\(now) h\(host.map { String($0 + 1) } ?? "*") \(text)"
        history.combine(bytes: line.utf8)
        recentLines.append(line)
        if recentLines.count > 400 { recentLines.removeFirst(200) }
        if isVerbose { print(line) }
    }
}

extension World {
    /// The last lines of the history, for a report.
    package func lastLines(_ count: Int) -> [String] { Array(recentLines.suffix(count)) }
}
