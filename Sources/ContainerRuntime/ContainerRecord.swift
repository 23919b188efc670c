import Base
import ClusterModel

/// What is kept on disk of one container, so that the next start of the agent can find it again.
///
/// Written before the container exists (`intended`), so a crash at any point leaves a record that
/// says what to clean up. Plain lines of `key value`; values hold no line breaks.
package struct ContainerRecord: Sendable, Equatable {
    /// How far a container's making went.
    package enum Stage: String, Sendable {
        /// The monitor may or may not have been started.
        case intended
        /// It waits for the start.
        case created
        /// Its command was begun.
        case started
    }

    /// The container.
    package var id: String
    /// The set it belongs to.
    package var slot: SlotID
    /// Its name within the set.
    package var container: String
    /// The log index of the placement it runs for.
    package var placementIndex: LogIndex
    /// Its mounted root.
    package var rootPath: String
    /// Its cgroup below every hierarchy's root.
    package var cgroupsPath: String
    /// The signal that asks it to end; nil means SIGTERM.
    package var stopSignal: String?
    /// The boot of the host in which the processes below lived.
    package var bootID: String
    /// How far its making went.
    package var stage: Stage
    /// The container's first process.
    package var process: ProcessIdentity?
    /// Its monitor.
    package var monitor: ProcessIdentity?
    /// Folders of cgroups above its own that were not there before it, innermost first.
    package var cgroupParents: [String]
    /// The OCI runtime that made it; nil is the default one.
    package var runtime: String?
    /// Capabilities on top of the usual ones, which further commands in it have as well.
    package var capabilities: [String]

    private static let header = "shoal-container 1"

    /// The record as the file's text.
    package var text: String {
        var lines = [
            ContainerRecord.header, "id \(id)", "slot \(slot)", "container \(container)",
            "placement \(placementIndex)", "root \(rootPath)", "cgroup \(cgroupsPath)",
            "boot \(bootID)", "stage \(stage.rawValue)",
        ]
        if let stopSignal { lines.append("stop \(stopSignal)") }
        if let process { lines.append("process \(process.pid) \(process.startTicks)") }
        if let monitor { lines.append("monitor \(monitor.pid) \(monitor.startTicks)") }
        if let runtime { lines.append("runtime \(runtime)") }
        lines += capabilities.map { "capability \($0)" }
        lines += cgroupParents.map { "parent \($0)" }
        // The last line tells a whole record from one that lost its end with the host's power.
        return lines.joined(separator: "\n") + "\nend\n"
    }

    /// Reads a record; nil when it is not whole or not one.
    package init?(text: String) {
        let lines = text.split(separator: "\n")
        guard lines.first == Substring(ContainerRecord.header), lines.last == "end" else {
            return nil
        }
        var values: [String: String] = [:]
        var parents: [String] = []
        var capabilities: [String] = []
        for line in lines.dropFirst().dropLast() {
            guard let space = line.firstIndex(of: " ") else { return nil }
            let value = String(line[line.index(after: space)...])
            switch line[..<space] {
            case "parent": parents.append(value)
            case "capability": capabilities.append(value)
            default: values[String(line[..<space])] = value
            }
        }
        guard let id = values["id"], let slot = values["slot"].flatMap({ SlotID($0) }),
            let container = values["container"],
            let placement = values["placement"].flatMap({ UInt64($0) }),
            let root = values["root"], let cgroup = values["cgroup"], let boot = values["boot"],
            let stage = values["stage"].flatMap({ Stage(rawValue: $0) })
        else { return nil }
        self.init(
            id: id, slot: slot, container: container, placementIndex: LogIndex(placement),
            rootPath: root, cgroupsPath: cgroup, stopSignal: values["stop"], bootID: boot,
            stage: stage, process: ContainerRecord.process(values["process"]),
            monitor: ContainerRecord.process(values["monitor"]), cgroupParents: parents,
            runtime: values["runtime"], capabilities: capabilities)
        guard runtime.map({ Naming.isRuntime($0) }) ?? true else { return nil }
    }

    package init(
        id: String, slot: SlotID, container: String, placementIndex: LogIndex, rootPath: String,
        cgroupsPath: String, stopSignal: String?, bootID: String, stage: Stage,
        process: ProcessIdentity? = nil, monitor: ProcessIdentity? = nil,
        cgroupParents: [String] = [], runtime: String? = nil, capabilities: [String] = []
    ) {
        self.id = id
        self.slot = slot
        self.container = container
        self.placementIndex = placementIndex
        self.rootPath = rootPath
        self.cgroupsPath = cgroupsPath
        self.stopSignal = stopSignal
        self.bootID = bootID
        self.stage = stage
        self.process = process
        self.monitor = monitor
        self.cgroupParents = cgroupParents
        self.runtime = runtime
        self.capabilities = capabilities
    }

    private static func process(_ text: String?) -> ProcessIdentity? {
        let fields = (text ?? "").split(separator: " ")
        guard fields.count == 2, let pid = Int32(fields[0]), let start = UInt64(fields[1]) else {
            return nil
        }
        return ProcessIdentity(pid: pid, startTicks: start)
    }
}
