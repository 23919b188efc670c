import Base
import ClusterModel
import Membership
import Wire

/// Hosts with membership only, on a network in virtual time: one seed, one history.
struct VirtualNetwork {
    /// A host and how the test mistreats it.
    struct Host {
        var core: MembershipCore
        var address: SocketAddress
        var bootEpoch: BootEpoch
        /// False after a crash: nothing is sent, received or ticked.
        var isRunning = true
        /// Until then the host's process is stopped; what arrives waits in its socket.
        var pausedUntil = Instant.zero
        /// Hosts reach each other only within the same side.
        var side = 0
        /// Every `changed`, in order.
        var changes: [(at: Instant, member: Member, from: MemberStatus?)] = []
    }

    private struct Delivery {
        let at: Instant
        let order: Int
        let from: Int
        let bootEpoch: BootEpoch
        let source: SocketAddress
        let target: SocketAddress
        let receiver: HostID?
        let message: MembershipMessage
    }

    private(set) var now = Instant.zero
    var hosts: [Host] = []
    /// Losses in thousandths of all datagrams.
    var lossPerThousand = 0
    var latency: ClosedRange<Duration> = .milliseconds(1)...(.milliseconds(10))
    /// The largest encoded datagram.
    private(set) var bytesMax = 0
    /// All datagrams sent.
    private(set) var sentCount = 0
    /// Ticks at which a core neither sent, nor changed its mind, nor moved its deadline on.
    private(set) var idleTicks = 0
    /// False skips encoding and decoding, for large clusters.
    var isEncoding = true

    private var queue: [Delivery] = []
    private var order = 0
    private var random: RandomSource
    let config: MembershipConfig

    init(seed: UInt64 = 1, config: MembershipConfig = MembershipConfig()) {
        random = RandomSource(seed: seed)
        self.config = config
    }

    static func address(_ number: Int) -> SocketAddress {
        SocketAddress(10, 0, UInt8(number / 256), UInt8(number % 256), port: 7_400)
    }

    static func id(_ number: Int) -> HostID { HostID(testing: UInt64(number + 1)) }

    static func facts(_ number: Int) -> HostFacts {
        HostFacts(
            name: "host-\(number)", capacity: Resources(millicores: 8_000, memoryBytes: 1 << 34))
    }

    /// Starts the next host; all but the first join through the first.
    @discardableResult mutating func start() -> Int {
        let number = hosts.count
        hosts.append(
            Host(
                core: core(number, BootEpoch(1_000), VirtualNetwork.address(number)),
                address: VirtualNetwork.address(number), bootEpoch: BootEpoch(1_000)))
        if number > 0 { give(number, .join([hosts[0].address])) }
        return number
    }

    /// Starts a host anew under a newer boot epoch, joining through `seed`.
    mutating func restart(_ number: Int, address: SocketAddress? = nil, seed: Int) {
        let epoch = BootEpoch(hosts[number].bootEpoch.value + 1)
        let address = address ?? hosts[number].address
        hosts[number].core = core(number, epoch, address)
        hosts[number].bootEpoch = epoch
        hosts[number].address = address
        hosts[number].isRunning = true
        give(number, .join([hosts[seed].address]))
    }

    private func core(_ number: Int, _ epoch: BootEpoch, _ address: SocketAddress) -> MembershipCore
    {
        MembershipCore(
            id: VirtualNetwork.id(number), bootEpoch: epoch, address: address,
            facts: VirtualNetwork.facts(number), config: config,
            random: random.fork("host \(number) \(epoch.value)"), now: now)
    }

    /// Hands one input to a host and takes its outputs.
    mutating func give(_ number: Int, _ input: MembershipInput) {
        var outputs: [MembershipOutput] = []
        let before = hosts[number].core.nextDeadline
        hosts[number].core.handle(input, at: now, into: &outputs)
        if case .tick = input, outputs.isEmpty, hosts[number].core.nextDeadline == before {
            idleTicks += 1
        }
        for output in outputs {
            switch output {
            case .send(let message, let target, let receiver):
                send(message, from: number, to: target, receiver: receiver)
            case .changed(let member, let from):
                hosts[number].changes.append((now, member, from))
            }
        }
    }

    private mutating func send(
        _ given: MembershipMessage, from: Int, to target: SocketAddress, receiver: PeerIdentity?
    ) {
        sentCount += 1
        var message = given
        if isEncoding {
            let bytes = given.encoded
            bytesMax = max(bytesMax, bytes.count)
            guard let decoded = try? MembershipMessage(decoding: bytes) else {
                preconditionFailure("a core sent what nobody can read: \(given)")
            }
            message = decoded
        }
        if random.happens(perThousand: lossPerThousand) { return }
        order += 1
        push(
            Delivery(
                at: now + random.duration(in: latency), order: order, from: from,
                bootEpoch: hosts[from].bootEpoch, source: hosts[from].address, target: target,
                receiver: receiver?.hostID, message: message))
    }

    /// Runs until `duration` has passed.
    mutating func run(for duration: Duration) { run(until: now + duration) { _ in false } }

    /// Runs until a condition holds; false when it did not within `duration`.
    mutating func run(
        atMost duration: Duration, until holds: (VirtualNetwork) -> Bool
    ) -> Bool {
        run(until: now + duration, orWhen: holds)
        return holds(self)
    }

    private mutating func run(until end: Instant, orWhen holds: (VirtualNetwork) -> Bool) {
        var steps = 0
        while let next = nextEvent(), next <= end {
            now = max(now, next)
            if let first = queue.first, first.at <= now {
                deliver(pop())
            } else {
                tickDue()
            }
            steps += 1
            if steps % 16 == 0, holds(self) { return }
        }
        now = end
    }

    private func nextEvent() -> Instant? {
        var next = queue.first?.at
        for number in hosts.indices where hosts[number].isRunning {
            guard let deadline = hosts[number].core.nextDeadline else { continue }
            let due = max(deadline, hosts[number].pausedUntil)
            next = min(next ?? due, due)
        }
        return next
    }

    private mutating func tickDue() {
        for number in hosts.indices where hosts[number].isRunning {
            guard let deadline = hosts[number].core.nextDeadline,
                max(deadline, hosts[number].pausedUntil) <= now
            else { continue }
            give(number, .tick)
        }
    }

    private mutating func deliver(_ delivery: Delivery) {
        let target = hosts.firstIndex { $0.isRunning && $0.address == delivery.target }
        guard let target, hosts[target].side == hosts[delivery.from].side else { return }
        // Only the host that is named may read it.
        guard delivery.receiver ?? VirtualNetwork.id(target) == VirtualNetwork.id(target) else {
            return
        }
        if hosts[target].pausedUntil > now {
            // Behind whatever the stopped host's own timers do first.
            order += 1
            push(
                Delivery(
                    at: hosts[target].pausedUntil + .microseconds(1), order: order,
                    from: delivery.from, bootEpoch: delivery.bootEpoch, source: delivery.source,
                    target: delivery.target, receiver: delivery.receiver, message: delivery.message)
            )
            return
        }
        give(
            target,
            .received(
                delivery.message, from: VirtualNetwork.id(delivery.from),
                bootEpoch: delivery.bootEpoch, address: delivery.source))
    }

    // MARK: - Questions

    /// What one host believes of another.
    func status(of other: Int, at number: Int) -> MemberStatus? {
        hosts[number].core.member(VirtualNetwork.id(other))?.status
    }

    /// True when every running host holds every running host alive, with its facts.
    var isWhole: Bool {
        let running = hosts.indices.filter { hosts[$0].isRunning }
        return running.allSatisfy { number in
            running.allSatisfy { other in
                guard let member = hosts[number].core.member(VirtualNetwork.id(other)) else {
                    return false
                }
                return member.status == .alive && member.bootEpoch == hosts[other].bootEpoch
                    && member.facts?.version
                        == hosts[other].core.member(VirtualNetwork.id(other))?.facts?.version
            }
        }
    }

    /// How often anybody declared anybody dead.
    var deathCount: Int {
        hosts.reduce(into: 0) { $0 += $1.changes.count { $0.member.status == .dead } }
    }

    // MARK: - Queue: a binary heap by (at, order).

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        (queue[left].at, queue[left].order) < (queue[right].at, queue[right].order)
    }

    private mutating func push(_ delivery: Delivery) {
        queue.append(delivery)
        var child = queue.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            queue.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func pop() -> Delivery {
        queue.swapAt(0, queue.count - 1)
        let first = queue.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < queue.count && isBefore(child, least) {
                least = child
            }
            if least == parent { return first }
            queue.swapAt(parent, least)
            parent = least
        }
    }
}
