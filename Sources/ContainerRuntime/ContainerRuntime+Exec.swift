import Base
import EventLoop
import HostPlan

extension ContainerRuntime {
    /// Runs one more command in a running container, with its limits, rights and filter.
    ///
    /// Input and output are streamed, there is no terminal; `wait()` gives the command's exit code.
    /// The user is written as in a launch and defaults to the container's. Throws `RuntimeError`
    /// when the container does not run; a command that is not there ends with code 1 or 127 and the
    /// runtime's words on standard error. Killing the result with SIGKILL kills the runtime's side
    /// alone: send SIGTERM first, which it hands on.
    package func exec(
        _ id: String, command: [String], user: String? = nil, environment: [String] = []
    ) async throws -> RunningCommand {
        let attempt = "run a command in the container \(id)"
        guard let record = record(of: id), record.stage == .started, running(record) != nil else {
            throw RuntimeError(
                .notRunning, attempt, cause: "it does not run", advice: "see `shoal sets`")
        }
        let texts = command + environment
        guard command.first.map(\.isEmpty) == false,
            !texts.contains(where: { $0.utf8.contains(0) }),
            texts.reduce(0, { $0 + $1.utf8.count }) <= ContainerLaunch.argumentBytesMax,
            environment.allSatisfy({ $0.contains("=") && !$0.hasPrefix("=") })
        else {
            throw RuntimeError(
                .badLaunch, attempt, cause: "the command is empty or not plain text",
                advice: "write it after `--`")
        }
        // Without this the command could gain rights that the container's own processes cannot.
        var arguments = ["exec", "--no-new-privs"]
        if let user, !user.isEmpty {
            let resolved = try ContainerUser.resolve(user, root: record.rootPath).user
            arguments.append("--user=\(resolved.uid):\(resolved.gid)")
        }
        arguments += environment.map { "--env=\($0)" }
        return try await commands.start(
            [wrapperPath] + arguments + [id] + command,
            environment: ["PATH=\(RuntimeProgram.searchPath)"])
    }
}
