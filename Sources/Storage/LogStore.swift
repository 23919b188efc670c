import Base
import Consensus
import Glibc

/// A host's durable log, snapshot, vote and local facts: one SQLite file and one thread.
///
/// SQLite in WAL mode with `synchronous=FULL`: what was reported durable survives a crash of the
/// program and of the machine. Everything that is queued while a commit runs goes into the next
/// one (group commit), so that the number of commits per second bounds delay, not throughput.
///
/// Requests build on each other. When one cannot be written (a full disk, say), it and all later
/// ones are kept and tried again every second, in order, until they can be, or until `close`.
/// What is kept is bounded by the consensus core, which refuses proposals when too much waits.
package final class LogStore: Sendable {
    private let path: String
    private let queue: Monitor<Queue>
    private let thread: Monitor<pthread_t?>

    /// Opens the database at `path`, creating it if need be, and takes it for this process alone.
    package init(path: String) throws(StorageError) {
        self.path = path
        let queue = Monitor(Queue())
        self.queue = queue
        let opened = Monitor<StorageError??>(nil)
        let started = startThread {
            let worker: StorageWorker
            do throws(StorageError) {
                worker = StorageWorker(database: try LogDatabase(path: path), queue: queue)
            } catch {
                opened.change { $0 = .some(error) }
                return
            }
            opened.change { $0 = .some(nil) }
            worker.run()
        }
        thread = Monitor(started)
        guard let started else {
            throw StorageError(
                kind: .failed, operation: "start a thread for", path: path,
                reason: "the system has no room for one",
                nextStep: "raise the limit on threads, and start the agent again")
        }
        if let failure = opened.wait({ $0 }) ?? nil {
            pthread_join(started, nil)
            throw failure
        }
    }

    deinit {
        queue.change { $0.closed = true }
        if let running = thread.change({ $0 }) { pthread_detach(running) }
    }

    /// Reads and verifies everything; refuses rather than drops what is damaged.
    ///
    /// Blocks.
    package func load() throws(StorageError) -> RestoredLog {
        try run { database in Result { () throws(StorageError) in try database.load() } }
    }

    /// Makes requests durable, in order; everything queued meanwhile shares one transaction.
    ///
    /// The completion is called on the storage thread: once with the requests' tickets when they
    /// are durable. Before that it may be called once with an error; the requests stay queued and
    /// are tried again, so that the agent need not do anything but tell the operator. After an
    /// error of kind `closed` there is no further call.
    package func persist(
        _ requests: [PersistRequest],
        completion: @escaping @Sendable (Result<[UInt64], StorageError>) -> Void
    ) {
        let job = PersistJob(requests: requests, completion: completion)
        let queued = queue.change { queue in
            guard !queue.closed else { return false }
            queue.jobs.append(.persist(job))
            return true
        }
        if !queued { completion(.failure(.closed(path))) }
    }

    /// A local fact; nil when it was never set.
    ///
    /// Blocks.
    package func value(for name: String) throws(StorageError) -> [UInt8]? {
        try run { database in
            Result { () throws(StorageError) in try database.value(for: name) }
        }
    }

    /// Sets a local fact durably; nil removes it.
    ///
    /// Blocks.
    package func set(_ value: [UInt8]?, for name: String) throws(StorageError) {
        try run { database in
            Result { () throws(StorageError) in try database.set(value, for: name) }
        }
    }

    /// Tries what is queued once more, then closes the file and ends the thread.
    ///
    /// Blocks; not to be called from a completion. A second call does nothing.
    package func close() {
        queue.change { $0.closed = true }
        let running = thread.change { thread in
            defer { thread = nil }
            return thread
        }
        if let running { pthread_join(running, nil) }
    }

    /// Runs `body` on the storage thread, after what is queued, and waits for its result.
    private func run<Value: Sendable>(
        _ body: @escaping @Sendable (LogDatabase) -> Result<Value, StorageError>
    ) throws(StorageError) -> Value {
        let answer = Monitor<Result<Value, StorageError>?>(nil)
        let queued = queue.change { queue in
            guard !queue.closed else { return false }
            queue.jobs.append(.run { database in answer.change { $0 = body(database) } })
            return true
        }
        guard queued, let result = answer.wait({ $0 }) else { throw .closed(path) }
        return try result.get()
    }
}

extension StorageError {
    static func closed(_ path: String) -> StorageError {
        StorageError(
            kind: .closed, operation: "use", path: path, reason: "the store was closed",
            nextStep: "start the agent again")
    }
}

/// What waits for the storage thread.
struct Queue: Sendable {
    var jobs: [Job] = []
    /// True once nothing more is taken.
    var closed = false

    enum Job: Sendable {
        case persist(PersistJob)
        case run(@Sendable (LogDatabase) -> Void)
    }
}

/// Requests that must become durable.
struct PersistJob: Sendable {
    var requests: [PersistRequest]
    var completion: @Sendable (Result<[UInt64], StorageError>) -> Void
    /// True once the caller was told of a failure.
    var failureTold = false
}

/// The storage thread's loop.
struct StorageWorker {
    let database: LogDatabase
    let queue: Monitor<Queue>

    /// How long it waits before it tries failed requests again, in milliseconds.
    private static let retryMilliseconds = 1_000

    /// Works until the queue is closed and empty.
    func run() {
        var waiting: [PersistJob] = []
        while true {
            let taken = queue.wait(
                milliseconds: waiting.isEmpty ? nil : StorageWorker.retryMilliseconds
            ) { queue -> (jobs: [Queue.Job], closed: Bool)? in
                guard !queue.jobs.isEmpty || queue.closed else { return nil }
                defer { queue.jobs = [] }
                return (queue.jobs, queue.closed)
            }
            for job in taken?.jobs ?? [] {
                switch job {
                case .persist(let job): waiting.append(job)
                case .run(let body):
                    commit(&waiting)
                    body(database)
                }
            }
            commit(&waiting)
            guard let taken, taken.closed, taken.jobs.isEmpty else { continue }
            for job in waiting { job.completion(.failure(.closed(database.database.path))) }
            return
        }
    }

    /// Writes all that waits in one transaction; on an error all of it goes on waiting.
    private func commit(_ waiting: inout [PersistJob]) {
        guard !waiting.isEmpty else { return }
        do throws(StorageError) {
            try database.persist(waiting.flatMap(\.requests))
        } catch {
            for position in waiting.indices where !waiting[position].failureTold {
                waiting[position].failureTold = true
                waiting[position].completion(.failure(error))
            }
            return
        }
        let done = waiting
        waiting = []
        for job in done { job.completion(.success(job.requests.map(\.ticket))) }
    }
}
