import CLinux
import Glibc
import Synchronization

/// Runs an actor on a thread of its own.
///
/// The store's work blocks for as long as disks take: seconds to minutes for a large image. On
/// Swift's shared pool, which has one thread per core, that would hold up everything else.
///
/// The thread has its own working folder, so that mounting may use short relative names, and the
/// plain C locale, so that libarchive hands over names as the bytes they are.
final class ThreadExecutor: SerialExecutor {
    private let queue: JobQueue

    /// Starts the thread; the name (15 bytes at most) is what `top -H` shows.
    init(name: String) throws {
        let queue = JobQueue()
        self.queue = queue
        var thread = pthread_t()
        let context = Unmanaged.passRetained(queue)
        let status = pthread_create(&thread, nil, runThread, context.toOpaque())
        guard status == 0 else {
            context.release()
            throw ImageError(attempt: "start the thread \(name)", code: status)
        }
        clinux_image_name_thread(thread, name)
        pthread_detach(thread)
    }

    deinit {
        queue.stop()
    }

    func enqueue(_ job: consuming ExecutorJob) {
        queue.append(UnownedJob(job), for: self)
    }

    func checkIsolated() {
        precondition(queue.isCurrentThread, "not on the image store's thread")
    }

    func isIsolatingCurrentContext() -> Bool? { queue.isCurrentThread }
}

/// The jobs of one thread, in order.
///
/// The thread keeps the queue alive, not the executor: so the last reference to the executor may
/// go away on the thread itself.
private final class JobQueue: Sendable {
    private struct State {
        /// Each with its executor, which so outlives the job even if the job ends its actor.
        var jobs: [(UnownedJob, ThreadExecutor)] = []
        var isStopped = false
        var thread: pthread_t?
    }

    private let state = Mutex(State())
    /// Counts waiting jobs.
    ///
    /// Never moved or freed while the queue lives; sem_post(3) and
    /// sem_wait(3) are made for use from any thread, hence unsafe only in the compiler's eyes.
    nonisolated(unsafe) private let waiting: UnsafeMutablePointer<sem_t>

    init() {
        waiting = .allocate(capacity: 1)
        sem_init(waiting, 0, 0)
    }

    deinit {
        sem_destroy(waiting)
        waiting.deallocate()
    }

    var isCurrentThread: Bool {
        state.withLock { state in
            guard let thread = state.thread else { return false }
            return pthread_equal(thread, pthread_self()) != 0
        }
    }

    func append(_ job: UnownedJob, for executor: ThreadExecutor) {
        state.withLock { $0.jobs.append((job, executor)) }
        sem_post(waiting)
    }

    func stop() {
        state.withLock { $0.isStopped = true }
        sem_post(waiting)
    }

    /// The thread's life: runs jobs until stopped.
    func run() {
        _ = clinux_image_private_folder()
        clinux_image_plain_locale()
        state.withLock { $0.thread = pthread_self() }
        while true {
            while sem_wait(waiting) != 0 {}
            let jobs = state.withLock { state in
                defer { state.jobs = [] }
                return state.jobs
            }
            for (job, executor) in jobs {
                job.runSynchronously(on: executor.asUnownedSerialExecutor())
            }
            if jobs.isEmpty, state.withLock({ $0.isStopped && $0.jobs.isEmpty }) { return }
        }
    }
}

private func runThread(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context else { return nil }
    Unmanaged<JobQueue>.fromOpaque(context).takeRetainedValue().run()
    return nil
}
