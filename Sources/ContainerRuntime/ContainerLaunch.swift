import Base
import ClusterModel
import HostPlan

/// Everything needed to run one container: what the agent hands to `ContainerRuntime.create`.
package struct ContainerLaunch: Sendable, Equatable {
    /// The container's id on this host, such as `a1b2-web.3-app`: 1 to 100 of `a-z 0-9 . -`.
    package var id: String
    /// The set it belongs to; also its host name.
    package var slot: SlotID
    /// Its name within the set.
    package var container: String
    /// The log index of the placement it runs for.
    package var placementIndex: LogIndex
    /// The mounted root file system, an absolute path.
    package var rootPath: String
    /// The command and its arguments; the first is looked up in the container's `PATH`.
    package var arguments: [String]
    /// `NAME=value` each; `PATH`, `HOSTNAME` and `HOME` are added when missing.
    package var environment: [String]
    /// Where the command starts, inside the root; empty means `/`.
    package var workingDirectory: String
    /// `""` (root), `1000`, `1000:1000`, `name`, `name:group`: names are looked up in the root.
    package var user: String
    /// The set's network namespace, such as `/run/netns/NAME`; empty means one of its own with
    /// nothing but loopback.
    package var networkNamespacePath: String
    /// The container's cgroup below every hierarchy's root, such as `/shoal/web.3/app`.
    package var cgroupsPath: String
    /// What the runtime writes into that cgroup.
    package var limits: RuntimeLimits
    /// The signal that asks it to end, such as `SIGTERM` or `15`; nil means SIGTERM.
    package var stopSignal: String?
    /// The set's own address, for its `/etc/hosts`; nil when it has none.
    package var address: String?
    /// The name servers of its `/etc/resolv.conf`; empty copies the host's file.
    package var nameServers: [String]
    /// The set's volumes: folders of the host, and where they are in the container.
    package var volumes: [RuntimeBundle.VolumeMount]
    /// The OCI runtime, a key of `RuntimeSettings.runtimes`; nil is the default one.
    package var runtime: String?
    /// Device files of the host that it may open, absolute paths.
    package var devices: [String]
    /// Capabilities on top of the usual ones, without `CAP_`.
    package var capabilities: [String]

    package init(
        id: String, slot: SlotID, container: String, placementIndex: LogIndex, rootPath: String,
        arguments: [String], environment: [String] = [], workingDirectory: String = "/",
        user: String = "", networkNamespacePath: String, cgroupsPath: String,
        limits: RuntimeLimits = RuntimeLimits(), stopSignal: String? = nil,
        address: String? = nil, nameServers: [String] = [],
        volumes: [RuntimeBundle.VolumeMount] = [], runtime: String? = nil,
        devices: [String] = [], capabilities: [String] = []
    ) {
        self.id = id
        self.slot = slot
        self.container = container
        self.placementIndex = placementIndex
        self.rootPath = rootPath
        self.arguments = arguments
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.user = user
        self.networkNamespacePath = networkNamespacePath
        self.cgroupsPath = cgroupsPath
        self.limits = limits
        self.stopSignal = stopSignal
        self.address = address
        self.nameServers = nameServers
        self.volumes = volumes
        self.runtime = runtime
        self.devices = devices
        self.capabilities = capabilities
    }
}
