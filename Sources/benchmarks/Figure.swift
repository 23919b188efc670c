/// One measured figure.
struct Figure: Codable, Sendable {
    /// `area.case.measure`; stable, for documents and comparisons rely on it.
    var name: String
    /// The median of the samples, or the one value.
    var value: Double
    /// What the value counts.
    var unit: String
    /// The smallest sample, where there are several.
    var minimum: Double?
    /// The largest sample, where there are several.
    var maximum: Double?
    /// How many samples there are.
    var samples: Int
    /// What no sample may exceed, where we promise that.
    var limit: Double?
    /// What was measured, under which conditions.
    var conditions: String

    init(name: String, value: Double, unit: String, samples: Int = 1, conditions: String) {
        self.name = name
        self.value = Figure.rounded(value)
        self.unit = unit
        self.samples = samples
        self.conditions = conditions
    }

    /// The median of several samples.
    init(
        name: String, _ samples: Samples, unit: String, limit: Double? = nil, conditions: String
    ) {
        self.init(
            name: name, value: samples.median, unit: unit, samples: samples.values.count,
            conditions: conditions)
        minimum = Figure.rounded(samples.minimum)
        maximum = Figure.rounded(samples.maximum)
        self.limit = limit
    }

    /// True when a sample exceeds what we promise.
    var isAboveLimit: Bool { limit.map { (maximum ?? value) > $0 } ?? false }

    /// The figure for people, on one line.
    var line: String {
        var spread = ""
        if let minimum, let maximum {
            spread = "\(Figure.text(minimum)) to \(Figure.text(maximum)) of \(samples)"
        }
        if let limit { spread += ", limit \(Figure.text(limit))" }
        return [
            padded(name, 36), padded("\(Figure.text(value)) \(unit)", 16), padded(spread, 30),
            conditions,
        ].joined(separator: " ")
    }

    /// A value without needless digits.
    static func text(_ value: Double) -> String {
        value.rounded() == value ? String(Int(value)) : String(value)
    }

    /// Two digits are as much as any of this is worth; three below one.
    private static func rounded(_ value: Double) -> Double {
        let steps = value < 1 ? 1_000.0 : 100.0
        return (value * steps).rounded() / steps
    }

    private func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}

/// Several measurements of the same thing.
struct Samples: Sendable {
    /// The measurements, smallest first.
    let values: [Double]

    /// From measurements in any order; at least one.
    init(_ values: [Double]) {
        precondition(!values.isEmpty, "a figure without a measurement")
        self.values = values.sorted()
    }

    /// The middle one; the mean of the two middle ones when their number is even.
    var median: Double {
        let middle = values.count / 2
        return values.count % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2
    }

    /// The smallest.
    var minimum: Double { values[0] }

    /// The largest.
    var maximum: Double { values[values.count - 1] }

    /// The smallest sample that `share` of all samples do not exceed (nearest rank).
    func percentile(_ share: Double) -> Double {
        let rank = Int((share * Double(values.count)).rounded(.up))
        return values[min(max(rank, 1), values.count) - 1]
    }
}

extension Duration {
    /// The duration in seconds, with fractions.
    var inSeconds: Double {
        Double(components.seconds) + Double(components.attoseconds) / 1e18
    }
}
