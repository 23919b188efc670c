import ArgumentParser
import Base
import FoundationEssentials
import Simulation

/// The simulator's command line: many seeds, or one seed again in full detail.
@main
struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract:
            "Runs whole clusters in virtual time, one a seed, and checks what must always hold.",
        discussion: """
            EXAMPLES
              simulate --seeds 200              seeds 1 to 200; exit 1 names the seeds that fail
              simulate --seed 17 --verbose      seed 17 again, with everything that happens
              simulate --seed 17 --fingerprint  one number that two processes must agree on
              simulate --regressions FILE       the seeds that a file names, one at a line's start
            """)

    @Option(help: "How many seeds to run.")
    var seeds: UInt64 = 200

    @Option(help: "The first seed.")
    var first: UInt64 = 1

    @Option(help: "Run this seed only.")
    var seed: UInt64?

    @Option(help: "Run the seeds that this file names: one at the start of each line.")
    var regressions: String?

    @Flag(help: "Print everything that happens.")
    var verbose = false

    @Flag(help: "Print the history's fingerprint.")
    var fingerprint = false

    func run() throws {
        if let seed {
            guard runOne(seed) else { throw ExitCode(1) }
            return
        }
        let chosen = try regressions.map(seedsNamed) ?? Array(first..<(first + seeds))
        var failed: [UInt64] = []
        var events = 0
        for seed in chosen {
            var world = World(options: SimulationOptions(seed: seed))
            do throws(Violation) {
                try world.run()
            } catch {
                failed.append(seed)
                report(seed, error, world)
            }
            events += world.eventCount
        }
        print(
            "simulate: \(chosen.count) seeds, \(events) events, \(failed.count) failed\(failed.isEmpty ? "" : ": \(failed)")"
        )
        if !failed.isEmpty { throw ExitCode(1) }
    }

    /// The numbers at the start of a file's lines; other lines are comments.
    private func seedsNamed(in path: String) throws -> [UInt64] {
        let text = try String(contentsOfFile: path, encoding: .utf8)
        return text.split(separator: "\n").compactMap { line in
            line.split(separator: " ").first.flatMap { UInt64($0) }
        }
    }

    private func runOne(_ seed: UInt64) -> Bool {
        let options = SimulationOptions(seed: seed)
        if !fingerprint { print("seed \(seed): \(options.summary)") }
        var world = World(options: options, verbose: verbose)
        do throws(Violation) {
            try world.run()
        } catch {
            report(seed, error, world)
            return false
        }
        print(fingerprint ? "\(world.fingerprint)" : "seed \(seed): \(world.eventCount) events, ok")
        return true
    }

    private func report(_ seed: UInt64, _ violation: Violation, _ world: World) {
        print("SEED \(seed) FAILED at \(world.now): \(violation)")
        print("  \(world.options.summary)")
        for line in world.lastLines(verbose ? 0 : 25) { print("  \(line)") }
        print("  replay: swift run -c release simulate --seed \(seed) --verbose")
    }
}
