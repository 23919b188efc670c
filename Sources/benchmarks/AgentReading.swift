import Glibc

/// What the kernel says of one process at one moment (proc(5)).
struct AgentReading: Sendable {
    /// Memory in RAM, in bytes: `VmRSS`, program text shared with other agents included.
    var residentBytes: Double
    /// The part of it that no file backs and nobody shares: `RssAnon`.
    var anonymousBytes: Double
    /// Processor time of all threads until now, in seconds.
    var processorSeconds: Double
    /// When it was read.
    var time: ContinuousClock.Instant

    init(pid: pid_t) throws {
        let status = try AgentReading.text("/proc/\(pid)/status")
        residentBytes = try AgentReading.bytes("VmRSS", in: status)
        anonymousBytes = try AgentReading.bytes("RssAnon", in: status)
        // The name in brackets may hold spaces; utime and stime are the 12th and 13th after it.
        let fields = try AgentReading.text("/proc/\(pid)/stat").split(separator: ")").last?
            .split(separator: " ")
        guard let fields, fields.count > 12, let user = Double(fields[11]),
            let system = Double(fields[12])
        else { throw BenchmarkError("/proc/\(pid)/stat is not as expected") }
        processorSeconds = (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
        time = ContinuousClock.now
    }

    /// The share of one core used between two readings, in percent.
    func processorPercent(since earlier: AgentReading) -> Double {
        (processorSeconds - earlier.processorSeconds) / (time - earlier.time).inSeconds * 100
    }

    private static func bytes(_ key: String, in status: String) throws -> Double {
        for line in status.split(separator: "\n") where line.hasPrefix(key + ":") {
            let words = line.split { $0 == " " || $0 == "\t" }
            if words.count == 3, words[2] == "kB", let kibibytes = Double(words[1]) {
                return kibibytes * 1_024
            }
        }
        throw BenchmarkError("/proc/PID/status has no \(key)")
    }

    /// A whole small file; files of /proc have no size to go by.
    private static func text(_ path: String) throws -> String {
        guard let file = fopen(path, "r") else {
            throw BenchmarkError("cannot read \(path): does the agent still run?")
        }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 16_384)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}

/// The machine's state, as part of a figure's conditions.
enum Machine {
    /// How many processors there are and how many programs wanted them in the last minute.
    static var load: String {
        var averages = [0.0]
        guard getloadavg(&averages, 1) == 1 else { return "load unknown" }
        return
            "load \((averages[0] * 10).rounded() / 10) on \(sysconf(Int32(_SC_NPROCESSORS_ONLN))) processors"
    }
}
