import CLinux
import Glibc
import Synchronization

/// Waits for many descriptors to become readable, on one thread of its own.
///
/// Containers end long after they were made, so each wait must cost neither a thread nor a poll: one
/// epoll(7) set serves all. A wait duplicates its descriptor, so several may wait for the same one
/// and its owner may close it at any time.
final class DescriptorWatcher: Sendable {
    /// One caller that waits.
    private struct Waiter {
        let descriptor: Int32
        let deadline: ContinuousClock.Instant?
        let continuation: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var waiters: [UInt64: Waiter] = [:]
        var lastToken: UInt64 = 0
        var isStopped = false
    }

    /// What the thread shares with the callers; outlives the watcher until the thread has ended.
    private final class Shared: Sendable {
        let epoll: Int32
        let wake: Int32
        let state = Mutex(State())

        init() throws {
            epoll = clinux_epoll_create()
            wake = clinux_eventfd()
            guard epoll >= 0, wake >= 0, clinux_epoll_add(epoll, wake, 0) == 0 else {
                throw RuntimeError(
                    .host, "set up the wait for containers", cause: HostFiles.lastError,
                    advice: "raise the agent's limit of open files")
            }
        }

        deinit {
            close(epoll)
            close(wake)
        }

        func wakeThread() {
            var one: UInt64 = 1
            _ = write(wake, &one, 8)
        }

        /// Takes a waiter out; its continuation is the caller's to resume.
        func take(_ token: UInt64, in state: inout State) -> Waiter? {
            guard let waiter = state.waiters.removeValue(forKey: token) else { return nil }
            _ = clinux_epoll_remove(epoll, waiter.descriptor)
            close(waiter.descriptor)
            return waiter
        }

        func end(_ token: UInt64, ready: Bool) {
            state.withLock { take(token, in: &$0) }?.continuation.resume(returning: ready)
        }

        func run() {
            var tokens = [UInt64](repeating: 0, count: 64)
            while true {
                let deadline: ContinuousClock.Instant? = state.withLock { state in
                    state.waiters.values.compactMap(\.deadline).min()
                }
                let wait = deadline.map { max(.zero, $0 - .now) }
                let milliseconds = wait.map { min(60_000, $0 / .milliseconds(1)).rounded(.up) }
                let count = clinux_epoll_wait(epoll, &tokens, 64, Int32(milliseconds ?? -1))
                for token in tokens.prefix(Int(max(0, count))) {
                    if token == 0 {
                        var counter: UInt64 = 0
                        _ = read(wake, &counter, 8)
                    } else {
                        end(token, ready: true)
                    }
                }
                if expire() { return }
            }
        }

        /// Ends the waits whose time is up, or all at the end; true when the thread must end.
        private func expire() -> Bool {
            let now = ContinuousClock.now
            let (late, isStopped) = state.withLock { state in
                let tokens = state.waiters.filter { _, waiter in
                    state.isStopped || waiter.deadline.map { $0 <= now } == true
                }.keys
                return (tokens.compactMap { take($0, in: &state) }, state.isStopped)
            }
            for waiter in late { waiter.continuation.resume(returning: false) }
            return isStopped
        }
    }

    private let shared: Shared

    init() throws {
        shared = try Shared()
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(shared)
        let status = pthread_create(
            &thread, nil,
            { argument in
                // Never null: it is the reference retained just above, released here.
                guard let argument else { return nil }
                _ = clinux_name_thread("shoal-exits")
                Unmanaged<Shared>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, argument.toOpaque())
        guard status == 0 else {
            argument.release()
            throw RuntimeError(
                .host, "start the thread that waits for containers",
                cause: String(cString: strerror(status)))
        }
        pthread_detach(thread)
    }

    deinit {
        shared.state.withLock { $0.isStopped = true }
        shared.wakeThread()
    }

    /// Waits until the descriptor is readable or hung up; false at the timeout or when cancelled.
    func isReadable(_ descriptor: Int32, within timeout: Duration?) async -> Bool {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { return false }
        let token = shared.state.withLock { state in
            state.lastToken += 1
            return state.lastToken
        }
        let deadline = timeout.map { ContinuousClock.now + $0 }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let waiter = Waiter(
                    descriptor: copy, deadline: deadline, continuation: continuation)
                let isWatched = shared.state.withLock { state in
                    guard !state.isStopped, !Task.isCancelled,
                        clinux_epoll_add(shared.epoll, copy, token) == 0
                    else { return false }
                    state.waiters[token] = waiter
                    return true
                }
                if isWatched {
                    // The thread must learn of a deadline nearer than the one it waits for.
                    if timeout != nil { shared.wakeThread() }
                } else {
                    close(copy)
                    continuation.resume(returning: false)
                }
            }
        } onCancel: {
            shared.end(token, ready: false)
        }
    }
}
