import Base
import Consensus
import Storage

/// What the durable log alone takes: the floor under every write.
struct LogBenchmark: Benchmark {
    let names = ["log.append.median", "log.append.p99", "log.append.rate"]

    private static let appends = 200
    private static let queued = 5_000
    private static let commandBytes = 256

    func measure(_ lab: Lab) async throws -> [Figure] {
        // Beside the agents' data, so on their disk.
        let folder = "\(lab.dataFolder)-log"
        try await lab.shell(#"rm -rf -- "$1" && mkdir -p -- "$1""#, folder)
        let store = try LogStore(path: "\(folder)/log.db")
        _ = try store.load()
        var times: [Double] = []
        for number in 1...LogBenchmark.appends {
            let start = ContinuousClock.now
            try await append(from: number, count: 1, to: store)
            times.append((ContinuousClock.now - start).inSeconds * 1_000)
        }
        let start = ContinuousClock.now
        try await append(from: LogBenchmark.appends + 1, count: LogBenchmark.queued, to: store)
        let rate = Double(LogBenchmark.queued) / (ContinuousClock.now - start).inSeconds
        store.close()
        try await lab.shell(#"rm -rf -- "$1""#, folder)
        return figures(Samples(times), rate)
    }

    /// Asks for entries one request each, all at once, and waits until the last is durable.
    private func append(from first: Int, count: Int, to store: LogStore) async throws {
        let payload = [UInt8](repeating: 0x5A, count: LogBenchmark.commandBytes)
        // A stream and not a continuation: after a failure the store tries again and reports again.
        let (durable, report) = AsyncThrowingStream<Void, any Error>.makeStream()
        for number in first..<(first + count) {
            let entry = LogEntry(
                index: LogIndex(UInt64(number)), epoch: Epoch(1), payload: .command(payload))
            let isLast = number == first + count - 1
            store.persist([PersistRequest(ticket: UInt64(number), entries: [entry])]) { result in
                switch result {
                case .success: if isLast { report.finish() }
                case .failure(let error): report.finish(throwing: error)
                }
            }
        }
        for try await _ in durable {}
    }

    private func figures(_ times: Samples, _ rate: Double) -> [Figure] {
        let entry = "an entry of \(LogBenchmark.commandBytes) bytes, durable"
        return [
            Figure(
                name: names[0], times, unit: "ms",
                conditions: "\(entry), one after the other; \(Machine.load)"),
            Figure(
                name: names[1], value: times.percentile(0.99), unit: "ms",
                samples: times.values.count, conditions: "the same"),
            Figure(
                name: names[2], value: rate, unit: "1/s",
                conditions: "\(LogBenchmark.queued) of them queued at once (group commit)"),
        ]
    }
}
