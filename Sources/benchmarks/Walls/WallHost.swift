import ClusterModel
import EventLoop
import FoundationEssentials
import Glibc
import HostControl
import HostPlan

/// A host of its own on this machine, made for measuring walls: a network namespace, a group of
/// control groups, and the same `HostControl` as in the agent.
struct WallHost: Sendable {
    /// The network namespace, and the first part of all other names.
    let name: String
    let control: HostControl
    let commands: CommandRunner
    let settings: HostControlSettings
    let layout: CgroupLayout

    /// The control groups and kernel, for the rows.
    var kernel: String {
        "cgroup v\(layout.version.rawValue), Linux \(kernelRelease)"
    }

    private let kernelRelease: String

    /// Runs the body on a prepared host and removes everything afterwards, also after a failure.
    ///
    /// The host's group weighs as much as the kernel allows, so that what else the machine does
    /// takes as little as possible from what is measured.
    static func with<Value>(
        uplink: UplinkSetting = .unlimited, diskPaths: [String] = [], hasNetwork: Bool = false,
        _ body: (WallHost) async throws -> Value
    ) async throws -> Value {
        let loop = try EventLoop(name: "walls")
        defer { loop.stop() }
        let commands = CommandRunner(loop: loop)
        let name = "shoalt-walls-\(getpid())"
        let settings = HostControlSettings(
            cgroupRoot: name, instance: "w\(getpid())", bridge: "shoalw0", uplink: uplink,
            networkNamespace: name, diskPaths: diskPaths)
        let control = try HostControl(settings: settings, commands: commands)
        let capabilities = await control.capabilities
        let host = WallHost(
            name: name, control: control, commands: commands, settings: settings,
            layout: capabilities.cgroups, kernelRelease: capabilities.kernelRelease)
        try await commands.check(["ip", "netns", "add", name])
        var result: Result<Value, any Error>
        do {
            if hasNetwork { try await control.prepare(subnetIndex: 0, publishing: false) }
            result = .success(try await body(host))
        } catch { result = .failure(error) }
        do { try await control.tearDown() } catch {
            if case .success = result { result = .failure(error) }
        }
        _ = try await commands.run(["ip", "netns", "del", "\(name)o"])
        try await commands.check(["ip", "netns", "del", name])
        return try result.get()
    }

    // MARK: - Limits

    /// Makes a set of one container, or changes its limits; returns what has no effect here.
    @discardableResult
    func limit(_ slot: SlotID, _ limits: CgroupLimits) async throws -> [String] {
        let said = try await control.ensureSetCgroup(
            slot: slot, containers: [(WallHost.container, limits)])
        try writeWeight(of: "/\(settings.cgroupRoot)", most: true)
        return said
    }

    /// Gives a set the most or the least weight that the kernel knows, past all of Shoal's rules.
    func weigh(_ slot: SlotID, most: Bool) throws {
        try writeWeight(of: "/\(settings.cgroupRoot)/\(slot)", most: most)
    }

    private func writeWeight(of group: String, most: Bool) throws {
        guard let mount = layout.mountPoint(of: "cpu") else { return }
        switch layout.version {
        case .one: try write(most ? "262144" : "2", to: "\(mount)\(group)/cpu.shares")
        case .two: try write(most ? "10000" : "1", to: "\(mount)\(group)/cpu.weight")
        }
    }

    /// The only container of every set.
    static let container = "app"

    /// The text of a file of a container's group, such as `pids.max`; nil when it is not there.
    func text(_ file: String, _ slot: SlotID) -> String? {
        let controller = String(file.prefix { $0 != "." })
        guard let mount = layout.mountPoint(of: controller) else { return nil }
        let path = control.cgroupPath(slot: slot, container: WallHost.container)
        return WallHost.read("\(mount)\(path)/\(file)")
    }

    /// What the kernel says, by the name that this machine's version has for the file.
    func readBack(_ slot: SlotID, one: String, two: String) -> String {
        let file = layout.version == .one ? one : two
        return text(file, slot) ?? "no \(file)"
    }

    /// What a container has used.
    func usage(_ slot: SlotID) async throws -> CgroupUsage {
        try await control.usage(slot: slot, container: WallHost.container)
    }

    /// Ends and removes sets.
    func remove(_ slots: [SlotID]) async throws {
        for slot in slots { try await control.removeSetCgroup(slot: slot) }
    }

    // MARK: - Processes

    /// The command that runs shell text in a container's groups, and with `inNetwork` in the set's
    /// network.
    func command(_ script: String, _ slot: SlotID, inNetwork: Bool = false) -> [String] {
        var mounts: [String] = []
        for controller in ["cpu", "cpuacct", "memory", "pids", "blkio", "cpuset"] {
            guard let mount = layout.mountPoint(of: controller), !mounts.contains(mount) else {
                continue
            }
            mounts.append(mount)
        }
        let path = control.cgroupPath(slot: slot, container: WallHost.container)
        let enter = mounts.map { "echo $$ > '\($0)\(path)/cgroup.procs'" }.joined(separator: "; ")
        let network = ["nsenter", "--net=/run/netns/\(namespace(slot))", "--"]
        return (inNetwork ? network : []) + ["sh", "-c", "set -e; \(enter); set +e; \(script)"]
    }

    /// Starts shell text in a container's groups.
    func start(
        _ script: String, _ slot: SlotID, inNetwork: Bool = false
    ) async throws -> RunningCommand {
        try await commands.start(command(script, slot, inNetwork: inNetwork))
    }

    /// Runs shell text in a container's groups to its end.
    func run(_ script: String, _ slot: SlotID, inNetwork: Bool = false) async throws
        -> CommandResult
    {
        try await commands.run(
            command(script, slot, inNetwork: inNetwork), timeout: .seconds(120))
    }

    /// Runs a part of the attacks, see `WallPart`, to its end; returns the numbers it printed.
    func numbers(
        _ part: String, _ slot: SlotID, inNetwork: Bool = false
    ) async throws -> [Double] {
        let result = try await run(WallPart.script(part), slot, inNetwork: inNetwork)
        guard result.exitCode == 0 else {
            throw BenchmarkError("\(part) ended with \(result.exitCode): \(result.errorText)")
        }
        return result.outputText.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
    }

    /// The set's network namespace.
    func namespace(_ slot: SlotID) -> String { "shoal-\(settings.instance)-\(slot)" }

    // MARK: - Files

    /// A file's text without the white space around it; nil when it cannot be read.
    static func read(_ path: String) -> String? {
        guard let stream = fopen(path, "r") else { return nil }
        defer { fclose(stream) }
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = fread(&bytes, 1, bytes.count, stream)
        let text = String(decoding: bytes[..<count], as: UTF8.self)
        return text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    /// Writes a file of the kernel.
    func write(_ value: String, to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CLOEXEC)
        defer { if descriptor >= 0 { close(descriptor) } }
        let bytes = Array(value.utf8)
        guard descriptor >= 0, Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
            throw BenchmarkError("cannot write \(value) to \(path): error \(errno)")
        }
    }
}

/// Limits for an attacker or its victim.
func wallLimits(
    request: Int = 100, limit: Int = 1_000, burst: Int = 0, cores: CoreClass = .shared,
    memory: Int = 64 << 20, soft: Int? = nil, swap: Int = 0, pids: Int = 64, io: IOSpec = IOSpec()
) -> CgroupLimits {
    CgroupLimits(
        cpuRequestMillicores: request, cpuLimitMillicores: limit, cpuBurstMillicores: burst,
        cores: cores, memoryLimitBytes: memory, memorySoftBytes: soft, memorySwapBytes: swap,
        pidsMax: pids, io: io)
}

/// A set of the measurements.
func wallSlot(_ name: String, _ ordinal: Int = 0) -> SlotID {
    SlotID(service: name, ordinal: ordinal)
}
