import Base
import ClusterModel

/// One container as the OCI runtime sees it: renders `config.json`.
///
/// Follows the Open Container Initiative's runtime specification 1.0.2. The defaults are those that
/// images written for Docker or Podman expect; where the two differ, `RuntimeBundleDefaults` says
/// which was taken and why. Rendering is pure, so a bundle is tested as text.
package struct RuntimeBundle: Hashable, Sendable {
    /// Whose rights the command has, as numbers; names were resolved in the container's own root.
    package struct User: Hashable, Sendable {
        /// The user's number.
        package var uid: UInt32
        /// The group's number.
        package var gid: UInt32
        /// The numbers of further groups.
        package var additionalGids: [UInt32]

        package init(uid: UInt32 = 0, gid: UInt32 = 0, additionalGids: [UInt32] = []) {
            self.uid = uid
            self.gid = gid
            self.additionalGids = additionalGids
        }
    }

    /// A file of the host that appears in the container.
    package struct FileMount: Hashable, Sendable {
        /// The file on the host, absolute.
        package var source: String
        /// Where it appears in the container, absolute.
        package var destination: String

        package init(source: String, destination: String) {
            self.source = source
            self.destination = destination
        }
    }

    /// A folder of the host that the container may use.
    package struct VolumeMount: Hashable, Sendable {
        /// The folder on the host, absolute: a mounted volume.
        package var source: String
        /// Where it appears in the container, absolute.
        package var destination: String
        /// Nobody may write there.
        package var isReadOnly: Bool
        /// No program in it may be started.
        package var forbidsPrograms: Bool

        package init(
            source: String, destination: String, isReadOnly: Bool = false,
            forbidsPrograms: Bool = false
        ) {
            self.source = source
            self.destination = destination
            self.isReadOnly = isReadOnly
            self.forbidsPrograms = forbidsPrograms
        }

        /// The mounts in an order in which none hides another: `/data` before `/data/sub`.
        fileprivate static func outermostFirst(_ mounts: [VolumeMount]) -> [VolumeMount] {
            func depth(_ mount: VolumeMount) -> Int {
                mount.destination.utf8.count { $0 == UInt8(ascii: "/") }
            }
            return mounts.enumerated().sorted {
                (depth($0.element), $0.offset) < (depth($1.element), $1.offset)
            }.map(\.element)
        }

        /// The runtime sets these on the container's own mount, whatever the one below has.
        fileprivate var options: [String] {
            ["bind", "rprivate", isReadOnly ? "ro" : "rw", "nosuid", "nodev"]
                + (forbidsPrograms ? ["noexec"] : [])
        }
    }

    /// A device file of the host that the container may open.
    package struct DeviceFile: Hashable, Sendable {
        /// Where it is, on the host and in the container.
        package var path: String
        /// True for a block device, false for a character device.
        package var isBlock: Bool
        /// The driver's number.
        package var major: Int
        /// The device's number.
        package var minor: Int
        /// Its permissions, as of chmod(1).
        package var mode: Int
        /// The owner's number.
        package var uid: UInt32
        /// The group's number.
        package var gid: UInt32

        package init(
            path: String, isBlock: Bool, major: Int, minor: Int, mode: Int = 0o666,
            uid: UInt32 = 0, gid: UInt32 = 0
        ) {
            self.path = path
            self.isBlock = isBlock
            self.major = major
            self.minor = minor
            self.mode = mode
            self.uid = uid
            self.gid = gid
        }

        fileprivate var type: JSONText { .text(isBlock ? "b" : "c") }
    }

    /// The set it belongs to; its name is the host name.
    package var slot: SlotID
    /// The container's name within the set.
    package var container: String
    /// The log index of the placement it runs for.
    package var placementIndex: LogIndex
    /// The mounted root file system.
    package var rootPath: String
    /// The command and its arguments.
    package var arguments: [String]
    /// `NAME=value` each.
    package var environment: [String]
    /// Where the command starts; empty means `/`.
    package var workingDirectory: String
    /// Whose rights it has.
    package var user: User
    /// The user's home inside the root, for `HOME`.
    package var home: String
    /// The set's network namespace; empty means a new one.
    package var networkNamespacePath: String
    /// The container's cgroup below every hierarchy's root.
    package var cgroupsPath: String
    /// The kernel limits.
    package var limits: RuntimeLimits
    /// Files such as `/etc/hosts`.
    package var fileMounts: [FileMount]
    /// The set's volumes.
    package var volumeMounts: [VolumeMount]
    /// Device files that it may open beside the usual ones.
    package var deviceFiles: [DeviceFile]
    /// Capabilities beside the usual ones, without `CAP_`.
    package var furtherCapabilities: [String]
    /// The limit of open files, soft and hard.
    package var openFilesMax: Int
    /// How likely the kernel's out-of-memory killer takes it: -1,000 never to 1,000 first.
    package var oomScoreAdjustment: Int
    /// The machine, for the system call filter.
    package var architecture: SeccompArchitecture

    package init(
        slot: SlotID, container: String, placementIndex: LogIndex, rootPath: String,
        arguments: [String], environment: [String] = [], workingDirectory: String = "/",
        user: User = User(), home: String = "/", networkNamespacePath: String = "",
        cgroupsPath: String, limits: RuntimeLimits = RuntimeLimits(),
        fileMounts: [FileMount] = [], volumeMounts: [VolumeMount] = [],
        deviceFiles: [DeviceFile] = [], furtherCapabilities: [String] = [],
        openFilesMax: Int = RuntimeBundleDefaults.openFilesMax,
        oomScoreAdjustment: Int = RuntimeBundleDefaults.oomScoreAdjustment,
        architecture: SeccompArchitecture
    ) {
        self.slot = slot
        self.container = container
        self.placementIndex = placementIndex
        self.rootPath = rootPath
        self.arguments = arguments
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.user = user
        self.home = home
        self.networkNamespacePath = networkNamespacePath
        self.cgroupsPath = cgroupsPath
        self.limits = limits
        self.fileMounts = fileMounts
        self.volumeMounts = volumeMounts
        self.deviceFiles = deviceFiles
        self.furtherCapabilities = furtherCapabilities
        self.openFilesMax = openFilesMax
        self.oomScoreAdjustment = oomScoreAdjustment
        self.architecture = architecture
    }

    /// The text of `config.json`; equal bundles give equal text.
    package var configuration: String {
        JSONText.object([
            .init("ociVersion", .text("1.0.2")),
            .init("process", process),
            .init(
                "root", .object([.init("path", .text(rootPath)), .init("readonly", .bool(false))])),
            .init("hostname", .text(slot.description)),
            .init("mounts", .array(mounts)),
            .init("linux", linux),
            .init(
                "annotations",
                .object([
                    .init("shoal.slot", .text(slot.description)),
                    .init("shoal.container", .text(container)),
                    .init("shoal.placement-index", .text(placementIndex.description)),
                ])),
        ]).rendered
    }

    /// The text of one more command in the container: the runtime specification's `process`.
    ///
    /// The same rights, environment and limits as the container's own.
    package var processConfiguration: String { process.rendered }

    /// The environment with what every program expects added where it is missing.
    package var completedEnvironment: [String] {
        let defaults = [
            ("PATH", RuntimeBundleDefaults.path), ("HOSTNAME", slot.description), ("HOME", home),
        ]
        let missing = defaults.filter { name, _ in
            !environment.contains { $0.hasPrefix("\(name)=") }
        }
        return missing.map { "\($0)=\($1)" } + environment
    }

    private var process: JSONText {
        let further = furtherCapabilities.map { "CAP_\($0)" }
            .filter { !RuntimeBundleDefaults.capabilities.contains($0) }
        let capabilities = JSONText.texts(RuntimeBundleDefaults.capabilities + further)
        let files = JSONText.number(openFilesMax)
        return .object([
            .init("terminal", .bool(false)),
            .init(
                "user",
                .object([
                    .init("uid", .number(Int(user.uid))),
                    .init("gid", .number(Int(user.gid))),
                    .init(
                        "additionalGids", .array(user.additionalGids.map { .number(Int($0)) })),
                ])),
            .init("args", .texts(arguments)),
            .init("env", .texts(completedEnvironment)),
            .init("cwd", .text(workingDirectory.isEmpty ? "/" : workingDirectory)),
            // No ambient and no inheritable set: a command that is not root starts with nothing,
            // and gains nothing by executing another file (CVE-2022-24769).
            .init(
                "capabilities",
                .object([
                    .init("bounding", capabilities), .init("effective", capabilities),
                    .init("permitted", capabilities),
                ])),
            .init(
                "rlimits",
                .array([
                    .object([
                        .init("type", .text("RLIMIT_NOFILE")), .init("hard", files),
                        .init("soft", files),
                    ])
                ])),
            .init("noNewPrivileges", .bool(true)),
            .init("oomScoreAdj", .number(oomScoreAdjustment)),
        ])
    }

    private var mounts: [JSONText] {
        let standard = RuntimeBundleDefaults.mounts.map { mount in
            JSONText.object([
                .init("destination", .text(mount.destination)), .init("type", .text(mount.type)),
                .init("source", .text(mount.source)), .init("options", .texts(mount.options)),
            ])
        }
        let files = fileMounts.map { mount in
            JSONText.object([
                .init("destination", .text(mount.destination)), .init("type", .text("bind")),
                .init("source", .text(mount.source)),
                // Read-only: written to, they would fill the host's disk past every limit.
                .init("options", .texts(["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"])),
            ])
        }
        let volumes = VolumeMount.outermostFirst(volumeMounts).map { mount in
            JSONText.object([
                .init("destination", .text(mount.destination)), .init("type", .text("bind")),
                .init("source", .text(mount.source)),
                .init("options", .texts(mount.options)),
            ])
        }
        return standard + files + volumes
    }

    private var linux: JSONText {
        let files: [JSONText.Member] =
            deviceFiles.isEmpty ? [] : [.init("devices", .array(deviceNodes))]
        return .object(
            [
                .init("namespaces", .array(namespaces)),
                .init("cgroupsPath", .text(cgroupsPath)),
                .init("resources", resources),
                .init(
                    "sysctl",
                    .object(
                        RuntimeBundleDefaults.kernelSettings.map { .init($0.name, .text($0.value)) }
                    )),
                .init(
                    "seccomp",
                    SeccompProfile.json(for: architecture, capabilities: furtherCapabilities)),
                .init("maskedPaths", .texts(RuntimeBundleDefaults.maskedPaths)),
                .init("readonlyPaths", .texts(RuntimeBundleDefaults.readOnlyPaths)),
            ] + files)
    }

    /// New namespaces of every kind but the network, which the set's containers share.
    private var namespaces: [JSONText] {
        let own = ["pid", "ipc", "uts", "mount", "cgroup"].map {
            JSONText.object([.init("type", .text($0))])
        }
        var network = [JSONText.Member("type", .text("network"))]
        if !networkNamespacePath.isEmpty {
            network.append(.init("path", .text(networkNamespacePath)))
        }
        return own + [.object(network)]
    }

    private var resources: JSONText {
        var members = [JSONText.Member("devices", .array(devices))]
        var cpu: [JSONText.Member] = []
        if let shares = limits.cpuShares { cpu.append(.init("shares", .number(shares))) }
        if let quota = limits.cpuQuotaMicroseconds {
            cpu.append(.init("quota", .number(quota)))
            cpu.append(.init("period", .number(limits.cpuPeriodMicroseconds)))
        }
        if !cpu.isEmpty { members.append(.init("cpu", .object(cpu))) }
        if let bytes = limits.memoryBytes {
            members.append(.init("memory", .object([.init("limit", .number(bytes))])))
        }
        if let pids = limits.pidsMax {
            members.append(.init("pids", .object([.init("limit", .number(pids))])))
        }
        return .object(members)
    }

    private var devices: [JSONText] {
        let denyAll = JSONText.object([
            .init("allow", .bool(false)), .init("access", .text("rwm")),
        ])
        return [denyAll]
            + RuntimeBundleDefaults.devices.map { device in
                var members: [JSONText.Member] = [
                    .init("allow", .bool(true)), .init("type", .text("c")),
                    .init("major", .number(device.major)),
                ]
                if let minor = device.minor { members.append(.init("minor", .number(minor))) }
                members.append(.init("access", .text("rwm")))
                return .object(members)
            }
            + deviceFiles.map { device in
                .object([
                    .init("allow", .bool(true)), .init("type", device.type),
                    .init("major", .number(device.major)), .init("minor", .number(device.minor)),
                    .init("access", .text("rwm")),
                ])
            }
    }

    /// The files that the runtime makes in the container's `/dev`.
    private var deviceNodes: [JSONText] {
        deviceFiles.map { device in
            .object([
                .init("path", .text(device.path)), .init("type", device.type),
                .init("major", .number(device.major)), .init("minor", .number(device.minor)),
                .init("fileMode", .number(device.mode)),
                .init("uid", .number(Int(device.uid))), .init("gid", .number(Int(device.gid))),
            ])
        }
    }
}
