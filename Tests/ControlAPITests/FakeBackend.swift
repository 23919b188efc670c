import Base
import ClusterModel
import ControlAPI
import Synchronization

/// A backend that keeps services in memory, echoes what it is given and notes what it was asked.
final class FakeBackend: ControlBackend {
    private struct Contents {
        var services: [String: ServiceSpec] = [:]
        var index: UInt64 = 10
        var notes: [String] = []
        var statusCount = 0
    }

    private let contents = Mutex(Contents())
    /// What `loadImage` found: the size of the archive, its mode, and its path.
    let archives = Mutex<[(bytes: [UInt8], mode: UInt32, path: String)]>([])

    /// What was asked of it, in order.
    var notes: [String] { contents.withLock { $0.notes } }

    func note(_ text: String) { contents.withLock { $0.notes.append(text) } }

    func status(consistent: Bool) async throws -> StatusView {
        contents.withLock { $0.statusCount += 1 }
        guard !consistent else {
            throw ControlError(
                .noQuorum, "no majority of voters answers", next: "see `shoal hosts`")
        }
        let host = HostReference(id: String(repeating: "ab", count: 32), name: "h1")
        return StatusView(
            clusterID: String(repeating: "cd", count: 16), host: host, agentVersion: "0.1.0",
            leaseholder: host, epoch: 3, commitIndex: 30, appliedIndex: 30,
            staleMilliseconds: 120, hostsAlive: 3, hostsTotal: 3, voters: [host], services: 1,
            setsWanted: 6, setsRunning: 5, quorum: true, peerPlane: ["forged": 2, "sent": 0])
    }

    func hosts() async throws -> [HostView] {
        [
            HostView(
                id: String(repeating: "ab", count: 32), name: "h1", address: "10.0.0.1:7400",
                status: "alive", voter: true, leaseholder: true, datacenter: "dc1", rack: "r1",
                pool: "default", cpuMillicores: 2_000, cpuMillicoresAllocated: 500,
                cpuMillicoresFree: 1_500, memoryBytes: 8 << 30, memoryBytesAllocated: 1 << 30,
                memoryBytesFree: 7 << 30, sets: 2, agentVersion: "0.1.0",
                bootEpoch: 1_700_000_000_000)
        ]
    }

    func explain(_ slot: SlotID) async throws -> ExplanationView {
        note("explain \(slot)")
        guard let spec = contents.withLock({ $0.services[slot.service] }) else {
            throw ControlError(.notFound, "there is no set \(slot)")
        }
        return ExplanationView(
            slot: slot.description, phase: "running", reason: nil, host: "h1", revision: 1,
            limitsRevision: 1, demand: spec.demand, room: VolumeRoom(spec.volumes), best: "h2",
            hosts: [
                HostChoiceView(
                    host: "h1", id: "aa", isPlacedHere: true, obstacle: nil, setsInDatacenter: 1,
                    setsInRack: 0, setsOnHost: 0, freeShare: 5_000),
                HostChoiceView(
                    host: "h2", id: "bb", isPlacedHere: false, obstacle: "lacks CPU",
                    setsInDatacenter: 1, setsInRack: 1, setsOnHost: 1, freeShare: 0),
            ], spec: spec, notes: ["no pressure here"])
    }

    func usage(service: String?, containers: Bool) async throws -> [UsageView] {
        note("usage \(service ?? "-") \(containers)")
        var silent = UsageView(kind: "host", host: "h2")
        silent.problem = "it is lost"
        return [UsageView(kind: "host", host: "h1"), silent]
    }

    func services() async throws -> [ServiceView] {
        contents.withLock { contents in
            contents.services.values.sorted { $0.name < $1.name }.map { spec in
                ServiceView(
                    name: spec.name, pool: spec.pool, revision: 1, sets: spec.sets,
                    running: spec.sets, priority: spec.priority,
                    images: spec.containers.map(\.image))
            }
        }
    }

    func sets(service: String?) async throws -> [SetView] {
        let specs = contents.withLock { Array($0.services.values) }
        if let service, !specs.contains(where: { $0.name == service }) {
            throw ControlError(.notFound, "there is no service \(service)")
        }
        return specs.filter { service == nil || $0.name == service }
            .sorted { $0.name < $1.name }.flatMap(sets)
    }

    private func sets(of spec: ServiceSpec) -> [SetView] {
        (0..<spec.sets).map { ordinal in
            let stuck = spec.name == "stuck" && ordinal > 0
            return SetView(
                slot: "\(spec.name).\(ordinal)", service: spec.name, ordinal: ordinal,
                host: stuck ? nil : "h1", phase: stuck ? "pending" : "running",
                reason: stuck ? "no host has 4 cores free" : nil, address: "10.64.0.2",
                revision: 1,
                containers: [
                    ContainerView(
                        name: "app", image: "demo/web:1", running: true, restarts: 1)
                ])
        }
    }

    func events(since: UInt64?, limit: Int) async throws -> [EventView] {
        note("events \(since ?? 0) \(limit)")
        return [
            EventView(
                index: 7, epoch: 3, time: WallTime(milliseconds: 0).rfc3339, kind: "setPlaced",
                subject: "web.0", message: "placed on h1", host: "h1")
        ]
    }

    func images() async throws -> [ImageView] {
        [ImageView(reference: "demo/web:1", digest: "sha256:ab", sizeBytes: 5_000, present: true)]
    }

    func apply(_ spec: ServiceSpec, dryRun: Bool) async throws -> ApplyResult {
        contents.withLock { contents in
            let before = contents.services[spec.name]
            if !dryRun { contents.services[spec.name] = spec }
            contents.index += 1
            return ApplyResult(
                service: spec.name, revision: 1, index: contents.index,
                outcome: before == nil ? .created : before == spec ? .unchanged : .updated)
        }
    }

    func scale(service: String, sets: Int) async throws -> ApplyResult {
        try contents.withLock { contents in
            guard contents.services[service] != nil else {
                throw ControlError(
                    .notFound, "there is no service \(service)",
                    next: "`shoal services` lists them")
            }
            contents.services[service]?.sets = sets
            return ApplyResult(service: service, revision: 1, index: 20, outcome: .updated)
        }
    }

    func resize(service: String, _ resize: ServiceResize) async throws -> ApplyResult {
        try contents.withLock { contents in
            guard let spec = contents.services[service] else {
                throw ControlError(.notFound, "there is no service \(service)")
            }
            do {
                contents.services[service] = try spec.resized(by: resize)
            } catch let problem as ResizeProblem {
                throw ControlError(.invalid, problem.description)
            }
            return ApplyResult(service: service, revision: 2, index: 21, outcome: .updated)
        }
    }

    func takeBackLimits(service: String, revision: UInt64) async throws -> ApplyResult {
        guard revision == 2 else { throw ControlError(.invalid, "revision 2 is the newest") }
        return ApplyResult(service: service, revision: 3, index: 22, outcome: .updated)
    }

    func volumes() async throws -> [VolumeView] {
        [
            VolumeView(
                volume: "web.0/data", id: "0123456789abcdef", service: "web", host: "h1",
                class: "loop", sizeBytes: 64 << 20, usedBytes: 1 << 20, state: "trash",
                trashedAt: 1_764_000_000)
        ]
    }

    func trash() async throws -> [TrashView] {
        [
            TrashView(
                service: "web", deletedAt: "2026-11-24T00:00:00.000Z", sets: 3,
                volumes: try await volumes())
        ]
    }

    func restore(service: String) async throws -> ApplyResult {
        ApplyResult(service: service, revision: 1, index: 22, outcome: .created)
    }

    func remains(_ request: RemainsRequest) async throws -> [RemainsView] {
        request.hosts.map { RemainsView(host: $0, sets: ["\(request.service).0"]) }
    }

    func delete(service: String) async throws -> ApplyResult {
        try contents.withLock { contents in
            guard contents.services.removeValue(forKey: service) != nil else {
                throw ControlError(.notFound, "there is no service \(service)")
            }
            return ApplyResult(service: service, revision: 1, index: 21, outcome: .deleted)
        }
    }

    func backups() async throws -> [VolumeBackupsView] {
        [
            VolumeBackupsView(
                volume: "web.0/data", service: "web", owner: 7, deleted: false,
                sizeBytes: 64 << 20, everySeconds: 3_600, to: "peers",
                backups: [
                    BackupView(
                        id: String(repeating: "a", count: 64), time: "2026-11-24T22:00:00.000Z",
                        ageSeconds: 60, sizeBytes: 1 << 20, place: "h2", reachable: true,
                        pointInTime: true, digest: String(repeating: "b", count: 64))
                ],
                durability: DurabilityView(
                    copies: 1, copiesAt: ["h2"], disks: 2, diskFailuresPerYear: 0.02,
                    repairSeconds: 86_400,
                    lossPerYear: 2.2e-6, nines: 5.6, windowSeconds: 60))
        ]
    }

    func backupKey() async throws -> BackupKeyView {
        BackupKeyView(password: "secret", cluster: String(repeating: "cd", count: 16))
    }

    func restore(_ request: RestorationRequest) async throws -> RestorationView {
        note("restore \(request.volume) on \(request.host ?? "-")")
        return RestorationView(
            slot: "web.0", host: "h2", index: 30, summary: "data from backup aaaaaaaa")
    }

    func forgetBackups(volume: String) async throws -> ApplyResult {
        note("forget backups of \(volume)")
        return ApplyResult(service: "web", revision: 0, index: 31, outcome: .deleted)
    }

    func forget(host: String, withVolumes: Bool) async throws -> ForgetResult {
        guard host == "h 3" else { throw ControlError(.notFound, "there is no host \(host)") }
        guard withVolumes else { throw ControlError(.refused, "host h 3 holds 1 volumes") }
        return ForgetResult(
            host: HostReference(id: "aa", name: host), index: 22, volumes: ["db.0/data"])
    }

    func loadImage(archivePath: String, references: [String]) async throws -> [ImageView] {
        let bytes = try fileBytes(archivePath)
        let mode = fileMode(archivePath)
        archives.withLock { $0.append((bytes, mode, archivePath)) }
        guard !bytes.starts(with: Array("bad".utf8)) else {
            throw ControlError(.invalid, "the archive is truncated")
        }
        return references.map {
            ImageView(reference: $0, digest: "sha256:00", sizeBytes: bytes.count, present: true)
        }
    }

    func operate(
        _ operation: VolumeOperation,
        send: @escaping @Sendable (VolumeOperationLine) async throws -> Void
    ) async throws {
        note("operate \(String(decoding: operation.json, as: UTF8.self))")
        guard case .name(let volume) = operation.subject, volume != "none.0/data" else {
            throw ControlError(.notFound, "there is no such volume", next: "`shoal volumes`")
        }
        for step in 1...3 {
            try await send(
                VolumeOperationLine(
                    progress: VolumeProgressView(
                        doing: "copying \(volume)", doneBytes: step, totalBytes: 3)))
        }
        if volume == "breaks.0/data" { throw ControlError(.unavailable, "host h2 broke off") }
        try await send(
            VolumeOperationLine(
                result: VolumeOperationResult(
                    message: "done",
                    volume: VolumeDetails(
                        volume: volume, id: "0123456789abcdef", host: "h1", state: "ready",
                        class: "loop", sizeBytes: 64 << 20, usedBytes: 1 << 20))))
    }

    func logs(
        _ request: LogRequest, send: @escaping @Sendable (LogLine) async throws -> Void
    ) async throws {
        guard request.service != "none" else {
            throw ControlError(.notFound, "there is no service none")
        }
        var number = 0
        defer { note("logs ended") }
        // The first word comes after others were asked for twice.
        while request.service == "late", contents.withLock({ $0.statusCount }) < 2 {
            try await Task.sleep(for: .milliseconds(5))
        }
        repeat {
            if request.service == "breaks", number == 2 {
                throw ControlError(.unavailable, "host h2 went away")
            }
            try await send(
                LogLine(
                    slot: "\(request.service).\(request.ordinal ?? 0)",
                    container: request.container ?? "app", stream: "stdout",
                    time: "1970-01-01T00:00:00.000Z", text: "line \(number)"))
            number += 1
            if number >= request.tail ?? 3, request.follow {
                try await Task.sleep(for: .milliseconds(5))
            }
        } while request.follow || number < request.tail ?? 3
    }

    func exec(
        _ request: ExecRequest, input: AsyncStream<[UInt8]>,
        send: @escaping @Sendable (ExecOutput) async throws -> Void
    ) async throws {
        defer { note("exec ended") }
        switch request.command[0] {
        case "cat":
            for await bytes in input { try await send(.standardOutput(bytes)) }
            try await send(.exit(0))
        case "args":
            try await send(.standardOutput(Array(request.command.joined(separator: "|").utf8)))
            try await send(.standardError(Array((request.container ?? "-").utf8)))
            try await send(.exit(7))
        case "sleep":
            try await send(.standardOutput(Array("begun".utf8)))
            try await Task.sleep(for: .seconds(600))
        case "fail":
            try await send(.standardOutput(Array("begun".utf8)))
            throw ControlError(.unavailable, "host h2 went away")
        default:
            throw ControlError(.notFound, "there is no set \(request.slot)")
        }
    }
}
