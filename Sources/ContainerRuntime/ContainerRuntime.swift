import Base
import ClusterModel
import EventLoop
import HostPlan

/// Runs containers with an OCI runtime under `conmon`, and finds them again after a restart.
package actor ContainerRuntime {
    /// Ends of containers, each at least once per process while it was watched.
    package nonisolated let exits: AsyncStream<ExitNotice>
    private let exitsContinuation: AsyncStream<ExitNotice>.Continuation
    private let settings: RuntimeSettings
    private let commands: CommandRunner

    /// Checks that the programs exist and lays out the folder.
    package init(settings: RuntimeSettings, commands: CommandRunner) throws {
        self.settings = settings
        self.commands = commands
        (exits, exitsContinuation) = AsyncStream.makeStream()
    }

    /// Makes the container up to the point where its command would begin.
    package func create(_ launch: ContainerLaunch) async throws -> ContainerProcess {
        throw RuntimeError(.host, "create \(launch.id)", cause: "not built yet")
    }

    /// Begins the command of a created container.
    package func start(_ id: String) async throws {}

    /// Ends a container: the signal, up to `grace`, then SIGKILL; returns when it is gone.
    package func stop(_ id: String, signal: String? = nil, grace: Duration) async throws {}

    /// Removes a container whatever its state; its log stays.
    package func delete(_ id: String) async throws {}

    /// Every container on disk, checked against the processes; the living are watched from then on.
    package func containers() async throws -> [AdoptedContainer] { [] }

    /// Runs one more command in a running container.
    package func exec(
        _ id: String, command: [String], user: String? = nil, environment: [String] = []
    ) async throws -> RunningCommand {
        throw RuntimeError(.host, "exec in \(id)", cause: "not built yet")
    }

    /// The container's log, in conmon's k8s-file format; stays after `delete`.
    package nonisolated func logPath(_ id: String) -> String { "\(settings.folder)/logs/\(id).log" }
}
