import Base
import ClusterModel
import EventLoop
import Glibc
import HostPlan

extension ContainerRuntime {
    /// Runs one more command in a running container, with its limits, rights and environment.
    ///
    /// Input and output are streamed, there is no terminal; `wait()` gives the command's exit code.
    /// The user is written as in a launch and defaults to the container's; `environment` wins over
    /// the container's own. Throws `RuntimeError` when the container does not run; a command that
    /// is not there or cannot be run ends with 127 or 126 and the runtime's words on standard error.
    package func exec(
        _ id: String, command: [String], user: String? = nil, environment: [String] = []
    ) async throws -> ContainerCommand {
        let attempt = "run a command in the container \(id)"
        guard ContainerLaunch.isValid(id: id), let record = record(of: id),
            record.stage == .started, running(record) != nil,
            let surroundings = HostFiles.text("\(bundlePath(id))/surroundings")
                .flatMap({ Surroundings(text: $0) })
        else {
            throw RuntimeError(
                .notRunning, attempt, cause: "it does not run", advice: "see `shoal sets`")
        }
        guard command.first.map(\.isEmpty) == false else {
            throw RuntimeError(
                .badLaunch, attempt, cause: "the command's name is empty",
                advice: "name a program after `--`")
        }
        let texts = command + environment
        guard !texts.contains(where: { $0.utf8.contains(0) }),
            texts.reduce(0, { $0 + $1.utf8.count }) <= ContainerLaunch.argumentBytesMax,
            environment.allSatisfy({ $0.contains("=") && !$0.hasPrefix("=") })
        else {
            throw RuntimeError(
                .badLaunch, attempt,
                cause: "the command has a NUL in it, or more than "
                    + "\(ContainerLaunch.argumentBytesMax) bytes",
                advice: "hand what is long to its standard input")
        }
        let resolved = try ContainerUser.resolve(
            user ?? surroundings.user, in: ContainerRoot(record.rootPath, of: record.id))
        let process = RuntimeBundle(
            slot: record.slot, container: record.container,
            placementIndex: record.placementIndex, rootPath: record.rootPath,
            arguments: command,
            environment: ContainerRuntime.merged(surroundings.environment, environment),
            workingDirectory: surroundings.workingDirectory, user: resolved.user,
            home: resolved.home, cgroupsPath: record.cgroupsPath,
            furtherCapabilities: record.capabilities,
            openFilesMax: ContainerRuntime.openFilesMax,
            architecture: ContainerRuntime.architecture
        ).processConfiguration
        let file = try unnamedFile(process)
        defer { close(file) }
        // By descriptor: arguments are for every user of the host to see, and a name would have to
        // be removed once the runtime has read it.
        let log = try ExecLog(descriptor: unnamedFile(""))
        execCount += 1
        let session = ExecSession(
            path: "\(settings.folder)/exec-\(execCount).pid",
            processesPath: cgroups.processesPath(record.cgroupsPath),
            first: record.process?.pid ?? 1)
        let running = try await commands.start(
            [
                wrapperPath(record.runtime), "--log=/proc/self/fd/4", "exec",
                "--pid-file=\(session.path)",
                "--process", "/proc/self/fd/3", id,
            ],
            environment: ["PATH=\(RuntimeProgram.searchPath)"],
            extraDescriptors: [file, log.descriptor])
        return ContainerCommand(running: running, log: log, session: session)
    }

    /// A file with that text which has no name any more, to be handed to a child.
    private func unnamedFile(_ text: String) throws -> Int32 {
        execCount += 1
        let path = "\(settings.folder)/exec-\(execCount)"
        try HostFiles.write(text, to: path, mode: 0o600)
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        unlink(path)
        guard descriptor >= 0 else {
            throw RuntimeError(.host, "open \(path)", cause: HostFiles.lastError)
        }
        return descriptor
    }

    /// The first variables, with those of the second list in their places or after them.
    private static func merged(_ first: [String], _ second: [String]) -> [String] {
        func name(_ variable: String) -> Substring { variable.prefix { $0 != "=" } }
        let names = Set(second.map { name($0) })
        return first.filter { !names.contains(name($0)) } + second
    }
}
