import Base
import ClusterModel
import ClusterState
import ContainerRuntime
import ControlAPI
import PeerCore
import Synchronization
import Transport
import Wire

extension AgentBackend {
    // MARK: Logs

    package func logs(
        _ request: LogRequest, send: @escaping @Sendable (LogLine) async throws -> Void
    ) async throws {
        let look = await look()
        guard let service = look.state.service(request.service) else {
            throw notFound(service: request.service)
        }
        let slots = service.slots.filter {
            request.ordinal == nil || request.ordinal == $0.slot.ordinal
        }
        guard !slots.isEmpty else {
            throw ControlError(
                .notFound,
                "\(request.service) has no set \(request.ordinal ?? 0): it has \(service.slots.count)",
                next: "`shoal sets` lists them")
        }
        for slot in slots { try look.check(container: request.container, of: slot) }
        let placed = slots.compactMap(\.placement)
        guard !placed.isEmpty else {
            throw ControlError(
                .refused, "no set of \(request.service) has a host yet: \(slots[0].reason)")
        }
        let problems = await withTaskGroup(of: (any Error)?.self) { group in
            for placement in placed {
                group.addTask {
                    do {
                        try await logs(from: placement, request, send: send)
                        return nil
                    } catch { return error }
                }
            }
            // The others' lines come first: one host must not hide them.
            return await group.reduce(into: [any Error]()) { problems, problem in
                if let problem { problems.append(problem) }
            }
        }
        guard let first = problems.first else { return }
        guard problems.count > 1, let refusal = first as? ControlError else { throw first }
        throw ControlError(
            refusal.code, "\(refusal.message); and \(problems.count - 1) more sets are missing",
            next: refusal.next)
    }

    /// The log of one slot.
    ///
    /// Followed, it goes on where the slot goes: after a restart of the host's
    /// agent, and on another host.
    private func logs(
        from first: Placement, _ request: LogRequest,
        send: @escaping @Sendable (LogLine) async throws -> Void
    ) async throws {
        let progress = LogProgress()
        let forward: @Sendable (LogLine) async throws -> Void = { line in
            guard await progress.isNew(line) else { return }
            try await send(line)
        }
        var request = request
        var placement: Placement? = first
        var isFirst = true
        repeat {
            if let placement {
                do {
                    let me = await driver.read { peer, _ in peer.id }
                    try await logs(placement, request, local: me, send: forward)
                } catch
                    where request.follow && !Task.isCancelled && !(isFirst && error is ControlError)
                {
                    // Its host is away, or the set is on its way to another: tried again below.
                }
            }
            guard request.follow else { return }
            isFirst = false
            request.tail = 1_000
            await progress.reconnect()
            try await Task.sleep(for: .seconds(1))
            guard let slot = await look().state.slot(first.slot) else { return }
            placement = slot.placement
        } while true
    }

    private func logs(
        _ placement: Placement, _ request: LogRequest, local: HostID,
        send: @escaping @Sendable (LogLine) async throws -> Void
    ) async throws {
        let slot = placement.slot
        let deliver: @Sendable (PeerLogLine) async throws -> Void = { line in
            try await send(
                LogLine(
                    slot: slot.description, container: line.container,
                    stream: line.isError ? "stderr" : "stdout", time: line.time,
                    text: line.text))
        }
        if placement.host == local {
            try await localLogs(
                slot, container: request.container, follow: request.follow, tail: request.tail,
                deliver)
            return
        }
        let header = PeerRequest.logs(
            slot: slot, container: request.container, follow: request.follow, tail: request.tail)
        let channel = try await open(header, at: placement.host)
        defer { channel.cancel() }
        try await channel.confirm()
        while let line = try await channel.receive(PeerLogLine.self) { try await deliver(line) }
    }

    private func localLogs(
        _ slot: SlotID, container: String?, follow: Bool, tail: Int?,
        _ deliver: @escaping @Sendable (PeerLogLine) async throws -> Void
    ) async throws {
        let names = try await logged(slot, container)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for name in names {
                let reader = await keeper.logReader(slot, name)
                group.addTask {
                    let count = min(tail ?? LogRequest.tailDefault, LogRequest.tailMax)
                    if follow {
                        let isHere: @Sendable () async -> Bool = {
                            await keeper.containers(of: slot) != nil
                        }
                        for try await line in reader.follow(tail: count, while: isHere) {
                            try await deliver(PeerLogLine(name, line))
                        }
                    } else {
                        for line in try reader.tail(lines: count) {
                            try await deliver(PeerLogLine(name, line))
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// The containers of a set here whose logs are wanted; refuses what is not here.
    private func logged(_ slot: SlotID, _ container: String?) async throws -> [String] {
        guard let all = await keeper.containers(of: slot) else {
            throw ControlError(.notFound, "\(slot) does not run on this host any more")
        }
        let names = all.filter { container == nil || $0 == container }
        guard !names.isEmpty else {
            throw ControlError(
                .notFound,
                "\(slot) has no container \(container ?? ""): it has \(all.joined(separator: ", "))"
            )
        }
        return names
    }

    // MARK: Exec

    package func exec(
        _ request: ExecRequest, input: AsyncStream<[UInt8]>,
        send: @escaping @Sendable (ExecOutput) async throws -> Void
    ) async throws {
        let look = await look()
        guard let slot = look.state.slot(request.slot) else {
            throw ControlError(
                .notFound, "there is no set \(request.slot)", next: "`shoal sets` lists them")
        }
        guard let placement = slot.placement else {
            throw ControlError(.refused, "\(request.slot) has no host yet: \(slot.reason)")
        }
        try look.check(container: request.container, of: slot)
        let deliver: @Sendable (PeerExecFrame) async throws -> Void = { frame in
            switch frame {
            // Empty is the other host's question whether anybody listens.
            case .standardOutput(let bytes):
                if !bytes.isEmpty { try await send(.standardOutput(bytes)) }
            case .standardError(let bytes): try await send(.standardError(bytes))
            case .exit(let code): try await send(.exit(Int32(clamping: code)))
            }
        }
        if placement.host == look.me {
            try await localExec(
                request.slot, container: request.container, command: request.command,
                input: input, deliver)
            return
        }
        let channel = try await open(
            .exec(slot: request.slot, container: request.container), at: placement.host)
        defer { channel.cancel() }
        try await channel.send(PeerCommand(arguments: request.command))
        try await channel.confirm()
        let feeding = Task {
            for await bytes in input { try await channel.send(PeerInputPiece.bytes(bytes)) }
            try await channel.send(PeerInputPiece.end)
        }
        defer { feeding.cancel() }
        while let frame = try await channel.receive(PeerExecFrame.self) {
            try await deliver(frame)
        }
    }

    private func localExec(
        _ slot: SlotID, container: String?, command: [String], input: AsyncStream<[UInt8]>,
        _ deliver: @escaping @Sendable (PeerExecFrame) async throws -> Void
    ) async throws {
        let running = try await keeper.exec(slot, container: container, command: command)
        let feeding = Task {
            for await bytes in input { try await running.write(bytes) }
            await running.closeInput()
        }
        defer { feeding.cancel() }
        try await forward(running, deliver)
    }

    /// Hands on a command's output and its exit code; ends the command when nobody listens.
    private func forward(
        _ running: ContainerCommand, _ deliver: (PeerExecFrame) async throws -> Void
    ) async throws {
        try await withTaskCancellationHandler {
            try await forwardAll(running, deliver)
        } onCancel: {
            running.end()
        }
    }

    private func forwardAll(
        _ running: ContainerCommand, _ deliver: (PeerExecFrame) async throws -> Void
    ) async throws {
        do {
            for try await chunk in running.output {
                switch chunk.stream {
                case .standardOutput: try await deliver(.standardOutput(chunk.bytes))
                case .standardError: try await deliver(.standardError(chunk.bytes))
                }
            }
        } catch {
            running.end()
            throw error
        }
        try await deliver(.exit(Int(await running.wait())))
    }

    func open(_ request: PeerRequest, at host: HostID) async throws -> PeerChannel {
        do {
            return PeerChannel(try await driver.openStream(to: host, header: request.encoded))
        } catch {
            throw ControlError(
                .unavailable, "host \(await look().name(of: host)): \(error)",
                next: "`shoal hosts` shows whether it is up")
        }
    }

    // MARK: For other hosts

    /// Answers a stream that another agent opened.
    func serve(_ header: [UInt8], _ stream: PeerStream) async {
        let channel = PeerChannel(stream)
        do {
            guard let request = try? PeerRequest(decoding: header) else {
                try await channel.refuse("it does not know this request; is it older?")
                return
            }
            switch request {
            case .image(let manifest):
                try await supply.serve(manifest: manifest, to: channel)
            case .blob(let digest, let offset):
                try await supply.serve(blob: digest, offset: offset, to: channel)
            case .logs(let slot, let container, let follow, let tail):
                try await serveLogs(
                    slot, container: container, follow: follow, tail: tail, channel)
            case .exec(let slot, let container):
                try await serveExec(slot, container: container, channel)
            case .notes(let slot): try await serveNotes(slot, channel)
            case .usage(let service, let containers):
                try await serveUsage(service: service, containers: containers, channel)
            case .volume(let operation): try await serveVolume(operation, channel)
            case .remains(let service):
                try await channel.send(PeerReply.ready)
                try await channel.send(PeerRemains(slots: await keeper.slots(of: service)))
                await channel.finish()
            case .backups(let volume, let prunes):
                try await serveBackups(volume, prunes: prunes, channel)
            case .receivable(let volumes): try await serveReceivable(volumes, channel)
            case .moveVolumes(let slot, let move, let heldAt):
                try await serveMove(slot, move, heldAt: heldAt, channel)
            }
        } catch {
            log.warning("a request of host \(stream.peer.hostID.short) ended early: \(error)")
            channel.cancel()
        }
    }

    private func serveLogs(
        _ slot: SlotID, container: String?, follow: Bool, tail: Int?, _ channel: PeerChannel
    ) async throws {
        do {
            _ = try await logged(slot, container)
        } catch let error as ControlError {
            return try await channel.refuse(error.message)
        }
        try await channel.send(PeerReply.ready)
        let sending = Task {
            do {
                try await localLogs(slot, container: container, follow: follow, tail: tail) {
                    try await channel.send($0)
                }
                await channel.stream.finish()
            } catch {
                // The asker must see that this is not the end of the log.
                channel.cancel()
            }
        }
        await channel.drain()
        sending.cancel()
    }

    private func serveExec(
        _ slot: SlotID, container: String?, _ channel: PeerChannel
    ) async throws {
        guard let command = try await channel.receive(PeerCommand.self, patience: .seconds(10))
        else { return }
        let running: ContainerCommand
        do {
            running = try await keeper.exec(
                slot, container: container, command: command.arguments)
        } catch let error as ControlError {
            return try await channel.refuse(error.message)
        } catch {
            return try await channel.refuse("\(error)")
        }
        try await channel.send(PeerReply.ready)
        let input = InputWatch()
        let reading = Task {
            defer { input.end() }
            do {
                // Goes on after the end of the input: only a reader sees that the asker is gone.
                while let piece = try await channel.receive(PeerInputPiece.self) {
                    switch piece {
                    case .bytes(let bytes): await input.handing { try? await running.write(bytes) }
                    case .end: await running.closeInput()
                    }
                }
            } catch {
                // The asker is gone; so goes the command.
                running.end()
            }
        }
        // While the command takes no input nothing is read either: then only writing shows that the
        // asker is gone, and nothing written is nothing to it.
        Task {
            while await input.isOpenAfterPause() {
                guard input.isStuck else { continue }
                do { try await channel.send(PeerExecFrame.standardOutput([])) } catch {
                    return running.end()
                }
            }
        }
        try await forward(running) { try await channel.send($0) }
        await channel.stream.finish()
        await reading.value
    }
}

extension AgentBackend.Look {
    /// Refuses a container that the set does not have, before its host is asked.
    fileprivate func check(
        container name: String?, of slot: SlotRecord
    ) throws(ControlError) {
        guard let name, let service = state.service(slot.slot.service) else { return }
        let spec = slot.placement.flatMap { service.spec(revision: $0.revision) } ?? service.spec
        let names = spec.containers.map(\.name)
        guard !names.contains(name) else { return }
        throw ControlError(
            .notFound,
            "\(slot.slot) has no container \(name.prefix(100)): it has \(names.joined(separator: ", "))"
        )
    }
}

extension PeerChannel {
    /// Waits for the go-ahead; a refusal becomes the local API's.
    func confirm() async throws {
        do {
            try await expectReady()
        } catch {
            throw ControlError(.refused, "\(error)")
        }
    }
}

/// Whether a command's input is stuck because the command takes none.
private final class InputWatch: Sendable {
    private static let pause = Duration.seconds(1)
    private let state = Mutex((since: ContinuousClock.Instant?.none, isOver: false))

    /// True when what is being handed over has not been taken for a while.
    var isStuck: Bool {
        state.withLock { $0.since.map { $0 + InputWatch.pause <= .now } ?? false }
    }

    func handing(_ work: () async -> Void) async {
        state.withLock { $0.since = .now }
        await work()
        state.withLock { $0.since = nil }
    }

    func end() { state.withLock { $0.isOver = true } }

    /// Waits a while; false once there is no more input.
    func isOpenAfterPause() async -> Bool {
        try? await Task.sleep(for: InputWatch.pause)
        return state.withLock { !$0.isOver }
    }
}

extension PeerLogLine {
    init(_ container: String, _ line: LogReader.Line) {
        self.init(
            container: container, isError: line.isError, time: line.time, text: line.text)
    }
}

extension SetKeeper {
    /// Runs a command in a set's container.
    func exec(
        _ slot: SlotID, container name: String?, command: [String]
    ) async throws -> ContainerCommand {
        guard let set = sets[slot] else {
            throw ControlError(.notFound, "\(slot) does not run on this host any more")
        }
        let names = set.record.spec.containers.map(\.name)
        let chosen = name ?? names.first ?? ""
        guard names.contains(chosen) else {
            throw ControlError(
                .notFound,
                "\(slot) has no container \(chosen): it has \(names.joined(separator: ", "))")
        }
        guard set.pids[chosen] != nil else {
            throw ControlError(.refused, "container \(chosen) of \(slot) is not running now")
        }
        guard !command.isEmpty else { throw ControlError(.invalid, "no command was given") }
        do {
            return try await runtime.exec(containerID(slot, chosen), command: command)
        } catch let error as RuntimeError {
            throw ControlError(error.kind == .badLaunch ? .invalid : .refused, "\(error)")
        }
    }
}
