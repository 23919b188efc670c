import Base
import CLinux
import ClusterModel
import EventLoop
import Glibc
import HostPlan

extension ContainerRuntime {
    /// How long the monitor and the OCI runtime may take to make a container.
    static let createTimeout: Duration = .seconds(60)

    /// Makes the container up to the point where its command would begin.
    ///
    /// What an earlier attempt with the same id left behind is removed first. Throws `RuntimeError`:
    /// `badLaunch` when trying again cannot help, `refused` with the OCI runtime's words; then
    /// nothing is left behind.
    package func create(_ launch: ContainerLaunch) async throws -> ContainerProcess {
        let problems = launch.problems
        guard problems.isEmpty else {
            throw RuntimeError(
                .badLaunch, "create the container \(launch.id)",
                cause: problems.joined(separator: "; "), advice: "correct the service's spec")
        }
        return try await alone(with: launch.id) { try await $0.createAlone(launch) }
    }

    /// Begins the command of a created container.
    package func start(_ id: String) async throws {
        try await alone(with: id) { try await $0.startAlone(id) }
    }

    private func createAlone(_ launch: ContainerLaunch) async throws -> ContainerProcess {
        if let record = record(of: launch.id), record.stage == .started, isMonitored(record) {
            throw RuntimeError(
                .badLaunch, "create the container \(launch.id)", cause: "one of that id runs",
                advice: "stop and delete it first")
        }
        try await remove(launch.id)
        do {
            var record = try prepare(launch)
            let report = try await startMonitor(launch.id, wrapper: wrapperPath(launch.runtime))
            record.process = ProcessIdentity(living: report.container)
            record.monitor = ProcessIdentity(living: report.monitor)
            guard record.process != nil, record.monitor != nil else {
                throw RuntimeError(
                    .refused, "create the container \(launch.id)",
                    cause: "it ended as soon as it was made",
                    advice: "see the kernel's log for lack of memory")
            }
            record.stage = .created
            try save(record)
            watch(record)
            return ContainerProcess(
                id: launch.id, pid: report.container, conmonPid: report.monitor)
        } catch {
            // In a task of its own, which does not end with a caller that was cancelled.
            await Task { try? await remove(launch.id) }.value
            throw error
        }
    }

    private func startAlone(_ id: String) async throws {
        let attempt = "start the container \(id)"
        guard var record = record(of: id), record.stage == .created, isMonitored(record) else {
            throw RuntimeError(
                .notRunning, attempt, cause: "it is not waiting for its start",
                advice: "delete and create it again")
        }
        let result = try await runtime(record.runtime, ["start", id])
        guard result.exitCode == 0 else {
            throw RuntimeError(.refused, attempt, cause: ContainerRuntime.words(of: result))
        }
        record.stage = .started
        try save(record)
    }

    /// Writes everything the OCI runtime needs into a new bundle.
    private func prepare(_ launch: ContainerLaunch) throws -> ContainerRecord {
        let folder = bundlePath(launch.id)
        try HostFiles.makeFolder(folder, mode: 0o700)
        let parents = cgroups.parents(of: launch.cgroupsPath).filter {
            knownParents.contains($0) || !HostFiles.exists($0)
        }
        knownParents.formUnion(parents)
        let record = ContainerRecord(
            id: launch.id, slot: launch.slot, container: launch.container,
            placementIndex: launch.placementIndex, rootPath: launch.rootPath,
            cgroupsPath: launch.cgroupsPath, stopSignal: launch.stopSignal, bootID: bootID,
            stage: .intended, cgroupParents: parents, runtime: launch.runtime,
            capabilities: launch.capabilities)
        try save(record)
        let name = launch.slot.description
        let files = [
            ("hosts", NetworkFiles.hosts(name: name, address: launch.address)),
            ("hostname", "\(name)\n"),
            ("resolv.conf", NetworkFiles.resolver(nameServers: launch.nameServers)),
        ]
        for (file, text) in files { try HostFiles.write(text, to: "\(folder)/\(file)") }
        let mounts =
            files.map { file, _ in
                RuntimeBundle.FileMount(source: "\(folder)/\(file)", destination: "/etc/\(file)")
            } + SystemView.mounts(from: settings.systemViewFolder)
        let bundle = try ContainerRuntime.bundle(
            for: launch, fileMounts: mounts, etcFiles: files.map(\.0))
        try HostFiles.write(bundle.configuration, to: "\(folder)/config.json", mode: 0o600)
        let surroundings = Surroundings(
            user: launch.user, workingDirectory: launch.workingDirectory,
            environment: launch.environment)
        try HostFiles.write(surroundings.text, to: "\(folder)/surroundings", mode: 0o600)
        let log = LogReader(path: logPath(launch.id))
        log.endLines()
        // Kept apart from what conmon does: it throws the whole file away at its limit.
        if let status = HostFiles.status(log.path), status.size > settings.logBytesMax / 2 {
            rename(log.path, log.path + ".1")
        }
        return record
    }

    private static func bundle(
        for launch: ContainerLaunch, fileMounts: [RuntimeBundle.FileMount], etcFiles: [String]
    ) throws -> RuntimeBundle {
        let root = try ContainerRoot(launch.rootPath, of: launch.id)
        try root.requireRoom(inEtcFor: etcFiles)
        let user = try ContainerUser.resolve(launch.user, in: root)
        return RuntimeBundle(
            slot: launch.slot, container: launch.container,
            placementIndex: launch.placementIndex, rootPath: launch.rootPath,
            arguments: launch.arguments, environment: launch.environment,
            workingDirectory: launch.workingDirectory, user: user.user, home: user.home,
            networkNamespacePath: launch.networkNamespacePath, cgroupsPath: launch.cgroupsPath,
            limits: launch.limits, fileMounts: fileMounts, volumeMounts: launch.volumes,
            deviceFiles: try launch.devices.map { try deviceFile($0, of: launch.id) },
            furtherCapabilities: launch.capabilities,
            openFilesMax: ContainerRuntime.openFilesMax,
            architecture: ContainerRuntime.architecture)
    }

    /// What the host has under a device's name now.
    private static func deviceFile(
        _ path: String, of id: String
    ) throws -> RuntimeBundle.DeviceFile {
        var status = stat()
        let kind = stat(path, &status) == 0 ? status.st_mode & S_IFMT : 0
        guard kind == S_IFCHR || kind == S_IFBLK else {
            throw RuntimeError(
                .badLaunch, "create the container \(id)",
                cause: "this host has no device \(path)",
                advice: "load its driver, or leave the device out of the service")
        }
        let number = BlockDevice(number: UInt64(status.st_rdev))
        return RuntimeBundle.DeviceFile(
            path: path, isBlock: kind == S_IFBLK, major: number.major, minor: number.minor,
            mode: Int(status.st_mode & 0o777),
            uid: status.st_uid, gid: status.st_gid)
    }

    /// Starts conmon, which starts the OCI runtime, and hears how that went.
    private func startMonitor(
        _ id: String, wrapper: String
    ) async throws -> (container: Int32, monitor: Int32) {
        let attempt = "create the container \(id)"
        var ends: [Int32] = [-1, -1]
        guard clinux_pipe(&ends) == 0 else {
            throw RuntimeError(.host, attempt, cause: HostFiles.lastError)
        }
        let reading = ends[0]
        defer { close(reading) }
        let started: CommandResult
        do {
            defer { close(ends[1]) }
            started = try await commands.run(
                monitorCommand(id, wrapper: wrapper),
                environment: ["PATH=\(RuntimeProgram.searchPath)", "_OCI_SYNCPIPE=3"],
                extraDescriptors: [ends[1]])
        }
        guard started.exitCode == 0 else {
            throw RuntimeError(
                .refused, attempt, cause: "conmon: \(ContainerRuntime.words(of: started))",
                advice: "see whether conmon is version 2.1 or newer")
        }
        let bytes = await line(from: reading, within: ContainerRuntime.createTimeout)
        guard let bytes else {
            throw RuntimeError(
                .timedOut, attempt,
                cause: "conmon and the runtime did not answer within 60 seconds",
                advice: "see whether the host is overloaded")
        }
        guard let report = MonitorReport(bytes) else {
            throw RuntimeError(
                .refused, attempt, cause: "conmon ended without saying why",
                advice: "see the system's log")
        }
        guard report.data > 0, let container = Int32(exactly: report.data) else {
            throw RuntimeError(
                .refused, attempt, cause: ContainerRuntime.tidied(report.message),
                advice: ContainerRuntime.advice(for: report.message))
        }
        let monitor = HostFiles.text("\(bundlePath(id))/monitor.pid").flatMap { Int32($0) }
        return (container, monitor ?? -1)
    }

    private func monitorCommand(_ id: String, wrapper: String) -> [String] {
        let folder = bundlePath(id)
        return [
            // conmon leaves the mark of an out-of-memory kill in the folder it runs in.
            "sh", "-c", "cd \"$0\" && exec \"$@\"", folder,
            conmon, "--api-version", "1", "--cid", id, "--cuuid", id, "--name", id,
            "--runtime", wrapper, "--bundle", folder, "--exit-dir", "\(settings.folder)/exits",
            "--container-pidfile", "\(folder)/container.pid",
            "--conmon-pidfile", "\(folder)/monitor.pid",
            "--log-path", "k8s-file:\(logPath(id))",
            "--log-size-max", String(max(64 << 10, settings.logBytesMax)),
            // Its sockets then lie in the bundle, reached by a short path through /proc.
            "--full-attach", "--socket-dir-path", folder,
            // A sync of the whole log at the end would hold up the exit's report by seconds.
            "--no-sync-log",
        ]
    }

    /// Reads up to the first line break or the end; nil at the timeout.
    private func line(from descriptor: Int32, within timeout: Duration) async -> [UInt8]? {
        let deadline = ContinuousClock.now + timeout
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while bytes.count < MonitorReport.bytesMax {
            let count = read(descriptor, &buffer, buffer.count)
            if count == 0 { return bytes }
            if count > 0 {
                bytes += buffer[..<count]
                if buffer[..<count].contains(0x0A) { return bytes }
                continue
            }
            guard errno == EAGAIN || errno == EINTR else { return bytes }
            let left = deadline - .now
            guard left > .zero, await watcher.isReadable(descriptor, within: left) else {
                return nil
            }
        }
        return bytes
    }

    /// A process may hand on only what it may have itself.
    static var openFilesMax: Int {
        min(RuntimeBundleDefaults.openFilesMax, Int(clinux_open_files_max()))
    }

    static var architecture: SeccompArchitecture {
        #if arch(arm64)
            .arm
        #else
            .x86
        #endif
    }

    /// What a failed command said, on one line.
    static func words(of result: CommandResult) -> String {
        let text = tidied(result.errorText)
        return text.isEmpty ? "it ended with code \(result.exitCode)" : text
    }

    /// Foreign words on one line, without control characters, bounded.
    static func tidied(_ text: String) -> String {
        let lines = text.split(whereSeparator: \.isNewline).map { line in
            String(String.UnicodeScalarView(line.unicodeScalars.filter { $0.value >= 0x20 }))
        }
        return String(lines.filter { !$0.isEmpty }.joined(separator: "; ").prefix(1_000))
    }

    private static func advice(for message: String) -> String {
        if message.contains("executable file") {
            return "see whether the command is in the image and executable"
        }
        if message.contains("hybrid") {
            return "set the hybrid cgroup mount, or boot the host with cgroup v2"
        }
        return "see `shoal events` and the agent's log"
    }
}
