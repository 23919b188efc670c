import BackupStore
import VolumePlan
import VolumeStore

/// Copying volumes of class `directory` here.
extension VolumeMover {
    /// One pass over the files of a volume; returns the bytes that came and went for it.
    ///
    /// Once the slot is held, the copy equals the original when this returns, on the disk: both are
    /// read whole, and their digests compared. Should a file have changed without another size or
    /// time, or names that were one file be several now, a second pass compares contents.
    func copyTree(
        _ original: VolumeOriginal, to copy: VolumeID, isHeld: Bool, _ channel: PeerChannel
    ) async throws -> Int {
        var bytes = 0
        for isThorough in [false, true] {
            let result = try await takePass(original, copy, isThorough: isThorough, channel)
            bytes += result.bytes
            guard isHeld, try await !isSame(copy, channel) else {
                try await channel.send(PeerMoveFrame.end)
                return bytes
            }
            log.info("the copy of \(original.name) differs: \(result.theirs.words)")
        }
        throw VolumeError.copyDiffers(
            original.name, path: ".", cause: "its digest is not that of the original")
    }

    private func takePass(
        _ original: VolumeOriginal, _ copy: VolumeID, isThorough: Bool, _ channel: PeerChannel
    ) async throws -> TreeCarrier.Result {
        let store = volumes.store
        let command = try await store.startTaking(copy)
        try await channel.send(PeerMoveFrame.pass(isThorough: isThorough))
        let result = try await TreeCarrier(
            command: command, channel: channel, what: "copying \(original.name)",
            check: { try await store.requireBounded(copy) }
        ).run()
        guard !result.theirs.isThrough else { return result }
        try await store.requireBounded(copy)
        let ending = TreeCopyEnding(sender: result.theirs, receiver: result.ours)
        let cause = "rsync ended with exit code \(ending.code): \(ending.words)"
        guard ending.mayPass else {
            throw VolumeError.tool(attempt: "copy \(original.name)", cause: cause)
        }
        throw AgentError("copying \(original.name): \(cause)")
    }

    /// Reads the whole copy from the disk and compares it with what the original is.
    private func isSame(_ copy: VolumeID, _ channel: PeerChannel) async throws -> Bool {
        let folder = try await volumes.store.settleTree(copy)
        try await channel.send(PeerMoveFrame.digest(""))
        // Both sides read at the same time.
        async let theirs = channel.nextFrame(patience: VolumeMover.patience)
        let ours = try await digest(of: folder, channel)
        switch try await theirs {
        case .digest(let text)?:
            guard let digest = ContentDigest(text) else { break }
            return digest == ours
        case .ended(_, let words)?:
            throw VolumeError.tool(attempt: "read the original", cause: words)
        default: break
        }
        throw AgentError("the source does not tell the digest of its volume")
    }

    private func digest(of folder: String, _ channel: PeerChannel) async throws -> ContentDigest {
        let engine = engine
        do {
            return try await channel.keepingAlive {
                try await engine.digestForMove(of: folder, readsFromDisk: true)
            }
        } catch BackupError.file(let error) {
            throw error
        } catch BackupError.notKeepable(let path, let cause) {
            throw VolumeError.tool(attempt: "read the copy", cause: "`\(path)`: \(cause)")
        }
    }
}
