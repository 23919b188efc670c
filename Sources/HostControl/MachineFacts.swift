import CLinux
import Glibc
import HostPlan

/// What the machine is, as the agent tells its peers.
package struct MachineFacts: Equatable, Sendable {
    /// Processors that this process may use, less those reserved for groups beside ours: affinity
    /// and cpuset are heeded.
    package var processorCount: Int
    /// Memory in bytes: the machine's, or less when its control groups have a lower limit.
    package var memoryBytes: Int
    /// What all sets may send, and as much that they may receive, beyond the host, in bits per
    /// second, as settings and link say; nil is as much as the devices carry.
    package var bandwidthBitsPerSecond: Int?
    /// The machine's name.
    package var hostName: String
    /// The kernel's release, such as `6.1.0-13-amd64`.
    package var kernelRelease: String

    /// Reads them.
    static func read(layout: CgroupLayout) throws(HostControlError) -> MachineFacts {
        var name = utsname()
        uname(&name)
        return MachineFacts(
            processorCount: Int(clinux_processor_count()), memoryBytes: try memory(layout),
            hostName: text(name.nodename), kernelRelease: text(name.release))
    }

    private static func memory(_ layout: CgroupLayout) throws(HostControlError) -> Int {
        let lines = try KernelFile.read("/proc/meminfo").split(separator: "\n")
        let words =
            lines.first { $0.hasPrefix("MemTotal:") }?.split(separator: " ") ?? []
        guard words.count == 3, let kibibytes = Int(words[1]), 1..<(1 << 50) ~= kibibytes else {
            throw .kernelLacks(feature: "memory figures", cause: "no MemTotal in /proc/meminfo")
        }
        let file = layout.version == .one ? "memory.limit_in_bytes" : "memory.max"
        let limit = try layout.mountPoint(of: "memory")
            .map { mount throws(HostControlError) in
                try KernelFile.readIfPresent("\(mount)/\(file)")
            }
        let limited = limit.flatMap { $0 }.flatMap { Int($0.filter { !$0.isWhitespace }) }
        return min(kibibytes << 10, limited ?? Int.max)
    }

    /// A C array of characters up to its NUL.
    private static func text<Characters>(_ characters: Characters) -> String {
        withUnsafeBytes(of: characters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
