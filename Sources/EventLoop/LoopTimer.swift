import Base
import CLibuv

/// A one-shot timer on a loop; made, used and closed on the loop's thread only.
///
/// Resolution is one millisecond, rounded up: it never fires early.
package final class LoopTimer {
    private let handle: Handle
    private let loop: EventLoop

    /// Makes an idle timer that calls `handler` on the loop's thread when it fires.
    package init(loop: EventLoop, handler: @escaping @Sendable () -> Void) {
        self.loop = loop
        handle = Handle(loop: loop, handler: handler)
    }

    deinit {
        if loop.isOnThread {
            handle.close()
        } else {
            // The handle is reached from nowhere else once its timer is gone.
            nonisolated(unsafe) let orphan = handle
            loop.perform { orphan.close() }
        }
    }

    /// Fires once after `delay`; an earlier start is forgotten.
    package func start(after delay: Duration) { handle.start(after: delay) }

    /// Forgets the start, if any.
    package func stop() { handle.stop() }

    /// Ends the timer for good; also happens when the timer is freed.
    package func close() { handle.close() }

    /// The libuv side, which outlives the timer until its close callback.
    private final class Handle: LoopHandle {
        private var handler: (@Sendable () -> Void)?

        init(loop: EventLoop, handler: @escaping @Sendable () -> Void) {
            self.handler = handler
            super.init(loop: loop, type: UV_TIMER)
            uv_timer_init(loop.uvLoop, timer)
            opened()
        }

        private var timer: UnsafeMutablePointer<uv_timer_t> {
            storage.assumingMemoryBound(to: uv_timer_t.self)
        }

        func start(after delay: Duration) {
            guard !isClosed else { return }
            let nanoseconds = max(0, delay.inNanoseconds)
            // The loop counts whole milliseconds and rounds its own time down: one more, or a timer
            // that is started late in a millisecond fires up to one early.
            let milliseconds = UInt64(
                nanoseconds / 1_000_000 + (nanoseconds % 1_000_000 > 0 ? 1 : 0)
                    + (nanoseconds > 0 ? 1 : 0))
            // The loop's clock stands still during a callback.
            uv_update_time(loop.uvLoop)
            uv_timer_start(
                timer,
                { timer in
                    LoopHandle.owner(timer?.pointee.data, as: Handle.self)?.handler?()
                }, milliseconds, 0)
        }

        func stop() {
            guard !isClosed else { return }
            uv_timer_stop(timer)
        }

        override func willClose() { handler = nil }
    }
}
