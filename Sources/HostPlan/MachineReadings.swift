/// How texts of /proc about the whole machine are read (proc(5)).
package enum MachineReadings {
    /// The ticks in which processors were not idle, from the text of /proc/stat; nil when it is
    /// something else.
    package static func busyTicks(_ text: String) -> Int? {
        guard let line = text.utf8.split(separator: UInt8(ascii: "\n")).first else { return nil }
        let words = Substring(line).split(separator: " ")
        guard words.count >= 5, words[0] == "cpu" else { return nil }
        // user nice system idle iowait irq softirq steal; guest time is part of user time.
        var busy = 0
        for (position, word) in words.dropFirst().prefix(8).enumerated() {
            guard let ticks = Int(word), (0...(1 << 50)).contains(ticks) else { return nil }
            if position != 3, position != 4 { busy += ticks }
        }
        return busy
    }

    /// Memory in bytes, from the text of /proc/meminfo; nil when it is something else.
    package static func memory(_ text: String) -> (total: Int, available: Int)? {
        var total: Int?
        var available: Int?
        for line in text.utf8.split(separator: UInt8(ascii: "\n")).prefix(8) {
            let words = Substring(line).split(separator: " ")
            guard words.count == 3, let kibibytes = Int(words[1]),
                (0...(1 << 40)).contains(kibibytes)
            else { continue }
            if words[0] == "MemTotal:" { total = kibibytes << 10 }
            if words[0] == "MemAvailable:" { available = kibibytes << 10 }
        }
        guard let total, let available else { return nil }
        return (total, available)
    }
}
