import Glibc

/// The files of one set's control group, on version 1 or 2.
struct CgroupReading: Sendable {
    private let isVersionTwo: Bool
    private let folders: [String]

    /// Finds the group of a set (`web.0`) or of a container in it (`web.0/app`) on any host here.
    init(of path: String, _ lab: Lab) async throws {
        let found = try await lab.shell(
            #"find /sys/fs/cgroup -type d -path "*/$CLUSTER-h[0-9]/$1""#, path)
        folders = found.split(separator: "\n").map { String($0) }
        isVersionTwo = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0
        guard !folders.isEmpty else { throw BenchmarkError("there is no group of \(path)") }
    }

    /// Processor time used until now, in seconds.
    func processorSeconds() throws -> Double {
        if isVersionTwo {
            let text = try text("cpu.stat")
            let line = text.split(separator: "\n").first { $0.hasPrefix("usage_usec ") }
            guard let line, let value = Double(line.dropFirst(11)) else {
                throw BenchmarkError("cpu.stat has no usage_usec")
            }
            return value / 1e6
        }
        return try number("cpuacct.usage") / 1e9
    }

    /// The hard limit of memory as the kernel has it, in bytes.
    func memoryLimit() throws -> Double {
        try number(isVersionTwo ? "memory.max" : "memory.limit_in_bytes")
    }

    /// The quota as the kernel has it, in microseconds a period.
    func quota() throws -> Double {
        guard isVersionTwo else { return try number("cpu.cfs_quota_us") }
        let words = try text("cpu.max").split(separator: " ")
        return words.first.flatMap { Double($0) } ?? .infinity
    }

    /// The most processes as the kernel has it.
    func processLimit() throws -> Double { try number("pids.max") }

    /// The control groups' version, for a figure's conditions.
    var version: String { isVersionTwo ? "cgroup v2" : "cgroup v1" }

    private func number(_ file: String) throws -> Double {
        guard let number = Double(try text(file).filter { !$0.isWhitespace }) else {
            throw BenchmarkError("\(file) holds no number")
        }
        return number
    }

    private func text(_ file: String) throws -> String {
        for folder in folders {
            guard let stream = fopen("\(folder)/\(file)", "r") else { continue }
            defer { fclose(stream) }
            var bytes = [UInt8](repeating: 0, count: 4_096)
            let count = fread(&bytes, 1, bytes.count, stream)
            return String(decoding: bytes[..<count], as: UTF8.self)
        }
        throw BenchmarkError("the group has no file \(file)")
    }
}
