import CLinux
import Glibc

/// A process that cannot be mistaken for a later one of the same number: its number and its start.
///
/// The kernel gives numbers of ended processes out again; the start time in clock ticks since boot
/// (proc(5), `stat` field 22) tells the two apart within one boot.
package struct ProcessIdentity: Sendable, Equatable {
    /// The process's number.
    package var pid: Int32
    /// When it started, in clock ticks since boot.
    package var startTicks: UInt64

    package init(pid: Int32, startTicks: UInt64) {
        self.pid = pid
        self.startTicks = startTicks
    }

    /// The process that has this number; nil when there is none or it has ended (a zombie).
    package init?(living pid: Int32) {
        guard pid > 1, let text = HostFiles.text("/proc/\(pid)/stat"),
            let parsed = ProcessIdentity.parse(stat: text), parsed.isLiving
        else { return nil }
        self.init(pid: pid, startTicks: parsed.startTicks)
    }

    /// True while this very process runs.
    package var isLiving: Bool { ProcessIdentity(living: pid) == self }

    /// Reads `/proc/PID/stat`; nil when it is not that.
    ///
    /// The second field is the program's own choice of name in parentheses and may hold anything,
    /// so fields count from the last closing one.
    package static func parse(stat text: String) -> (startTicks: UInt64, isLiving: Bool)? {
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 19, let startTicks = UInt64(fields[19]) else { return nil }
        return (startTicks, fields[0] != "Z" && fields[0] != "X")
    }

    /// The session in `/proc/PID/stat`; nil when it is not that.
    static func session(stat text: String) -> Int32? {
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        return fields.count > 3 ? Int32(fields[3]) : nil
    }

    /// A descriptor of this very process, readable when it ends; nil when it already has.
    func open() -> ProcessDescriptor? {
        let descriptor = clinux_pidfd_open(pid)
        guard descriptor >= 0 else { return nil }
        let handle = ProcessDescriptor(number: descriptor)
        // Checked after opening: the number may have passed to another process before.
        return isLiving ? handle : nil
    }
}

/// Owns a process descriptor (pidfd).
final class ProcessDescriptor: Sendable {
    /// The descriptor's number.
    let number: Int32

    init(number: Int32) { self.number = number }

    deinit { close(number) }

    /// Sends a signal to exactly that process; one that has ended is fine.
    func signal(_ signal: Int32) { _ = clinux_pidfd_send_signal(number, signal) }
}
