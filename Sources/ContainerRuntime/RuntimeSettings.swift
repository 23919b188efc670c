/// Where the runtime keeps its files, and which programs it runs.
package struct RuntimeSettings: Sendable, Equatable {
    /// The folder of bundles, logs, exit files and the OCI runtime's own state; absolute.
    ///
    /// One folder per agent: everything found in it is taken to be this agent's.
    package var folder: String
    /// The OCI runtime: a name in `PATH` or an absolute path.
    package var runtimePath: String
    /// Further OCI runtimes by the names that specs know them by: absolute paths.
    package var runtimes: [String: String]
    /// The monitor: a name in `PATH` or an absolute path.
    package var conmonPath: String
    /// A cgroup v2 mount beside v1 ones, unmounted in a private namespace before the runtime runs.
    ///
    /// crun refuses such hybrid layouts ("cgroups in hybrid mode not supported"). nil on others.
    package var hybridCgroupMount: String?
    /// Where lxcfs is mounted, for what containers see in `/proc`; nothing is used where it is not.
    package var systemViewFolder: String
    /// A container's log file is started afresh beyond this size, in bytes; at least 64 KiB.
    ///
    /// A host keeps at most about twice as much for a container: the file and the one before it.
    package var logBytesMax: Int
    /// Logs kept of containers that are gone; the oldest beyond this number are removed.
    package var keptLogsMax: Int

    package init(
        folder: String, runtimePath: String = "crun", runtimes: [String: String] = [:],
        conmonPath: String = "conmon",
        hybridCgroupMount: String? = nil, systemViewFolder: String = "/var/lib/lxcfs",
        logBytesMax: Int = 16 << 20, keptLogsMax: Int = 200
    ) {
        self.folder = folder
        self.runtimePath = runtimePath
        self.runtimes = runtimes
        self.conmonPath = conmonPath
        self.hybridCgroupMount = hybridCgroupMount
        self.systemViewFolder = systemViewFolder
        self.logBytesMax = logBytesMax
        self.keptLogsMax = keptLogsMax
    }
}
