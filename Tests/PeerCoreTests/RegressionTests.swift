import Foundation
import Simulation
import Testing

/// The simulator's seeds that failed once.
@Suite("Seeds that failed once")
struct RegressionTests {
    @Test("a seed that failed once does not fail again", arguments: RegressionTests.seeds)
    func seedHolds(seed: UInt64) throws {
        var world = World(options: SimulationOptions(seed: seed))
        try world.run()
    }

    /// The numbers at the start of the file's lines, without those that take long in debug.
    static var seeds: [UInt64] {
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("regression-seeds.txt").path
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return [] }
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            return words.dropFirst().first == "slow:" ? nil : words.first.flatMap { UInt64($0) }
        }
    }
}
