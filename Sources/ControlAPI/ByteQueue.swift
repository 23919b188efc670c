import NIOCore

/// A bounded queue of byte runs between one reader and several writers.
///
/// A writer waits while the queue is full; a reader that goes away makes every writer fail, so that
/// nobody waits for ever. At the bound the writer is slowed, nothing is dropped.
actor ByteQueue {
    private let bytesMax: Int
    private var runs: [ByteBuffer] = []
    private var bytes = 0
    private var waitingReader: CheckedContinuation<Void, Never>?
    private var waitingWriters: [CheckedContinuation<Void, Never>] = []
    private var outcome: Result<Void, any Error>?
    private var closed = false

    init(bytesMax: Int) {
        self.bytesMax = bytesMax
    }

    /// Appends a run; waits while the queue is full; throws when the reader is gone.
    func send(_ run: ByteBuffer) async throws {
        while bytes >= bytesMax, !closed {
            await withCheckedContinuation { waitingWriters.append($0) }
        }
        guard !closed, outcome == nil else { throw CancellationError() }
        guard run.readableBytes > 0 else { return }
        runs.append(run)
        bytes += run.readableBytes
        wakeReader()
    }

    /// Nothing more will be sent; an error reaches the reader after what is queued.
    func finish(_ result: Result<Void, any Error>) {
        if outcome == nil { outcome = result }
        wakeReader()
    }

    /// The reader is gone: writers fail, the reader gets nil.
    func close() {
        closed = true
        runs = []
        bytes = 0
        wakeReader()
        wakeWriters()
    }

    /// The next run; nil at the end or when closed or cancelled; throws what the writer failed with.
    func next() async throws -> ByteBuffer? {
        while true {
            if closed { return nil }
            if !runs.isEmpty {
                let run = runs.removeFirst()
                bytes -= run.readableBytes
                wakeWriters()
                return run
            }
            if let outcome {
                try outcome.get()
                return nil
            }
            await waitForRun()
        }
    }

    private func waitForRun() async {
        await withTaskCancellationHandler {
            if Task.isCancelled {
                close()
                return
            }
            await withCheckedContinuation { waitingReader = $0 }
        } onCancel: {
            Task { await self.close() }
        }
    }

    private func wakeReader() {
        waitingReader?.resume()
        waitingReader = nil
    }

    private func wakeWriters() {
        let writers = waitingWriters
        waitingWriters = []
        for writer in writers { writer.resume() }
    }
}
