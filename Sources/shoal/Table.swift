/// Rows under headings, with columns as wide as their widest cell.
struct Table {
    /// One column's heading, and on which side its cells stand.
    struct Column {
        var heading: String
        var isNumber = false
    }

    private let columns: [Column]
    private var rows: [[String]] = []

    init(_ columns: [Column]) {
        self.columns = columns
    }

    /// Columns of text by heading; a heading that begins with `#` is a column of numbers.
    init(_ headings: String...) {
        columns = headings.map {
            $0.hasPrefix("#")
                ? Column(heading: String($0.dropFirst()), isNumber: true) : Column(heading: $0)
        }
    }

    /// Adds a row; an empty cell is shown as `-`.
    mutating func add(_ cells: String...) {
        rows.append(cells.map { $0.isEmpty ? "-" : Output.printable($0) })
    }

    /// The table, each line with its end.
    var text: String {
        let lines = [columns.map(\.heading)] + rows
        let widths = columns.indices.map { index in
            lines.map { $0.indices.contains(index) ? $0[index].count : 0 }.max() ?? 0
        }
        return lines.map { cells in
            var line = ""
            for (index, cell) in cells.enumerated() {
                let padding = String(repeating: " ", count: max(0, widths[index] - cell.count))
                line += columns[index].isNumber ? padding + cell : cell + padding
                if index < cells.count - 1 { line += "  " }
            }
            while line.last == " " { line.removeLast() }
            return line + "\n"
        }.joined()
    }
}
