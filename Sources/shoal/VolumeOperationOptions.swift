import ArgumentParser
import ClusterModel
import ControlAPI
import FoundationEssentials

/// What every command on a volume takes, and how it shows progress and outcome.
struct VolumeOperationOptions: ParsableArguments {
    @OptionGroup var connection: ConnectionOptions
    @Flag(help: "Print the outcome as one object, quantities in base units.")
    var json = false

    /// Carries an operation out and shows how far it is.
    func carryOut(_ operation: VolumeOperation) async throws -> VolumeOperationResult {
        var line = ProgressLine()
        defer { line.finish() }
        return try await connection.client.operate(operation) { line.show($0) }
    }

    /// Carries an operation out and prints what it came to.
    func report(_ operation: VolumeOperation) async throws {
        let result = try await carryOut(operation)
        if json { return try printJSON(result.volume) }
        Output.standardOutput(Output.printable(result.message) + "\n")
    }

    /// Prints an outcome as JSON.
    func printJSON(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        Output.write(Array(try encoder.encode(value)) + [10], to: 1)
    }
}

/// How far long work is, on standard error: one line that changes at a terminal, else a line for
/// every tenth.
struct ProgressLine {
    private var shown = ""
    private var isOpen = false

    mutating func show(_ progress: VolumeProgressView) {
        let total = max(progress.totalBytes, 1)
        let percent = min(100, progress.doneBytes * 100 / total)
        let doing = Output.printable(progress.doing)
        guard Output.errorIsTerminal else {
            let text = "\(doing): \(percent / 10 * 10) %\n"
            if text != shown { Output.standardError(text) }
            shown = text
            return
        }
        let text =
            "\(doing): \(HumanUnits.bytes(progress.doneBytes)) of "
            + "\(HumanUnits.bytes(progress.totalBytes)), \(percent) %"
        guard text != shown else { return }
        Output.standardError("\r\u{1B}[K\(text)")
        shown = text
        isOpen = true
    }

    /// Takes the line away.
    mutating func finish() {
        if isOpen { Output.standardError("\r\u{1B}[K") }
        isOpen = false
    }
}

extension VolumeDetails {
    /// The volume for people, one fact a line.
    var text: String {
        var facts = [
            ("Volume", volume), ("Identity", id),
            ("State", readOnly ? "\(state), read-only" : state),
            ("Belongs to", slot ?? owner), ("Host", host), ("Class", self.class),
            ("Size", Quantity.display(bytes: sizeBytes)),
            ("Used", "\(HumanUnits.bytes(usedBytes)) (\(percentUsed) %)"),
        ]
        if let problem { facts.insert(("Problem", problem), at: 3) }
        if let fileSystem { facts.append(("File system", fileSystem)) }
        if let allocatedBytes {
            facts.append(("On disk", HumanUnits.bytes(allocatedBytes)))
        }
        if state != "lost" { facts.append(("Mounted at", path ?? "nowhere")) }
        for (name, volumes) in [("Snapshots", snapshots), ("In the trash", trash)] {
            facts.append((name, volumes.isEmpty ? "none" : ""))
            facts += volumes.map { volume in
                ("", "\(volume.volume)  \(Quantity.display(bytes: volume.sizeBytes))  \(volume.id)")
            }
        }
        facts += backups?.facts ?? []
        return facts.filter { !($0.0.isEmpty && $0.1.isEmpty) }.map { name, value in
            let padding = String(repeating: " ", count: max(0, 13 - name.count))
            return Output.printable("\(name)\(padding) \(value)") + "\n"
        }.joined()
    }

    private var owner: String {
        if volume.contains("@") { return "its volume" }
        if state == "trash" { return "nobody" }
        return "nobody; the next slot of its name gets it"
    }

    private var percentUsed: Int { sizeBytes > 0 ? min(100, usedBytes * 100 / sizeBytes) : 0 }
}
