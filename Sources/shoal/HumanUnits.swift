import ClusterModel

/// Base units as people read them.
enum HumanUnits {
    /// Bytes with one digit after the point where it matters: `64Mi`, `1.5Gi`, `12B`.
    static func bytes(_ bytes: Int) -> String {
        let units = ["B", "Ki", "Mi", "Gi", "Ti", "Pi"]
        var index = 0
        var rest = Double(bytes)
        while abs(rest) >= 1_024, index < units.count - 1 {
            rest /= 1_024
            index += 1
        }
        let tenths = Int((rest * 10).rounded())
        let text =
            tenths % 10 == 0 || index == 0 ? "\(tenths / 10)" : "\(tenths / 10).\(abs(tenths % 10))"
        return text + units[index]
    }

    /// Millicores: `250m`, `2`, `1.5`.
    static func cpu(_ millicores: Int) -> String {
        if abs(millicores) >= 1_000, millicores % 100 == 0, millicores % 1_000 != 0 {
            return "\(millicores / 1_000).\(abs(millicores) % 1_000 / 100)"
        }
        return Quantity.text(millicores: millicores)
    }

    /// An age in seconds: `45 s`, `12 min`, `5 h`, `3 d`.
    static func age(_ seconds: Int) -> String {
        switch seconds {
        case ..<120: "\(seconds) s"
        case ..<7_200: "\(seconds / 60) min"
        case ..<172_800: "\(seconds / 3_600) h"
        default: "\(seconds / 86_400) d"
        }
    }

    /// Milliseconds: `120 ms`, `4.2 s`, `3 min`.
    static func milliseconds(_ milliseconds: Int) -> String {
        switch milliseconds {
        case ..<1_000: "\(milliseconds) ms"
        case ..<120_000: "\(milliseconds / 1_000).\(milliseconds % 1_000 / 100) s"
        default: "\(milliseconds / 60_000) min"
        }
    }
}
