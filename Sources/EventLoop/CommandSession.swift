import Base
import Glibc

/// The loop's side of a running command; used on the loop's thread only.
final class CommandSession {
    /// Bytes held for a slow reader before the pipes are left to fill.
    private static let bufferedBytesMax = 256 * 1_024

    private let command: [String]
    private var child: ChildProcess?
    private var graceTimer: LoopTimer?
    private var chunks: [Chunk] = []
    private var bufferedBytes = 0
    /// The outputs that have not ended; one that has is never read again, or it would end twice.
    private var openStreams: [Chunk.Stream] = [.standardOutput, .standardError]
    private var openOutputs: Int { openStreams.count }
    private var exitCode: Int32?
    private var reader: ((Chunk?) -> Void)?
    private var exitWaiters: [(Int32) -> Void] = []

    init(command: [String]) { self.command = command }

    func start(
        loop: EventLoop, environment: [String]?, extraDescriptors: [Int32]
    ) throws(CommandError) {
        do throws(LoopError) {
            let child = try ChildProcess.start(
                loop: loop, command: command, environment: environment, wantsInput: true,
                extraDescriptors: extraDescriptors, onExit: { self.didExit($0) })
            self.child = child
            child.output?.startReading { [weak self] in self?.didRead($0, .standardOutput) }
            child.error?.startReading { [weak self] in self?.didRead($0, .standardError) }
        } catch {
            throw CommandError(command: command, reason: .notStarted(error))
        }
        let weakSession = WeakSession(value: self)
        graceTimer = LoopTimer(loop: loop) { weakSession.value?.endOutputs() }
    }

    /// Hands over the next chunk when there is one; nil at the end or to a second reader.
    func next(_ handler: @escaping (Chunk?) -> Void) {
        guard reader == nil else { return handler(nil) }
        guard !chunks.isEmpty else {
            if openOutputs <= 0 { return handler(nil) }
            reader = handler
            return
        }
        let chunk = chunks.removeFirst()
        bufferedBytes -= chunk.bytes.count
        if bufferedBytes < CommandSession.bufferedBytesMax {
            if openStreams.contains(.standardOutput) { child?.output?.resumeReading() }
            if openStreams.contains(.standardError) { child?.error?.resumeReading() }
        }
        handler(chunk)
    }

    func write(_ bytes: [UInt8], _ completion: @escaping (Bool) -> Void) {
        guard let input = child?.input, !input.isClosed else { return completion(false) }
        do throws(LoopError) {
            try input.write(bytes) { completion($0 == nil) }
        } catch { completion(false) }
    }

    func closeInput() {
        // Closed at once, queued bytes would be lost.
        child?.input?.finishWriting { [weak child] in child?.input?.close() }
    }

    func wait(_ handler: @escaping (Int32) -> Void) {
        if let exitCode { return handler(exitCode) }
        exitWaiters.append(handler)
    }

    func kill(signal: Int32) { child?.kill(signal: signal) }

    /// Nobody is interested any more.
    func abandon() {
        child?.kill(signal: SIGKILL)
        endOutputs()
        if exitCode != nil { child?.closeAll() }
    }

    private func didRead(_ event: ByteStream.Event, _ stream: Chunk.Stream) {
        guard case .bytes(let bytes) = event else {
            guard openStreams.contains(stream) else { return }
            openStreams.removeAll { $0 == stream }
            if openStreams.isEmpty { endOutputs() }
            return
        }
        let chunk = Chunk(stream: stream, bytes: bytes)
        if let waiting = reader {
            reader = nil
            return waiting(chunk)
        }
        chunks.append(chunk)
        bufferedBytes += bytes.count
        guard bufferedBytes >= CommandSession.bufferedBytesMax else { return }
        child?.output?.stopReading()
        child?.error?.stopReading()
    }

    private func didExit(_ code: Int32) {
        exitCode = code
        let waiters = exitWaiters
        exitWaiters = []
        for waiter in waiters { waiter(code) }
        child?.input?.close()
        graceTimer?.start(after: CommandExecution.graceAfterExit)
        child?.close()
    }

    /// Ends both outputs; after the exit, with what the pipes still hold.
    private func endOutputs() {
        if exitCode != nil, openOutputs > 0 { keepRest() }
        openStreams = []
        graceTimer?.close()
        child?.output?.close()
        child?.error?.close()
        if chunks.isEmpty, let waiting = reader {
            reader = nil
            waiting(nil)
        }
    }

    /// Reads what the pipes still hold: the reader may have been slower than the grace.
    private func keepRest() {
        let pipes = [(child?.output, Chunk.Stream.standardOutput), (child?.error, .standardError)]
        for (pipe, stream) in pipes {
            let bytes = pipe?.readNow(maximum: CommandSession.bufferedBytesMax) ?? []
            if !bytes.isEmpty { didRead(.bytes(bytes), stream) }
        }
    }
}

/// Lets a timer reach a session without keeping it.
///
/// Unchecked: both live on the loop's thread, where alone the value is read.
private struct WeakSession: @unchecked Sendable {
    weak var value: CommandSession?
}
