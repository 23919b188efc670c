import FoundationEssentials
import Glibc

/// One line of the table of walls: what was asked for, what the kernel says it keeps, and what an
/// attacker got.
struct WallRow: Codable, Sendable {
    /// How the attack ended.
    enum Verdict: String, Codable, Sendable {
        /// Within what is allowed.
        case held
        /// Beyond it.
        case broken
        /// The kernel has no such wall, or has it only in part: `note` says what is missing.
        case lacking
    }

    /// The wall, `area.case`; stable.
    var name: String
    /// The control groups and the kernel it was measured on, such as `cgroup v1, Linux 6.1.0`.
    var kernel = ""
    /// What was asked for.
    var configured: String
    /// What the kernel says.
    var readBack: String
    /// What the attack came to.
    var measured: String
    /// What it may come to.
    var allowed: String
    /// How it ended.
    var verdict: Verdict
    /// What else is to be known; for `lacking` the reason.
    var note = ""
    /// The measured value against the one asked for, where that is one number: 1 is exact.
    var ratio: Double?

    /// A row whose value is to be near the one asked for.
    static func near(
        _ name: String, configured: String, readBack: String, measured: String, ratio: Double,
        within percent: Double, note: String = ""
    ) -> WallRow {
        WallRow(
            name: name, configured: configured, readBack: readBack, measured: measured,
            allowed: "within \(WallRow.text(percent)) %",
            verdict: abs(ratio - 1) * 100 <= percent ? .held : .broken, note: note, ratio: ratio)
    }

    /// A row for what this kernel cannot do.
    static func lacking(
        _ name: String, configured: String, readBack: String = "-", note: String
    ) -> WallRow {
        WallRow(
            name: name, configured: configured, readBack: readBack, measured: "-", allowed: "-",
            verdict: .lacking, note: note)
    }

    /// A number for people: two digits behind the point at most.
    static func text(_ value: Double) -> String {
        guard value.isFinite else { return "\(value)" }
        let rounded = (value * 100).rounded() / 100
        return rounded == rounded.rounded() ? "\(Int(rounded))" : "\(rounded)"
    }
}

/// The table, for people and for programs.
enum WallTable {
    /// The heading of a kernel's part.
    static func heading(_ kernel: String) -> String { "\(kernel)\n" + line(titles) }

    private static let titles = [
        "WALL", "CONFIGURED", "READ BACK", "MEASURED", "ALLOWED", "VERDICT",
    ]
    /// As wide as what stands there usually; what is longer moves the rest of its line.
    private static let widths = [31, 27, 30, 40, 20, 0]

    /// One row, and below it what else is to be known.
    static func text(_ row: WallRow) -> String {
        let note = row.note.isEmpty ? "" : "\n    \(row.note)"
        return line([
            row.name, row.configured, row.readBack, row.measured, row.allowed,
            row.verdict.rawValue,
        ]) + note
    }

    private static func line(_ cells: [String]) -> String {
        zip(cells, widths).map { cell, width in
            cell + String(repeating: " ", count: max(0, width - cell.count))
        }.joined(separator: " ")
    }

    /// One row as one line of JSON.
    static func json(_ row: WallRow) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(row), as: UTF8.self)
    }
}
