import Base
import CLibuv
import CLinux
import Glibc
import Synchronization

/// One libuv loop on a thread of its own, usable as the executor of actors.
///
/// An actor moves onto the loop with
/// `nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }`
/// and must keep a strong reference to it. libuv's callbacks run on the same thread without a
/// task; `actor.assumeIsolated { }` works there because the loop knows its thread.
///
/// Several loops may exist in one process. A loop lives until `stop()`; it is never freed before.
/// Written for libuv 1.44: a wake-up's ordering comes from the inbox's mutex, not from
/// `uv_async_send`.
package final class EventLoop: SerialExecutor, Sendable {
    /// What waits to run on the thread.
    private enum Item {
        case job(UnownedJob)
        case body(@Sendable () -> Void)
    }

    /// The queue from other threads.
    ///
    /// `wakePending` spares a system call per item.
    private struct Inbox {
        var items: [Item] = []
        var wakePending = false
        var isStopped = false
    }

    /// Rounds of the inbox before sockets and timers get their turn again.
    private static let drainRoundsMax = 16

    /// Bytes of the buffer that every read on this loop shares.
    static let readBufferBytes = 65_536

    /// The thread's name in `ps -L`, at most 15 bytes.
    package let name: String

    // Touched on the loop's thread only (the async handle: under the inbox's mutex).
    nonisolated(unsafe) let uvLoop: UnsafeMutablePointer<uv_loop_t>
    nonisolated(unsafe) private let wake: UnsafeMutablePointer<uv_async_t>
    nonisolated(unsafe) let readBuffer: UnsafeMutablePointer<CChar>

    private let inbox = Mutex(Inbox())
    private let thread = Atomic<UInt>(0)

    /// Starts the thread.
    ///
    /// Throws when the kernel refuses descriptors or a thread.
    package init(name: String) throws {
        self.name = String(name.prefix(15))
        uvLoop = .allocate(capacity: 1)
        wake = .allocate(capacity: 1)
        readBuffer = .allocate(capacity: EventLoop.readBufferBytes)
        // A peer that closes its end must not end the process.
        signal(SIGPIPE, SIG_IGN)
        try LoopError.check(uv_loop_init(uvLoop), "start the event loop", on: name)
        let status = uv_async_init(uvLoop, wake) { handle in
            guard let data = handle?.pointee.data else { return }
            Unmanaged<EventLoop>.fromOpaque(data).takeUnretainedValue().drain()
        }
        try LoopError.check(status, "start the event loop", on: name)
        let retained = Unmanaged.passRetained(self)
        wake.pointee.data = retained.toOpaque()
        var created = pthread_t()
        let code = pthread_create(&created, nil, EventLoop.threadMain, retained.toOpaque())
        guard code == 0 else {
            retained.release()
            throw LoopError(operation: "start the thread of event loop", target: name, code: -code)
        }
        pthread_detach(created)
    }

    /// Reads CLOCK_MONOTONIC.
    package func now() -> Instant {
        Instant(nanoseconds: Int64(truncatingIfNeeded: uv_hrtime()))
    }

    /// Ends the thread after closing every handle and running what is queued.
    ///
    /// Stop the actors on the loop first: what is enqueued after the end never runs, and a call
    /// that waits for a handle (a command, a stream) never returns.
    package func stop() {
        perform { uv_stop(self.uvLoop) }
    }

    /// True on the loop's own thread.
    package var isOnThread: Bool {
        thread.load(ordering: .acquiring) == UInt(pthread_self())
    }

    /// Runs a closure on the loop's thread, later, in the order of the calls.
    package func perform(_ body: @escaping @Sendable () -> Void) {
        add(.body(body))
    }

    // MARK: - SerialExecutor

    package func enqueue(_ job: consuming ExecutorJob) {
        add(.job(UnownedJob(job)))
    }

    package func checkIsolated() {
        precondition(isOnThread, "called outside the thread of event loop \(name)")
    }

    package func isIsolatingCurrentContext() -> Bool? { isOnThread }

    // MARK: - The thread

    private func add(_ item: Item) {
        inbox.withLock { inbox in
            guard !inbox.isStopped else { return }
            inbox.items.append(item)
            guard !inbox.wakePending else { return }
            inbox.wakePending = true
            uv_async_send(wake)
        }
    }

    /// Runs what is queued, a bounded number of rounds; true when the queue was seen empty.
    @discardableResult
    private func drain() -> Bool {
        let executor = asUnownedSerialExecutor()
        for _ in 0..<EventLoop.drainRoundsMax {
            let batch = inbox.withLock { inbox -> [Item] in
                if inbox.items.isEmpty { inbox.wakePending = false }
                defer { inbox.items = [] }
                return inbox.items
            }
            if batch.isEmpty { return true }
            for item in batch {
                switch item {
                case .job(let job): job.runSynchronously(on: executor)
                case .body(let body): body()
                }
            }
        }
        inbox.withLock { inbox in
            inbox.wakePending = true
            uv_async_send(wake)
        }
        return false
    }

    private static let threadMain:
        @convention(c) (UnsafeMutableRawPointer?) ->
            UnsafeMutableRawPointer? = { argument in
                guard let argument else { return nil }
                let loop = Unmanaged<EventLoop>.fromOpaque(argument).takeRetainedValue()
                loop.thread.store(UInt(pthread_self()), ordering: .releasing)
                _ = clinux_name_thread(loop.name)
                uv_run(loop.uvLoop, UV_RUN_DEFAULT)
                loop.shutDown()
                return nil
            }

    /// Closes every handle, runs the last jobs, then frees the loop.
    private func shutDown() {
        let closeAll: uv_walk_cb = { handle, argument in
            guard let handle, let data = handle.pointee.data, data != argument else { return }
            Unmanaged<LoopHandle>.fromOpaque(data).takeUnretainedValue().close()
        }
        let ownData = wake.pointee.data
        repeat {
            uv_walk(uvLoop, closeAll, ownData)
            uv_run(uvLoop, UV_RUN_NOWAIT)
        } while !drain()
        uv_walk(uvLoop, closeAll, ownData)
        inbox.withLock { inbox in
            inbox.isStopped = true
            inbox.items = []
        }
        wake.withMemoryRebound(to: uv_handle_t.self, capacity: 1) { uv_close($0, nil) }
        uv_run(uvLoop, UV_RUN_DEFAULT)
        guard uv_loop_close(uvLoop) == 0 else { return }
        thread.store(0, ordering: .releasing)
        wake.deallocate()
        uvLoop.deallocate()
        readBuffer.deallocate()
    }
}
