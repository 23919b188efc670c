import Base
import ClusterModel
import ClusterState
import Consensus
import Membership
import Scheduling
import Wire

/// One host's whole brain: gossip, log, state, the leaseholder's duties and the host's own.
///
/// Pure: everything that happens comes in as an input with the instant, everything to be done goes
/// out as an output. The agent interprets the outputs on a real host, the simulator in a virtual
/// one, and both run this same code.
///
/// Who decides what (design, section 4): liveness comes from gossip (`membership`), agreement from
/// the log (`consensus`), and only a peer that holds the lease turns the one into the other.
package struct Peer: Machine {
    /// This host.
    package let id: HostID
    /// This start of its agent.
    package let bootEpoch: BootEpoch
    /// Times and bounds.
    package let configuration: PeerConfiguration

    /// What gossip says about every host.
    package internal(set) var membership: MembershipCore
    /// The log and the lease.
    package internal(set) var consensus: ConsensusCore
    /// What was agreed, as far as this host has applied it.
    package internal(set) var state = ReplicatedState()
    /// The last entry applied to `state`.
    package internal(set) var appliedIndex = LogIndex.zero
    /// The epoch of that entry.
    var appliedEpoch = Epoch.zero
    /// The index of the last snapshot.
    var snapshotIndex = LogIndex.zero
    /// When this host last heard from the leaseholder (or was it); nil before the first time.
    package internal(set) var leaseholderHeardAt: Instant?

    /// What this host says of itself.
    var facts: HostFacts
    /// Where peers reach it.
    let address: SocketAddress
    /// Writes of this host that wait for their answer.
    var submissions = Submissions()
    /// Chooses hosts for slots.
    let scheduler: Scheduler
    /// The leaseholder's duties.
    var leader = LeaderDuties()
    /// The sets on this host.
    var hosted = HostDuties()
    /// Civil time at the clock's origin.
    var wallAtOrigin = WallTime(milliseconds: 0)
    /// The lease as last told to the interpreter.
    var toldLease: (holder: HostID?, epoch: Epoch) = (nil, .zero)

    package init(
        id: HostID, bootEpoch: BootEpoch, address: SocketAddress, facts: HostFacts,
        restored: RestoredLog, configuration: PeerConfiguration, random: RandomSource,
        now: Instant
    ) {
        self.id = id
        self.bootEpoch = bootEpoch
        self.configuration = configuration
        self.facts = facts
        self.address = address
        scheduler = Scheduler(config: configuration.scheduling)
        membership = MembershipCore(
            id: id, bootEpoch: bootEpoch, address: address, facts: facts,
            config: configuration.membership, random: random.fork("membership"), now: now)
        consensus = ConsensusCore(
            id: id, restored: restored, config: configuration.consensus,
            random: random.fork("consensus"), now: now)
    }

    package mutating func handle(
        _ input: PeerInput, at now: Instant, into outputs: inout [PeerOutput]
    ) {
        switch input {
        case .tick:
            gossip(.tick, at: now, into: &outputs)
            log(.tick, at: now, into: &outputs)
        case .datagram(let bytes, let sender, let bootEpoch, let address):
            receive(
                datagram: bytes, from: sender, bootEpoch: bootEpoch, address: address, at: now,
                into: &outputs)
        case .message(let bytes, let sender):
            receive(message: bytes, from: sender, at: now, into: &outputs)
        case .persisted(let ticket):
            log(.persisted(ticket: ticket), at: now, into: &outputs)
        case .submit(let ticket, let command):
            submit(command, ticket: ticket, at: now, into: &outputs)
        case .inventory(let found):
            hosted.take(inventory: found, configuration: configuration, at: now)
        case .observed(let observation):
            hosted.take(observation, configuration: configuration, at: now)
        case .join(let seeds):
            gossip(.join(seeds), at: now, into: &outputs)
        case .facts(let facts):
            take(facts, at: now, into: &outputs)
        case .clock(let time):
            wallAtOrigin = WallTime(
                milliseconds: time.milliseconds - now.nanoseconds / 1_000_000)
        case .volumes(let volumes):
            take(volumes: volumes.sorted { $0.id < $1.id })
        case .offer(let offer):
            hosted.offer = offer
            hosted.stateChanged = true
        case .leave:
            gossip(.leave, at: now, into: &outputs)
        }
        performDuties(at: now, into: &outputs)
    }

    package var nextDeadline: Instant? {
        var earliest: Instant?
        for deadline in [
            membership.nextDeadline, consensus.nextDeadline,
            submissions.nextDeadline(hasLeaseholder: consensus.leaseholder != nil),
            leader.nextDeadline, hosted.nextDeadline,
        ] {
            guard let deadline else { continue }
            earliest = min(earliest ?? deadline, deadline)
        }
        return earliest
    }

    /// What follows from any input: duties are derived from the state, never from the event.
    private mutating func performDuties(at now: Instant, into outputs: inout [PeerOutput]) {
        if consensus.role == .leaseholder { leaseholderHeardAt = now }
        performLeaderDuties(at: now, into: &outputs)
        performHostDuties(at: now, into: &outputs)
        retrySubmissions(at: now, into: &outputs)
        takeSnapshotIfDue(at: now, into: &outputs)
    }

    /// Civil time at an instant, as far as the interpreter has told it.
    func wallTime(at now: Instant) -> WallTime {
        WallTime(milliseconds: wallAtOrigin.milliseconds + now.nanoseconds / 1_000_000)
    }

    /// Where to reach a host: gossip knows best, the log's registration is the fallback.
    package func address(of host: HostID) -> SocketAddress? {
        membership.member(host)?.address ?? state.host(host)?.registration.address
    }
}

// MARK: - What arrives

extension Peer {
    private mutating func receive(
        datagram bytes: [UInt8], from sender: HostID, bootEpoch: BootEpoch,
        address: SocketAddress, at now: Instant, into outputs: inout [PeerOutput]
    ) {
        do throws(WireError) {
            let message = try MembershipMessage(decoding: bytes)
            gossip(
                .received(message, from: sender, bootEpoch: bootEpoch, address: address),
                at: now, into: &outputs)
        } catch {
            outputs.append(.note(.undecodable(from: sender, what: "datagram: \(error)")))
        }
    }

    private mutating func receive(
        message bytes: [UInt8], from sender: HostID, at now: Instant,
        into outputs: inout [PeerOutput]
    ) {
        do throws(WireError) {
            switch try PeerMessage(decoding: bytes) {
            case .consensus(let message):
                log(.received(message, from: sender), at: now, into: &outputs)
                if sender == consensus.leaseholder { leaseholderHeardAt = now }
            case .forward(let envelope):
                accept(forwarded: envelope, from: sender, at: now, into: &outputs)
            }
        } catch {
            outputs.append(.note(.undecodable(from: sender, what: "message: \(error)")))
        }
    }
}

// MARK: - Driving the cores

extension Peer {
    /// Hands an input to gossip and carries its outputs on.
    mutating func gossip(
        _ input: MembershipInput, at now: Instant, into outputs: inout [PeerOutput]
    ) {
        var produced: [MembershipOutput] = []
        membership.handle(input, at: now, into: &produced)
        for output in produced {
            switch output {
            case .send(let message, let address, let receiver):
                outputs.append(.sendDatagram(message.encoded, to: address, receiver: receiver))
            case .changed(let member, let before):
                // Changed facts decide nothing here; at thousands of hosts they are frequent.
                if before != member.status { leader.hostsChanged = true }
                outputs.append(.member(member, from: before))
            }
        }
    }

    /// Hands an input to the log and carries its outputs on.
    mutating func log(
        _ input: ConsensusInput, at now: Instant, into outputs: inout [PeerOutput]
    ) {
        var produced: [ConsensusOutput] = []
        consensus.handle(input, at: now, into: &produced)
        for output in produced {
            switch output {
            case .persist(let request):
                outputs.append(.persist(request))
            case .send(let message, let host):
                send(.consensus(message), to: host, into: &outputs)
            case .apply(let entries):
                for entry in entries { apply(entry, at: now, into: &outputs) }
            case .restore(let snapshot):
                restore(snapshot, into: &outputs)
            case .roleChanged(_, let epoch, let leaseholder):
                roleChanged(epoch: epoch, leaseholder: leaseholder, at: now, into: &outputs)
            case .proposalAppended(let ticket, _, _):
                submissions.appended(ticket)
            case .proposalRefused(let ticket, _):
                submissions.sendAgain(ticket, at: now)
            }
        }
    }

    func send(_ message: PeerMessage, to host: HostID, into outputs: inout [PeerOutput]) {
        guard let address = address(of: host) else { return }
        outputs.append(.sendMessage(message.encoded, to: host, at: address))
    }

    private mutating func roleChanged(
        epoch: Epoch, leaseholder: HostID?, at now: Instant, into outputs: inout [PeerOutput]
    ) {
        let leads = consensus.role == .leaseholder
        leader.roleChanged(leads: leads, at: now)
        if !leads { submissions.dropDecisions() }
        if leaseholder != nil { submissions.sendAllAgain(at: now) }
        guard toldLease.holder != leaseholder || toldLease.epoch != epoch else { return }
        toldLease = (leaseholder, epoch)
        outputs.append(.lease(holder: leaseholder, epoch: epoch))
    }

    /// Applies one committed entry: the same on every host, at every time.
    private mutating func apply(
        _ entry: LogEntry, at now: Instant, into outputs: inout [PeerOutput]
    ) {
        appliedIndex = entry.index
        appliedEpoch = entry.epoch
        guard case .command(let bytes) = entry.payload else { return }
        guard let envelope = try? CommandEnvelope(decoding: bytes) else {
            outputs.append(.note(.unreadableEntry(entry.index)))
            return
        }
        let isOwn = envelope.request.host == id && envelope.request.bootEpoch == bootEpoch
        let outcome = state.apply(envelope, at: entry.index, epoch: entry.epoch)
        leader.applied(envelope, own: isOwn)
        if isOwn, envelope.request.number == hosted.registrationNumber {
            registrationAnswered(outcome, at: now, into: &outputs)
        }
        hosted.stateChanged = true
        outputs.append(.applied(through: entry.index, events: outcome.events))
        if isOwn, let ticket = submissions.answered(envelope.request.number) {
            outputs.append(.answered(ticket: ticket, outcome, index: entry.index))
        }
    }

    private mutating func restore(_ snapshot: LogSnapshot, into outputs: inout [PeerOutput]) {
        guard let restored = try? ReplicatedState(decoding: snapshot.state) else {
            outputs.append(.note(.unreadableEntry(snapshot.index)))
            return
        }
        state = restored
        appliedIndex = snapshot.index
        snapshotIndex = snapshot.index
        appliedEpoch = snapshot.epoch
        hosted.stateChanged = true
        leader.stateReplaced()
        outputs.append(.applied(through: snapshot.index, events: []))
    }

    mutating func takeSnapshotIfDue(at now: Instant, into outputs: inout [PeerOutput]) {
        guard appliedIndex.value >= snapshotIndex.value + configuration.snapshotEvery
        else { return }
        snapshotIndex = appliedIndex
        // The log fills in the voters of that index.
        let snapshot = LogSnapshot(
            index: appliedIndex, epoch: appliedEpoch, voters: consensus.voters,
            state: state.encoded)
        log(.snapshotTaken(snapshot), at: now, into: &outputs)
    }
}
