import Base
import EventLoop
import Glibc

extension ContainerRuntime {
    /// How long the kernel may take to end a container after SIGKILL.
    static let killTimeout: Duration = .seconds(10)
    /// How long a monitor may take to write the exit code after its container ended.
    static let monitorTimeout: Duration = .seconds(3)

    /// Ends a container: the signal, up to `grace`, then SIGKILL; returns when it is gone.
    ///
    /// The signal is the caller's (`SIGTERM`, `TERM` or `15`), else the launch's own, else SIGTERM.
    /// One that does not run is fine. A second, more impatient call cuts a first one short. The exit
    /// is reported in `exits`. Throws `RuntimeError` when even SIGKILL does not end it.
    package func stop(_ id: String, signal: String? = nil, grace: Duration) async throws {
        guard let record = record(of: id), let end = running(record) else { return }
        let signal = signal ?? record.stopSignal ?? "TERM"
        guard ContainerLaunch.isValid(signal: signal) else {
            throw RuntimeError(
                .badLaunch, "stop the container \(id)", cause: "`\(signal)` is no signal",
                advice: "use one such as SIGTERM")
        }
        if grace > .zero, record.stage == .started {
            let result = try await runtime(record.runtime, ["kill", id, signal])
            if result.exitCode == 0, await watcher.isReadable(end.number, within: grace) {
                return await settle(record)
            }
            // A caller that no longer waits has not agreed to a kill.
            try Task.checkCancellation()
        }
        try await kill(record)
    }

    /// Removes a container whatever its state, one that is half made or not there too.
    ///
    /// Kills it when it runs; its exit is then not reported. Bundle, exit code and the cgroup
    /// folders that came with it go; its log stays, up to `keptLogsMax` of such logs.
    package func delete(_ id: String) async throws {
        guard ContainerLaunch.isValid(id: id) else {
            throw RuntimeError(.badLaunch, "delete the container \(id)", cause: "it is no id")
        }
        try await alone(with: id) { try await $0.remove(id) }
        pruneLogs()
    }

    /// What `delete` does, for one who is already alone with the container.
    func remove(_ id: String) async throws {
        let record = record(of: id)
        let runtimes: [String?] =
            record.map { [$0.runtime] } ?? [nil] + settings.runtimes.keys.sorted()
        let states = runtimes.map { (runtime: $0, path: statePath($0, id)) }
        let leftovers = [bundlePath(id), exitPath(id)] + states.map(\.path)
        guard leftovers.contains(where: { HostFiles.exists($0) }) else { return }
        watches.removeValue(forKey: id)?.cancel()
        if let record, record.monitor != nil {
            if running(record) != nil { try await kill(record) }
        } else {
            endHalfMade(id)
        }
        for state in states where HostFiles.exists(state.path) {
            let result = try await runtime(state.runtime, ["delete", "--force", id])
            // crun's and runc's own notes; without them the runtime knows of no container.
            let isKnown = ["status", "state.json"].contains {
                HostFiles.exists("\(state.path)/\($0)")
            }
            if result.exitCode != 0 && isKnown {
                throw RuntimeError(
                    .refused, "delete the container \(id)",
                    cause: ContainerRuntime.words(of: result))
            }
            HostFiles.removeTree(state.path)
        }
        if let record {
            if isMonitored(record) { record.monitor?.open()?.signal(SIGKILL) }
            cgroups.remove(record.cgroupsPath, parents: record.cgroupParents)
            knownParents.subtract(record.cgroupParents.filter { !HostFiles.exists($0) })
        }
        HostFiles.removeTree(exitPath(id))
        HostFiles.removeTree(bundlePath(id))
    }

    /// True while the container's monitor runs.
    nonisolated func isMonitored(_ record: ContainerRecord) -> Bool {
        record.bootID == bootID && record.monitor?.isLiving == true
    }

    /// A descriptor of the container's first process; nil when that is gone.
    nonisolated func running(_ record: ContainerRecord) -> ProcessDescriptor? {
        record.bootID == bootID ? record.process?.open() : nil
    }

    /// Sends SIGKILL, by the OCI runtime and then by the kernel, and waits for the end.
    func kill(_ record: ContainerRecord) async throws {
        guard let end = running(record) else { return await settle(record) }
        _ = try? await runtime(record.runtime, ["kill", record.id, "KILL"])
        if await !watcher.isReadable(end.number, within: .seconds(2)) {
            try Task.checkCancellation()
            end.signal(SIGKILL)
            guard await watcher.isReadable(end.number, within: ContainerRuntime.killTimeout) else {
                throw RuntimeError(
                    .timedOut, "kill the container \(record.id)",
                    cause: "process \(record.process?.pid ?? 0) did not end within 12 seconds",
                    advice: "see whether it is frozen or hangs on a dead disk or network mount")
            }
        }
        await settle(record)
    }

    /// Waits for the monitor to write down the exit and to end.
    func settle(_ record: ContainerRecord) async {
        guard record.bootID == bootID, let monitor = record.monitor?.open() else { return }
        _ = await watcher.isReadable(monitor.number, within: ContainerRuntime.monitorTimeout)
    }

    /// Ends what a create that was cut short may have left running.
    ///
    /// No process is on record then, so they are found by the bundle's path among their arguments:
    /// conmon, the OCI runtime, and the container's first process before its own command.
    private func endHalfMade(_ id: String) {
        let bundle = Array(bundlePath(id).utf8)
        for name in HostFiles.names(in: "/proc") {
            guard let pid = Int32(name), pid > 1, pid != getpid(),
                let line = HostFiles.read("/proc/\(pid)/cmdline"),
                line.split(separator: 0).contains(where: { $0.elementsEqual(bundle) }),
                let process = ProcessIdentity(living: pid)
            else { continue }
            process.open()?.signal(SIGKILL)
        }
    }

    /// Removes the oldest logs of containers that are gone, beyond `keptLogsMax`.
    private func pruneLogs() {
        let folder = "\(settings.folder)/logs"
        let gone = HostFiles.names(in: folder).filter { name in
            let id = name.hasSuffix(".log") ? name.dropLast(4) : name.dropLast(6)
            return !HostFiles.exists(bundlePath(String(id)))
        }
        guard gone.count > settings.keptLogsMax else { return }
        let byAge = gone.map { ($0, HostFiles.status("\(folder)/\($0)")?.modified ?? 0) }
            .sorted { $0.1 < $1.1 }
        for (name, _) in byAge.prefix(gone.count - settings.keptLogsMax) {
            unlink("\(folder)/\(name)")
        }
    }
}
