import Base
import CLinux
import ClusterModel
import EventLoop
import Glibc
import HostPlan

/// Runs containers with an OCI runtime under `conmon`, and finds them again after a restart.
///
/// `conmon` holds a container's output, log and exit code, and forks away from the agent into a
/// session of its own: the agent may end or be killed at any time, containers run on. (Under systemd
/// the agent's unit needs `KillMode=process`.) Everything known about a container is on disk before
/// it is acted on, so any step may be the last before a crash.
///
/// A container whose monitor was killed cannot be supervised any longer: nobody reads its output,
/// nobody can learn its exit code. It is killed and reported with code 137 and `monitorLost`.
package actor ContainerRuntime {
    /// Ends of containers, in the order they were noticed, for one reader.
    ///
    /// Containers that ended while no agent ran are not news: `containers()` tells them. `delete`
    /// is not news either. Holds up to 10,000 unread ones, then drops the oldest; what is on disk
    /// stays the truth.
    package nonisolated let exits: AsyncStream<ExitNotice>
    let exitsContinuation: AsyncStream<ExitNotice>.Continuation

    nonisolated let settings: RuntimeSettings
    let commands: CommandRunner
    let watcher: DescriptorWatcher
    let cgroups: CgroupLeftovers
    let conmon: String
    /// The boot of the host, which numbers of processes belong to.
    let bootID: String
    /// The tasks that wait for monitors to end.
    var watches: [String: Task<Void, Never>] = [:]
    /// Cgroup folders that came with containers, so that the last of them removes them.
    var knownParents: Set<String> = []
    /// Counts further commands, for names of files.
    var execCount = 0
    /// Who waits for an operation on the same container to end; present while one is under way.
    private var operations: [String: [CheckedContinuation<Void, Never>]] = [:]

    /// Checks that the programs exist and lays out the folder.
    ///
    /// Throws `RuntimeError` when a program is missing or the folder cannot be written.
    package init(settings: RuntimeSettings, commands: CommandRunner) throws {
        self.settings = settings
        self.commands = commands
        conmon = try ContainerRuntime.locate(settings.conmonPath)
        let runtime = try ContainerRuntime.locate(settings.runtimePath)
        guard settings.folder.hasPrefix("/") else {
            throw RuntimeError(
                .host, "use the folder \(settings.folder)", cause: "it is not absolute")
        }
        watcher = try DescriptorWatcher()
        cgroups = CgroupLeftovers(hybridMount: settings.hybridCgroupMount)
        bootID =
            (HostFiles.text("/proc/sys/kernel/random/boot_id") ?? "")
            .split(separator: "\n").first.map { String($0) } ?? "unknown"
        (exits, exitsContinuation) = AsyncStream.makeStream(
            bufferingPolicy: .bufferingNewest(10_000))
        try HostFiles.makeFolder(settings.folder, mode: 0o700)
        // The OCI runtime's state names processes of the boot it was written in.
        let boot = "\(settings.folder)/boot"
        if HostFiles.text(boot) != bootID {
            for name in HostFiles.names(in: settings.folder)
            where name == "run" || name.hasPrefix("run-") {
                HostFiles.removeTree("\(settings.folder)/\(name)")
            }
        }
        try HostFiles.write(bootID, to: boot)
        for name in ["bundles", "exits", "logs", "run"] {
            try HostFiles.makeFolder("\(settings.folder)/\(name)", mode: 0o700)
        }
        try HostFiles.write(
            ContainerRuntime.wrapper(
                settings: settings, runtime: runtime, state: "\(settings.folder)/run"),
            to: "\(settings.folder)/runtime", mode: 0o700)
        // One that is not configured any more keeps its script: its containers must still end.
        for (name, path) in settings.runtimes.sorted(by: { $0.key < $1.key })
        where Naming.isRuntime(name) {
            try HostFiles.makeFolder("\(settings.folder)/run-\(name)", mode: 0o700)
            try HostFiles.write(
                ContainerRuntime.wrapper(
                    settings: settings, runtime: try ContainerRuntime.locate(path),
                    state: "\(settings.folder)/run-\(name)"),
                to: "\(settings.folder)/runtime-\(name)", mode: 0o700)
        }
        // Of commands that an earlier start of the agent had begun.
        for name in HostFiles.names(in: settings.folder) where name.hasPrefix("exec-") {
            unlink("\(settings.folder)/\(name)")
        }
        for id in HostFiles.names(in: "\(settings.folder)/bundles") {
            let text = HostFiles.text("\(settings.folder)/bundles/\(id)/record")
            knownParents.formUnion(text.flatMap { ContainerRecord(text: $0) }?.cgroupParents ?? [])
        }
    }

    deinit {
        for task in watches.values { task.cancel() }
        exitsContinuation.finish()
    }

    /// The container's log, in conmon's k8s-file format; stays after `delete`.
    ///
    /// A new container of the same id appends to it. Beyond half of `logBytesMax` the file becomes
    /// `ID.log.1` first; beyond all of it conmon starts it afresh.
    package nonisolated func logPath(_ id: String) -> String { "\(settings.folder)/logs/\(id).log" }

    nonisolated func bundlePath(_ id: String) -> String { "\(settings.folder)/bundles/\(id)" }

    nonisolated func exitPath(_ id: String) -> String { "\(settings.folder)/exits/\(id)" }

    /// The script that stands for a runtime; nil is the default one.
    nonisolated func wrapperPath(_ runtime: String?) -> String {
        "\(settings.folder)/runtime" + (runtime.map { "-\($0)" } ?? "")
    }

    /// Where a runtime keeps what it knows of a container.
    nonisolated func statePath(_ runtime: String?, _ id: String) -> String {
        "\(settings.folder)/run" + (runtime.map { "-\($0)" } ?? "") + "/\(id)"
    }

    nonisolated func record(of id: String) -> ContainerRecord? {
        HostFiles.text("\(bundlePath(id))/record").flatMap { ContainerRecord(text: $0) }
    }

    nonisolated func save(_ record: ContainerRecord) throws {
        try HostFiles.write(record.text, to: "\(bundlePath(record.id))/record")
    }

    /// Runs an OCI runtime; nil is the default one.
    func runtime(
        _ name: String?, _ arguments: [String], timeout: Duration = .seconds(30)
    ) async throws -> CommandResult {
        try await commands.run(
            [wrapperPath(name)] + arguments, environment: ["PATH=\(RuntimeProgram.searchPath)"],
            timeout: timeout)
    }

    /// Runs one operation on a container at a time; others on the same one wait their turn.
    func alone<Result: Sendable>(
        with id: String, _ body: @Sendable (isolated ContainerRuntime) async throws -> Result
    ) async throws -> Result {
        if operations[id] == nil {
            operations[id] = []
        } else {
            await withCheckedContinuation { operations[id]?.append($0) }
        }
        defer {
            // Handed straight to the next, so that nobody overtakes.
            if let next = operations[id]?.first {
                operations[id]?.removeFirst()
                next.resume()
            } else {
                operations[id] = nil
            }
        }
        return try await body(self)
    }

    private static func locate(_ name: String) throws -> String {
        guard let path = HostFiles.program(name) else {
            throw RuntimeError(
                .missingProgram, "find the program \(name)", cause: "it is not installed",
                advice: "run `apt-get install crun conmon`, or set its path in the configuration")
        }
        return path
    }

    /// The script that stands for the OCI runtime, for us and for conmon.
    ///
    /// The agent and its monitors are the last that the kernel takes for want of memory. What they
    /// start in a container must not inherit that, whatever the runtime does about it.
    private static func wrapper(
        settings: RuntimeSettings, runtime: String, state: String
    ) -> String {
        let isCrun = runtime.hasSuffix("/crun")
        var words = [runtime, "--root", state]
        // Others, runc for one, use the cgroup files unless told otherwise.
        if isCrun { words.append("--cgroup-manager=cgroupfs") }
        let command = words.map { RuntimeProgram.quoted($0) }.joined(separator: " ")
        let start =
            "#!/bin/sh\necho \(RuntimeBundleDefaults.oomScoreAdjustment) > /proc/self/oom_score_adj\n"
        // runc takes a hybrid layout as it is.
        guard let mount = settings.hybridCgroupMount, !runtime.hasSuffix("/runc") else {
            return start + "exec \(command) \"$@\"\n"
        }
        // The rest of the mounts are copied as they are, so bind mounts of the host are found.
        let script = "umount \(RuntimeProgram.quoted(mount)); exec \(command) \"$@\""
        return start + "exec unshare -m --propagation private sh -c "
            + "\(RuntimeProgram.quoted(script)) runtime \"$@\"\n"
    }
}
