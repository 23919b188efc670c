import BackupStore
import EventLoop
import VolumePlan
import VolumeStore

/// Giving volumes of class `directory` to another host.
extension AgentBackend {
    /// How long the target may be silent between two passes; it says that it is alive while it reads.
    private static let treePatience = Duration.seconds(60)

    /// Throws when this host lacks a program that copies volumes of these classes.
    static func requirePrograms(for originals: [VolumeOriginal]) throws {
        guard originals.contains(where: { $0.volumeClass == .directory }) else { return }
        do {
            try VolumeStore.requireTreeTools()
        } catch {
            guard case .programMissing(let program, let package) = error else { throw error }
            throw AgentError(
                "to copy a volume of class directory it needs the program `\(program)`: install "
                    + "it there with `apt-get install \(package)` and try again")
        }
    }

    /// Gives a folder as the target asks for it: passes of rsync, and its digest once it is at rest.
    func giveTree(
        _ original: VolumeOriginal, isHeld: Bool, _ channel: PeerChannel
    ) async throws {
        guard isHeld else { return try await giveTree(original, folder: nil, channel) }
        try await keeper.volumes.store.treeAtRest(original.name) { folder in
            try await giveTree(original, folder: folder, channel)
        }
    }

    private func giveTree(
        _ original: VolumeOriginal, folder: String?, _ channel: PeerChannel
    ) async throws {
        let total = try await keeper.volumes.store.treeUsage(original.name)
        while let frame = try await channel.nextFrame(patience: AgentBackend.treePatience) {
            switch frame {
            case .pass(let isThorough):
                try await givePass(original, isThorough: isThorough, total: total, channel)
            case .digest:
                guard let folder else {
                    throw AgentError("the other host wants the digest of a volume in use")
                }
                try await channel.send(try await digest(of: folder, channel))
            case .end: return
            default: throw AgentError("the other host wants something else than files")
            }
        }
        throw AgentError("the other host broke off in the middle of a volume")
    }

    private func digest(
        of folder: String, _ channel: PeerChannel
    ) async throws -> PeerMoveFrame {
        do {
            let engine = backupKeeper.engine
            let digest = try await channel.keepingAlive {
                try await engine.digestForMove(of: folder)
            }
            return .digest(digest.description)
        } catch let error as BackupError {
            // The target has to know: to ask again would not help.
            return .ended(code: 1, words: TreeCopyEnding.bounded("\(error)"))
        }
    }

    private func givePass(
        _ original: VolumeOriginal, isThorough: Bool, total: Int, _ channel: PeerChannel
    ) async throws {
        let departures = departures
        let command: RunningCommand
        do {
            command = try await keeper.volumes.store.startGiving(
                original.name, isThorough: isThorough)
        } catch let error as VolumeError {
            // The target has to know: to ask again would not help.
            try await channel.send(
                PeerMoveFrame.ended(code: 1, words: TreeCopyEnding.bounded("\(error)")))
            await channel.finish()
            throw error
        }
        let result = try await TreeCarrier(
            command: command, channel: channel, what: "copying \(original.name)",
            progress: { bytes in
                await departures.note(
                    original.name.slot, volume: original.name.description,
                    done: min(bytes, total), total: total)
            }
        ).run()
        guard result.ours.code != 0 else { return }
        log.warning(
            "copying \(original.name): rsync ended with exit code \(result.ours.code): "
                + result.ours.words)
    }
}
