/// Figures that are measured together.
protocol Benchmark: Sendable {
    /// The names of the figures.
    var names: [String] { get }

    /// Measures; leaves the lab with three hosts and no service, or without a cluster.
    func measure(_ lab: Lab) async throws -> [Figure]
}

extension Benchmark {
    /// True when one of its figures is called so, or its name begins so.
    func covers(_ name: String) -> Bool { names.contains { isPrefix(name, of: $0) } }
}

/// All benchmarks, in the order in which they run.
enum Catalogue {
    static let all: [any Benchmark] = [
        LogBenchmark(), JoinBenchmark(), IdleBenchmark(withSets: false), WriteBenchmark(),
        ApplyBenchmark(), IdleBenchmark(withSets: true), BurstBenchmark(), HostLossBenchmark(),
        LeaseLossBenchmark(), ResizeBenchmark(), ProcessorWallBenchmark(), NeighbourBenchmark(),
        EnforcementBenchmark(), BackupBenchmark(),
    ]
}

/// True for `agent` and `agent.idle` of `agent.idle.cpu`, not for `ag`.
func isPrefix(_ prefix: String, of name: String) -> Bool {
    name == prefix || name.hasPrefix(prefix + ".")
}

/// Why something could not be measured.
struct BenchmarkError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
