import ControlAPI
import Synchronization
import VolumeStore

/// Operations on volumes: asked at any host, carried out where the volume is.
extension AgentBackend {
    /// How long the asker waits until its own copy of the log shows what was done.
    private static let seenPatience = Duration.seconds(5)
    private static let seenStep = Duration.milliseconds(25)

    package func operate(
        _ operation: VolumeOperation,
        send: @escaping @Sendable (VolumeOperationLine) async throws -> Void
    ) async throws {
        let look = await look()
        let holder = try look.holder(of: operation)
        if holder == look.me {
            for await line in operateHere(operation) { try await deliver(line, send) }
            return
        }
        let channel: PeerChannel
        do {
            channel = try await open(.volume(PeerVolumeOperation(operation)), at: holder)
        } catch let error as ControlError where error.code == .unavailable {
            guard case .show = operation, let known = look.lastKnown(operation.subject) else {
                throw error
            }
            return try await deliver(VolumeOperationLine(result: known), send)
        }
        defer { channel.cancel() }
        try await channel.confirm()
        while let frame = try await channel.receive(PeerVolumeLine.self) {
            let line = try frame.line()
            try await deliver(line, send)
            if line.result != nil { return }
        }
        throw ControlError(
            .unavailable, "host \(look.name(of: holder)) broke off in the middle",
            next: "what was begun is finished or undone there; look with `shoal volumes`")
    }

    /// Hands a line on; an outcome only when a read at this host shows it, too.
    private func deliver(
        _ line: VolumeOperationLine,
        _ send: @Sendable (VolumeOperationLine) async throws -> Void
    ) async throws {
        if let error = line.error { throw ControlError(error) }
        var line = line
        if let volume = line.result?.volume {
            await waitUntilSeen(volume)
            line.result?.volume.backups = await look().backupsView(of: volume)
        }
        try await send(line)
    }

    private func waitUntilSeen(_ volume: VolumeDetails) async {
        let clock = ContinuousClock()
        let deadline = clock.now + AgentBackend.seenPatience
        while clock.now < deadline, await !look().shows(volume) {
            guard (try? await Task.sleep(for: AgentBackend.seenStep)) != nil else { return }
        }
    }

    /// Carries an operation out on this host.
    ///
    /// In a task of its own: it goes on when nobody listens any more, because what is half done
    /// helps nobody. The log of this host says what it came to.
    private func operateHere(_ operation: VolumeOperation) -> AsyncStream<VolumeOperationLine> {
        // Who reads slowly misses progress, and never the outcome, which comes last.
        let (lines, source) = AsyncStream<VolumeOperationLine>.makeStream(
            bufferingPolicy: .bufferingNewest(8))
        let pace = ProgressPace()
        Task {
            do {
                let result = try await perform(operation) { progress in
                    guard pace.isDue() else { return }
                    source.yield(
                        VolumeOperationLine(
                            progress: VolumeProgressView(
                                doing: progress.doing, doneBytes: progress.done,
                                totalBytes: progress.total)))
                }
                source.yield(VolumeOperationLine(result: result))
            } catch {
                let refusal = VolumeOperation.refusal(of: error)
                log.info("a volume operation was refused or failed: \(refusal.message)")
                source.yield(VolumeOperationLine(error: refusal.view))
            }
            source.finish()
        }
        return lines
    }

    private func perform(
        _ operation: VolumeOperation, progress: @escaping VolumeProgressHandler
    ) async throws -> VolumeOperationResult {
        switch operation {
        case .move(let volume, let host):
            return try await move(volume, to: host, progress: progress)
        case .cancelMove(let volume): return try await cancelMove(volume)
        case .backup, .restoreBackup:
            return try await performBackup(operation, progress: progress)
        default:
            return try await keeper.volumes.perform(
                operation, seeing: await look(), progress: progress)
        }
    }

    /// Answers another agent that was asked for an operation on a volume of this host.
    func serveVolume(_ operation: PeerVolumeOperation, _ channel: PeerChannel) async throws {
        let wanted: VolumeOperation
        do {
            wanted = try operation.operation()
        } catch {
            return try await channel.refuse(
                "it does not know this operation on volumes; is it older?")
        }
        try await channel.send(PeerReply.ready)
        for await line in operateHere(wanted) {
            try await channel.send(PeerVolumeLine(line))
        }
        await channel.finish()
    }
}

extension VolumeOperation {
    /// The error as the local API says it.
    static func refusal(of error: any Error) -> ControlError {
        switch error {
        case let error as ControlError: return error
        case let error as VolumeError:
            switch error {
            case .notFound, .notInTrash: return ControlError(.notFound, "\(error)")
            case .badRequest: return ControlError(.invalid, "\(error)")
            case .notRecovered: return ControlError(.unavailable, "\(error)")
            default: return ControlError(.refused, "\(error)")
            }
        default: return ControlError(.failed, "\(error)")
        }
    }
}

/// Lets progress through a few times a second.
private final class ProgressPace: Sendable {
    private static let step = Duration.milliseconds(100)
    private let next = Mutex(ContinuousClock.now)

    func isDue() -> Bool {
        next.withLock { next in
            let now = ContinuousClock.now
            guard now >= next else { return false }
            next = now + ProgressPace.step
            return true
        }
    }
}
