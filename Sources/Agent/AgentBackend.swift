import Base
import ClusterModel
import ClusterState
import Consensus
import ControlAPI
import Foundation
import ImageStore
import Membership
import PeerCore

/// Answers the local socket: reads from this host's own copy, writes through the log.
package struct AgentBackend: ControlBackend {
    let driver: PeerDriver
    let store: ImageStore
    let supply: ImageSupply
    let keeper: SetKeeper
    let sampler: UsageSampler
    let backupKeeper: BackupKeeper
    let clusterID: ClusterID
    let log: AgentLog
    /// How far the copying of slots that move away from here is.
    let departures = DepartureProgress()

    /// What one answer is made from: a consistent look at this host's copy.
    struct Look: Sendable {
        let me: HostID
        let state: ReplicatedState
        let members: [Member]
        let voters: [HostID]
        let leaseholder: HostID?

        func name(of host: HostID) -> String {
            state.host(host)?.name ?? members.first { $0.id == host }?.facts?.name ?? host.short
        }

        func reference(to host: HostID) -> HostReference {
            HostReference(id: host.description, name: name(of: host))
        }
    }

    func look() async -> Look {
        await driver.read { peer, _ in
            Look(
                me: peer.id, state: peer.state, members: peer.membership.members,
                voters: peer.consensus.voters, leaseholder: peer.consensus.leaseholder)
        }
    }

    // MARK: Reads

    package func status(consistent: Bool) async throws -> StatusView {
        if consistent { try await write(.barrier) }
        let look = await look()
        let counters = await driver.counters()
        let (epoch, commit, applied, heard, now) = await driver.read { peer, now in
            (
                peer.consensus.epoch, peer.consensus.commitIndex, peer.appliedIndex,
                peer.leaseholderHeardAt, now
            )
        }
        let stale = heard.map { Int((now - $0).inMilliseconds) }
        let alive = look.members.filter { $0.status == .alive }.map(\.id)
        let slots = look.state.services.flatMap(\.slots)
        return StatusView(
            clusterID: clusterID.description, host: look.reference(to: look.me),
            agentVersion: ShoalVersion.text,
            leaseholder: look.leaseholder.map(look.reference), epoch: epoch.value,
            commitIndex: commit.value, appliedIndex: applied.value, staleMilliseconds: stale,
            hostsAlive: alive.count, hostsTotal: max(look.state.hosts.count, alive.count),
            voters: look.voters.map(look.reference), services: look.state.services.count,
            setsWanted: slots.count, setsRunning: slots.count { $0.phase == .running },
            quorum: look.leaseholder != nil, peerPlane: counters)
    }

    package func hosts() async throws -> [HostView] {
        let look = await look()
        var ids = look.state.hosts.map(\.id)
        // Gossip remembers the dead for a while, also those that were forgotten.
        ids += look.members.filter { $0.status.isPresent }.map(\.id)
            .filter { look.state.host($0) == nil }
        return ids.map { view(ofHost: $0, look) }.sorted { ($0.name, $0.id) < ($1.name, $1.id) }
    }

    private func view(ofHost id: HostID, _ look: Look) -> HostView {
        let record = look.state.host(id)
        let member = look.members.first { $0.id == id }
        let capacity = member?.facts?.capacity ?? record?.registration.capacity ?? Resources()
        let allocated = record?.allocated ?? Resources()
        let zone = member?.facts?.zone ?? record?.registration.zone ?? Zone()
        var status = member.map { "\($0.status)" } ?? "unknown"
        if record?.status == .lost { status = member?.status == .alive ? "returning" : "lost" }
        let address = member?.address ?? record?.registration.address
        return HostView(
            id: id.description, name: look.name(of: id), address: address?.description ?? "",
            status: status, voter: look.voters.contains(id), leaseholder: look.leaseholder == id,
            datacenter: zone.datacenter, rack: zone.rack,
            pool: member?.facts?.pool ?? record?.registration.pool ?? "",
            cpuMillicores: capacity.millicores, cpuMillicoresAllocated: allocated.millicores,
            cpuMillicoresFree: capacity.millicores - allocated.millicores,
            memoryBytes: capacity.memoryBytes, memoryBytesAllocated: allocated.memoryBytes,
            memoryBytesFree: capacity.memoryBytes - allocated.memoryBytes,
            bandwidthBitsPerSecond: record.map(\.registration.capacity.egressBitsPerSecond)
                .flatMap { $0 > 0 ? $0 : nil },
            egressBitsPerSecondAllocated: allocated.egressBitsPerSecond,
            ingressBitsPerSecondAllocated: allocated.ingressBitsPerSecond,
            volumes: volumeRoom(of: record, look), sets: record?.slots.count ?? 0,
            agentVersion: member?.facts?.agentVersion ?? record?.registration.agentVersion ?? "",
            bootEpoch: member?.bootEpoch.value ?? record?.bootEpoch.value ?? 0,
            runtimes: record?.registration.abilities.runtimes,
            devices: record?.registration.abilities.devices,
            capabilities: record?.registration.abilities.capabilities)
    }

    package func services() async throws -> [ServiceView] {
        let look = await look()
        let volumeProblems = look.volumeProblems()
        return look.state.services.map { service in
            var problems: [String] = []
            for slot in service.slots {
                if !slot.reason.isEmpty, slot.phase != .running {
                    problems.append("\(slot.slot): \(slot.reason)")
                }
                problems += (volumeProblems[slot.slot] ?? []).map { "\(slot.slot): \($0)" }
                if problems.count >= 10 { break }
            }
            return ServiceView(
                name: service.name, pool: service.spec.pool, revision: service.revision,
                sets: service.slots.count,
                running: service.slots.count { $0.phase == .running },
                priority: service.spec.priority, images: service.spec.containers.map(\.image),
                problems: problems)
        }
    }

    package func sets(service: String?) async throws -> [SetView] {
        let look = await look()
        if let service, look.state.service(service) == nil { throw notFound(service: service) }
        let problems = look.volumeProblems()
        return look.state.services.filter { service == nil || $0.name == service }
            .flatMap { service in
                service.slots.map {
                    view(of: $0, in: service, problems: problems[$0.slot] ?? [], look)
                }
            }
    }

    private func view(
        of slot: SlotRecord, in service: ServiceRecord, problems: [String], _ look: Look
    ) -> SetView {
        let host = slot.placement?.host
        let spec = slot.placement.flatMap { service.spec(revision: $0.revision) } ?? service.spec
        return SetView(
            slot: slot.slot.description, service: service.name, ordinal: slot.slot.ordinal,
            host: host.map(look.name), hostID: host?.description, phase: slot.phase.rawValue,
            reason: slot.reason.isEmpty ? problems.first : slot.reason,
            address: slot.address.isEmpty
                ? nil : slot.address.map { String($0) }.joined(separator: "."),
            revision: slot.placement?.revision ?? service.revision,
            limitsRevision: slot.report.flatMap { $0.revision == 0 ? nil : $0.revision },
            placementIndex: slot.placement?.index.value,
            containers: (slot.report?.containers ?? []).map { container in
                ContainerView(
                    name: container.name,
                    image: spec.containers.first { $0.name == container.name }?.image ?? "",
                    pid: container.running ? container.pid : nil, running: container.running,
                    restarts: container.restarts, exitCode: container.lastExit?.code,
                    outOfMemory: container.lastExit?.outOfMemory,
                    memoryPeakBytes: container.lastExit?.memory?.peakBytes,
                    memoryLimitBytes: container.lastExit?.memory?.limitBytes)
            })
    }

    package func events(since: UInt64?, limit: Int) async throws -> [EventView] {
        let look = await look()
        let events = look.state.events.filter { $0.index.value > (since ?? 0) }
        return events.suffix(max(0, limit)).map {
            EventView(
                index: $0.index.value, epoch: $0.epoch.value, time: $0.time.rfc3339,
                kind: $0.kind.rawValue, subject: $0.subject, message: $0.message,
                host: look.name(of: $0.who))
        }
    }

    package func images() async throws -> [ImageView] {
        let look = await look()
        return look.state.images.map { image in
            ImageView(
                reference: image.reference, digest: image.manifestDigest,
                sizeBytes: image.sizeBytes,
                present: Digest(image.manifestDigest).map { store.image(manifest: $0) != nil }
                    ?? false)
        }
    }

    // MARK: Writes

    package func apply(_ spec: ServiceSpec, dryRun: Bool) async throws -> ApplyResult {
        let problems = spec.problems()
        guard problems.isEmpty else {
            throw ControlError(
                .invalid, "the specification of \(spec.name) is not valid",
                problems: problems.map { ProblemView(path: $0.path, message: $0.sentence) })
        }
        let before = await look().state
        if dryRun { return try dryRunResult(spec, before) }
        let index = try await write(.applyService(spec))
        let after = await look().state.service(spec.name)
        let known = before.service(spec.name)
        let outcome: ApplyOutcome =
            known == nil ? .created : known?.spec == spec ? .unchanged : .updated
        return ApplyResult(
            service: spec.name, revision: after?.revision ?? 0, index: index.value,
            outcome: outcome)
    }

    /// Tries the command on a copy of the state: the same code decides as in the log.
    private func dryRunResult(
        _ spec: ServiceSpec, _ state: ReplicatedState
    ) throws -> ApplyResult {
        var copy = state
        let known = state.service(spec.name)
        let request = RequestID(
            host: HostID(testing: 0), bootEpoch: BootEpoch(0), number: UInt64.max)
        let outcome = copy.apply(
            CommandEnvelope(request: request, proposedAt: .now, command: .applyService(spec)),
            at: state.appliedIndex.next, epoch: state.appliedEpoch)
        if case .refused(let refusal) = outcome.result { throw refusal.controlError }
        return ApplyResult(
            service: spec.name, revision: copy.service(spec.name)?.revision ?? 0,
            index: state.appliedIndex.value,
            outcome: known == nil ? .created : known?.spec == spec ? .unchanged : .updated)
    }

    package func scale(service: String, sets: Int) async throws -> ApplyResult {
        guard (0...100_000).contains(sets) else {
            throw ControlError(.invalid, "\(sets) sets is out of range: 0 to 100000")
        }
        let before = await look().state.service(service)
        let index = try await write(.scale(service: service, sets: sets))
        let after = await look().state.service(service)
        return ApplyResult(
            service: service, revision: after?.revision ?? 0, index: index.value,
            outcome: before?.slots.count == sets ? .unchanged : .updated)
    }

    package func resize(service: String, _ resize: ServiceResize) async throws -> ApplyResult {
        let before = await look().state.service(service)
        let index = try await write(.resize(service: service, resize))
        let after = await look().state.service(service)
        return ApplyResult(
            service: service, revision: after?.revision ?? 0, index: index.value,
            outcome: before?.spec == after?.spec ? .unchanged : .updated)
    }

    package func takeBackLimits(service: String, revision: UInt64) async throws -> ApplyResult {
        let index = try await write(.takeBackLimits(service: service, revision: revision))
        let after = await look().state.service(service)
        return ApplyResult(
            service: service, revision: after?.revision ?? 0, index: index.value,
            outcome: .updated)
    }

    package func delete(service: String) async throws -> ApplyResult {
        let before = await look().state.service(service)
        let index = try await write(.deleteService(service))
        return ApplyResult(
            service: service, revision: before?.revision ?? 0, index: index.value,
            outcome: .deleted)
    }

    package func loadImage(
        archivePath: String, references: [String]
    ) async throws -> [ImageView] {
        let images: [StoredImage]
        do {
            images = try await store.load(archive: archivePath, references: references)
        } catch let error as ImageError {
            // The asker gave another name to what is a temporary file here.
            throw ControlError(
                .refused, "\(error)".replacingOccurrences(of: archivePath, with: "the archive"))
        }
        let me = await driver.read { peer, _ in peer.id }
        for image in images {
            try await write(
                .registerImage(
                    ImageRecord(
                        reference: image.reference,
                        manifestDigest: image.manifestDigest.description,
                        sizeBytes: image.sizeBytes, loadedBy: me)))
        }
        return images.map {
            ImageView(
                reference: $0.reference, digest: $0.manifestDigest.description,
                sizeBytes: $0.sizeBytes, present: true)
        }
    }

    /// Puts a command into the log and waits until this host has applied it.
    @discardableResult
    func write(_ command: Command) async throws -> LogIndex {
        switch await driver.submit(command) {
        case .done(let outcome, let index):
            if case .refused(let refusal) = outcome.result { throw refusal.controlError }
            return index
        case .failed(let failure):
            throw failure.controlError
        }
    }

    func notFound(service: String) -> ControlError {
        ControlError(
            .notFound, "there is no service \(service)",
            next: "`shoal services` lists those there are")
    }
}

extension CommandRefusal {
    /// The refusal as the local API says it.
    var controlError: ControlError {
        switch code {
        case .serviceUnknown, .hostUnknown: ControlError(.notFound, message)
        case .invalid: ControlError(.invalid, message)
        default: ControlError(.refused, message)
        }
    }
}

extension SubmitFailure {
    /// The failure as the local API says it.
    var controlError: ControlError {
        switch self {
        case .noLeaseholder(let waited, let alive, let voters):
            ControlError(
                .noQuorum,
                "no quorum: nobody holds the lease (\(alive) of \(voters) voters answer, \(voters / 2 + 1) are needed); waited \(waited.inMilliseconds / 1_000) s",
                next:
                    "bring voters back: `shoal hosts` shows who is missing. What runs goes on running; the change may still take effect later"
            )
        case .timedOut(let waited, let leaseholder):
            ControlError(
                .unavailable,
                "the leaseholder \(leaseholder.short) did not confirm within \(waited.inMilliseconds / 1_000) s",
                next: "the change may still take effect; look with `shoal services`, then try again"
            )
        case .tooManyWaiting(let maximum):
            ControlError(
                .unavailable, "\(maximum) changes wait at this host already",
                next: "try again in a few seconds")
        }
    }
}
