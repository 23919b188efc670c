import ArgumentParser
import Base
import EventLoop
import FoundationEssentials
import Glibc

/// Measures every figure the project quotes, on three real agents on this machine.
///
/// `Tools/bench` is the usual way to run it: it builds what is measured and cleans up in any case.
@main
struct Benchmarks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "benchmarks",
        abstract: "Measures every figure we quote, on three agents on this machine.",
        discussion: """
            EXAMPLES
              Tools/bench                       build, measure everything, clean up
              Tools/bench agent.idle            only the names that begin so
              Tools/bench recovery --json       an array of objects
              benchmarks --list                 what there is
              benchmarks --walls                the table of walls, on this machine's kernel

            A figure with several samples shows their median, then smallest and largest.
            Exit status: 0 done, 1 a limit is exceeded or something failed, 64 wrong usage.
            """)

    @Argument(help: "Names, or how they begin: area, area.case or area.case.measure.")
    var names: [String] = []

    @Flag(help: "Print an array of objects.")
    var json = false

    @Flag(help: "Print the names and measure nothing.")
    var list = false

    @Option(help: ArgumentHelp("The functions that make three hosts.", valueName: "path"))
    var cluster = "Tools/cluster.sh"

    @Flag(
        help: """
            Print the table of walls instead: what is configured, what the kernel keeps, what an \
            attack comes to. Tools/walls does it on both versions of control groups.
            """)
    var walls = false

    @Option(
        help: ArgumentHelp(
            "Only fetch pages from there for a while; print milliseconds.", visibility: .hidden))
    var visit: String?

    @Option(help: ArgumentHelp("How long to fetch pages.", visibility: .hidden))
    var visitMilliseconds = 10_000

    @Option(help: ArgumentHelp("Only be a part of an attack.", visibility: .hidden))
    var part: String?

    @Option(
        help: ArgumentHelp("Only make sets in control groups of this name.", visibility: .hidden))
    var enforce: String?

    @Flag(help: ArgumentHelp("Limit their bandwidth, too.", visibility: .hidden))
    var limited = false

    /// What the cluster is called unless CLUSTER says; never the name that a demo uses.
    private static let clusterName = "shoal-bench"

    func validate() throws {
        let known = walls ? WallCatalogue.all.flatMap(\.names) : Catalogue.all.flatMap(\.names)
        for name in names where !known.contains(where: { isPrefix(name, of: $0) }) {
            throw ValidationError("nothing is called \(name): see --list")
        }
    }

    func run() async throws {
        if let visit {
            return try Visitor.run(visit, for: .milliseconds(visitMilliseconds))
        }
        if let part { return try WallPart.run(part) }
        if let enforce {
            return try await EnforcementRound(name: enforce, isLimited: limited).run()
        }
        guard !list else {
            let all = walls ? WallCatalogue.all.flatMap(\.names) : Catalogue.all.flatMap(\.names)
            for name in all { print(name) }
            return
        }
        if walls { return try await measureWalls() }
        setenv("CLUSTER", Benchmarks.clusterName, 0)
        do {
            let figures = try await measure()
            if json { print(try jsonText(figures)) }
            try await report(brokenLimits: figures)
        } catch let code as ExitCode {
            throw code
        } catch {
            Report.standardError("benchmarks: \(error)\n")
            throw ExitCode(1)
        }
    }

    private func measureWalls() async throws {
        do {
            guard try await Walls.run(names, json: json) else { throw ExitCode(1) }
        } catch let code as ExitCode {
            throw code
        } catch {
            Report.standardError("benchmarks: \(error)\n")
            throw ExitCode(1)
        }
    }

    private func measure() async throws -> [Figure] {
        let commands = CommandRunner(loop: try EventLoop(name: "commands"))
        let lab = try await Lab(script: cluster, commands: commands)
        var figures: [Figure] = []
        for benchmark in Catalogue.all
        where names.isEmpty || names.contains(where: { benchmark.covers($0) }) {
            let found = try await benchmark.measure(lab).filter { figure in
                names.isEmpty || names.contains { isPrefix($0, of: figure.name) }
            }
            if !json { for figure in found { print(figure.line) } }
            fflush(nil)
            figures += found
        }
        try await lab.down()
        return figures
    }

    private func jsonText(_ figures: [Figure]) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(figures), as: UTF8.self)
    }

    private func report(brokenLimits figures: [Figure]) async throws {
        let broken = figures.filter(\.isAboveLimit)
        for figure in broken {
            Report.standardError(
                "benchmarks: \(figure.name) is above its limit of \(Figure.text(figure.limit ?? 0)) \(figure.unit)\n"
            )
        }
        if !broken.isEmpty { throw ExitCode(1) }
    }
}

/// What is told while measuring.
enum Report {
    /// Writes to standard error, so that standard output holds figures only.
    static func standardError(_ text: String) {
        let bytes = Array(text.utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
