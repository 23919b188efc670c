import ClusterModel
import Glibc

/// Walls that are measured together.
protocol WallMeasurement: Sendable {
    /// The names of the rows it makes, in their order.
    var names: [String] { get }

    /// Measures and hands over each row as soon as it is known.
    func measure(_ emit: (WallRow) -> Void) async throws
}

/// All walls, in the order in which they are measured.
enum WallCatalogue {
    static let all: [any WallMeasurement] = [
        ProcessorWalls(), MemoryWalls(), ProcessWall(), DiskWalls(), BandwidthWalls(),
        VolumeWalls(), NeighbourWalls(),
    ]
}

/// Measures walls and prints the table.
enum Walls {
    /// Measures the walls whose names begin so, all without names; prints each row when it is known.
    ///
    /// Returns false when a wall did not hold. What could not be measured counts as broken.
    static func run(_ names: [String], json: Bool) async throws -> Bool {
        let kernel = try await WallHost.with { $0.kernel }
        if !json { print(WallTable.heading(kernel)) }
        var holds = true
        for measurement in WallCatalogue.all {
            let wanted = measurement.names.filter { name in
                names.isEmpty || names.contains { isPrefix($0, of: name) }
            }
            guard !wanted.isEmpty else { continue }
            var missing = wanted
            func show(_ row: WallRow) {
                guard wanted.contains(row.name) else { return }
                missing.removeAll { $0 == row.name }
                var row = row
                row.kernel = kernel
                if row.verdict == .broken { holds = false }
                do { print(json ? try WallTable.json(row) : WallTable.text(row)) } catch {
                    Report.standardError("benchmarks: \(error)\n")
                }
                fflush(nil)
            }
            do {
                try await measurement.measure(show)
            } catch {
                for name in missing {
                    show(
                        WallRow(
                            name: name, configured: "-", readBack: "-", measured: "-",
                            allowed: "-", verdict: .broken, note: "not measured: \(error)"))
                }
            }
            for name in missing {
                show(
                    WallRow(
                        name: name, configured: "-", readBack: "-", measured: "-", allowed: "-",
                        verdict: .broken, note: "no measurement came"))
            }
        }
        return holds
    }
}

/// Processor time, in cores, that sets use while all of them run, over so many seconds.
func coresUsed(_ host: WallHost, _ slots: [SlotID], seconds: Int = 5) async throws -> [Double] {
    // Groups find their places on the processors.
    try await Task.sleep(for: .seconds(1))
    let start = ContinuousClock.now
    var before: [Int] = []
    for slot in slots { before.append(try await host.usage(slot).cpuMicroseconds) }
    try await Task.sleep(for: .seconds(seconds))
    let elapsed = (ContinuousClock.now - start).inSeconds
    var used: [Double] = []
    for (slot, before) in zip(slots, before) {
        used.append(Double(try await host.usage(slot).cpuMicroseconds - before) / 1e6 / elapsed)
    }
    return used
}
