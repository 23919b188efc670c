import Base
import ClusterModel
import ClusterState
import Consensus
import EventLoop
import Membership
import PeerCore
import Storage
import Transport

/// Interprets one host's brain on a real host: sockets, disk and clock on one side, `Peer` on the
/// other. Lives on the peer plane's loop, with nothing that can block.
package actor PeerDriver {
    /// What a write came to.
    package enum SubmitResult: Sendable {
        /// It is in the log at this index; the state accepted or refused it.
        case done(CommandOutcome, LogIndex)
        /// It was not seen in the log in time.
        case failed(SubmitFailure)
    }

    /// What others must do for the brain.
    package struct Handlers: Sendable {
        /// An order for this host's sets.
        package var order: @Sendable (HostOrder) -> Void
        /// Gossip's members changed.
        package var members: @Sendable ([Member]) -> Void
        /// A peer opened a stream to this host.
        package var stream: @Sendable (PeerIdentity, [UInt8], PeerStream) -> Void

        package init(
            order: @escaping @Sendable (HostOrder) -> Void,
            members: @escaping @Sendable ([Member]) -> Void,
            stream: @escaping @Sendable (PeerIdentity, [UInt8], PeerStream) -> Void
        ) {
            self.order = order
            self.members = members
            self.stream = stream
        }
    }

    /// An order for this host's sets.
    package enum HostOrder: Sendable {
        /// Make it run.
        case run(SetOrder)
        /// Start one container again.
        case restart(SlotID, placementIndex: LogIndex, container: String)
        /// Put volumes into the trash.
        case trashVolumes([VolumeReport], reason: String)
        /// End it.
        case stop(SlotID, placementIndex: LogIndex, reason: String)
    }

    /// The loop everything here runs on.
    package nonisolated let loop: EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        loop.asUnownedSerialExecutor()
    }

    /// The brain.
    var peer: Peer
    let plane: PeerPlane
    private let store: LogStore
    private let log: AgentLog
    private let startedAt = WallTime.now
    private var handlers: Handlers?
    private var timer: LoopTimer?
    private var waiting: [UInt64: CheckedContinuation<SubmitResult, Never>] = [:]
    private var lastTicket: UInt64 = 0
    /// What waits for the disk, in order; the first `persisting` of them are on their way.
    private var persistQueue: [PersistRequest] = []
    private var persisting = 0
    private var storageTrouble = false
    private var undecodableTold: [HostID: Instant] = [:]

    package init(loop: EventLoop, plane: PeerPlane, store: LogStore, peer: Peer, log: AgentLog) {
        self.loop = loop
        self.plane = plane
        self.store = store
        self.peer = peer
        self.log = log
    }

    /// Binds the peer plane and lets the brain run.
    package func start(_ handlers: Handlers, join: [SocketAddress]) throws {
        self.handlers = handlers
        timer = LoopTimer(loop: loop) { [weak self] in
            self?.assumeIsolated { $0.feed(.tick) }
        }
        try plane.assumeIsolated { plane in
            try plane.start(
                PeerPlaneHandlers(
                    datagram: { [weak self] sender, address, bytes in
                        self?.assumeIsolated {
                            $0.feed(
                                .datagram(
                                    bytes, from: sender.hostID, bootEpoch: sender.bootEpoch,
                                    address: address))
                        }
                    },
                    message: { [weak self] sender, bytes in
                        self?.assumeIsolated { $0.feed(.message(bytes, from: sender.hostID)) }
                    },
                    stream: handlers.stream))
        }
        feed(.clock(.now))
        if !join.isEmpty { feed(.join(join)) }
        feed(.tick)
    }

    /// Closes the peer plane.
    ///
    /// No goodbye: the agent may be back in a second, and its sets run on; if it is not, the others
    /// notice as they would notice a crash.
    package func stop() {
        timer?.close()
        timer = nil
        plane.assumeIsolated { $0.stop() }
    }

    /// Hands an input to the brain and carries out what it says.
    package func feed(_ input: PeerInput) {
        var outputs: [PeerOutput] = []
        peer.handle(input, at: loop.now(), into: &outputs)
        for output in outputs { interpret(output) }
        persistNext()
        armTimer()
    }

    /// Asks for a write and waits until it is in this host's copy of the log.
    package func submit(_ command: Command) async -> SubmitResult {
        lastTicket += 1
        let ticket = lastTicket
        return await withCheckedContinuation { continuation in
            waiting[ticket] = continuation
            feed(.submit(ticket: ticket, command))
        }
    }

    /// Looks at the brain; copies are cheap, so take them along and compute elsewhere.
    package func read<Value: Sendable>(_ body: @Sendable (Peer, Instant) -> Value) -> Value {
        body(peer, loop.now())
    }

    /// What the peer plane counted, by name.
    package func counters() -> [String: UInt64] { plane.assumeIsolated { $0.counters }.byName }

    /// Opens a stream to a host that gossip or the log knows.
    package func openStream(to host: HostID, header: [UInt8]) async throws -> PeerStream {
        guard let address = peer.address(of: host) else {
            throw AgentError("the address of host \(host.short) is not known")
        }
        return try await plane.open(
            streamTo: host, at: address, header: header, timeout: .seconds(5))
    }

    private func armTimer() {
        guard let timer else { return }
        guard let deadline = peer.nextDeadline else { return timer.stop() }
        timer.start(after: max(deadline - loop.now(), .milliseconds(1)))
    }

    private func interpret(_ output: PeerOutput) {
        switch output {
        case .persist(let request):
            persistQueue.append(request)
        case .sendDatagram(let bytes, let address, let receiver):
            plane.assumeIsolated { $0.send(datagram: bytes, to: address, receiver: receiver) }
        case .sendMessage(let bytes, let host, let address):
            plane.assumeIsolated { $0.send(message: bytes, to: host, at: address) }
        case .run(let order):
            handlers?.order(.run(order))
        case .restart(let slot, let index, let container):
            handlers?.order(.restart(slot, placementIndex: index, container: container))
        case .trashVolumes(let volumes, let reason):
            handlers?.order(.trashVolumes(volumes, reason: reason))
        case .stop(let slot, let index, let reason):
            handlers?.order(.stop(slot, placementIndex: index, reason: reason))
        case .answered(let ticket, let outcome, let index):
            waiting.removeValue(forKey: ticket)?.resume(returning: .done(outcome, index))
        case .unanswered(let ticket, let failure):
            waiting.removeValue(forKey: ticket)?.resume(returning: .failed(failure))
        case .applied(_, let events):
            for event in events {
                // What the log is caught up with at a start is no news.
                let age = event.time < startedAt ? "earlier, at \(event.time.rfc3339): " : ""
                log.info("\(age)\(event.kind.rawValue) \(event.subject): \(event.message)")
            }
        case .member(let member, let before):
            tell(member, before: before)
        case .lease(let holder, let epoch):
            tell(leaseholder: holder, epoch: epoch)
        case .note(let note):
            guard mayTell(note) else { return }
            log.warning(note.sentence)
        }
    }

    /// A peer of another version may send much that cannot be read: one line a minute each.
    private func mayTell(_ note: PeerNote) -> Bool {
        guard case .undecodable(let host, _) = note else { return true }
        let now = loop.now()
        if let last = undecodableTold[host], now - last < .seconds(60) { return false }
        if undecodableTold.count > 10_000 { undecodableTold = [:] }
        undecodableTold[host] = now
        return true
    }

    private func tell(_ member: Member, before: MemberStatus?) {
        if before != member.status {
            let name = member.facts?.name ?? member.id.short
            log.info("host \(name) (\(member.id.short)) at \(member.address) is \(member.status)")
        }
        handlers?.members(peer.membership.members)
    }

    private func tell(leaseholder: HostID?, epoch: Epoch) {
        if let leaseholder {
            let who = leaseholder == peer.id ? "this host" : leaseholder.short
            log.info("epoch \(epoch): \(who) holds the lease")
        } else {
            log.warning("epoch \(epoch): nobody is known to hold the lease")
        }
    }
}

// MARK: - Disk

extension PeerDriver {
    /// Writes everything that waits in one transaction; what fails is tried again by the store, in
    /// order, until the disk takes it.
    ///
    /// Nothing is acknowledged before, so nothing acknowledged is lost.
    private func persistNext() {
        guard persisting == 0, !persistQueue.isEmpty else { return }
        persisting = persistQueue.count
        store.persist(persistQueue) { [weak self, loop] result in
            guard let driver = self else { return }
            loop.perform { driver.assumeIsolated { $0.persisted(result) } }
        }
    }

    private func persisted(_ result: Result<[UInt64], StorageError>) {
        let count = persisting
        switch result {
        case .success:
            if storageTrouble { log.info("the log's disk takes writes again") }
            storageTrouble = false
            persisting = 0
            let done = persistQueue.prefix(count).map(\.ticket)
            persistQueue.removeFirst(count)
            for ticket in done { feed(.persisted(ticket: ticket)) }
        case .failure(let error):
            // The store itself tries again, in order, and calls once more when the disk took it.
            if !storageTrouble { log.error("\(error)") }
            storageTrouble = true
        }
    }
}

extension PeerNote {
    /// The note in words.
    var sentence: String {
        switch self {
        case .undecodable(let host, let what):
            "host \(host.short) sent what this version cannot read (\(what)); is it older or newer?"
        case .unreadableEntry(let index):
            "log entry \(index) is of a newer version and was skipped; update this agent"
        case .unknownSet(let slot):
            "set \(slot) runs here but the cluster's state does not know it; it is left alone"
        case .registrationRefused(let reason):
            "the cluster refuses this host: \(reason)"
        }
    }
}

/// Why the agent could not do something, in words for the operator.
package struct AgentError: Error, CustomStringConvertible {
    /// What was attempted on what, and what to do.
    package let description: String

    package init(_ description: String) { self.description = description }
}

extension PeerPlaneCounters {
    /// The counts by name, as `shoal status` shows them.
    var byName: [String: UInt64] {
        [
            "datagramsReceived": datagramsReceived, "datagramsSent": datagramsSent,
            "datagramsUnsent": datagramsUnsent, "messagesReceived": messagesReceived,
            "messagesSent": messagesSent, "streamsReceived": streamsReceived, "forged": forged,
            "replayed": replayed, "truncated": truncated, "oversized": oversized,
            "foreign": foreign, "wrongCluster": wrongCluster, "staleBoot": staleBoot, "own": own,
            "misdirected": misdirected, "unintroduced": unintroduced,
            "introductions": introductions,
            "queueFull": queueFull, "messagesLost": messagesLost,
            "handshakeFailed": handshakeFailed, "connectFailed": connectFailed,
            "tooManyConnections": tooManyConnections, "protocolErrors": protocolErrors,
            "silentConnections": silentConnections,
        ]
    }
}
