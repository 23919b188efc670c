import ClusterModel
import EventLoop
import Foundation
import Glibc
import HostControl
import HostPlan
import Synchronization
import Testing

/// Why these tests cannot run here; nil when they can.
let obstacle: String? = {
    let reason: String? =
        if getuid() != 0 {
            "needs root"
        } else if access("/usr/bin/python3", X_OK) != 0 {
            "needs /usr/bin/python3"
        } else {
            nil
        }
    if let reason { print("HostControlTests skipped: \(reason)") }
    return reason
}()

/// A host of its own on this machine: a network namespace, a control group root, and the control.
struct HostFixture {
    private static let count = Atomic<Int>(0)

    let name: String
    let control: HostControl
    let commands: CommandRunner
    let settings: HostControlSettings

    /// Runs the body on a prepared host (`network`: with bridge and table), and removes everything afterwards, also after a failure.
    static func with(
        network: Bool = true, datacenterNetworks: [IPv4Network] = [],
        uplink: UplinkSetting = .unlimited, diskPaths: [String] = [],
        ownPort: UInt16 = 0,
        _ body: (HostFixture) async throws -> Void
    ) async throws {
        let number = count.add(1, ordering: .relaxed).newValue
        let loop = try EventLoop(name: "test")
        let commands = CommandRunner(loop: loop)
        let name = "shoalt-\(getpid())-\(number)"
        let settings = HostControlSettings(
            cgroupRoot: "\(name)/host", instance: "t\(getpid())x\(number)", bridge: "shoalt0",
            datacenterNetworks: datacenterNetworks, uplink: uplink, networkNamespace: name,
            diskPaths: diskPaths, ownPort: ownPort)
        try await commands.check(["ip", "netns", "add", name])
        var result = Result<Void, any Error>.success(())
        do {
            let control = try HostControl(settings: settings, commands: commands)
            let fixture = HostFixture(
                name: name, control: control, commands: commands, settings: settings)
            do {
                if network { try await control.prepare(subnetIndex: 7) }
                try await body(fixture)
            } catch {
                result = .failure(error)
            }
            try await control.tearDown()
        } catch {
            result = .failure(error)
        }
        // The neighbour that some tests add.
        _ = try await commands.run(["ip", "netns", "del", "\(name)o"])
        try await commands.check(["ip", "netns", "del", name])
        loop.stop()
        try result.get()
    }

    /// Runs a shell script to its end inside a container's groups.
    func run(
        _ script: String, slot: SlotID, container: String
    ) async throws -> CommandResult {
        try await commands.run(try await command(script, slot: slot, container: container))
    }

    /// The command that enters a container's groups and runs a shell script there.
    func command(_ script: String, slot: SlotID, container: String) async throws -> [String] {
        let layout = await control.capabilities.cgroups
        let path = control.cgroupPath(slot: slot, container: container)
        var mounts: [String] = []
        for controller in ["cpu", "cpuacct", "memory", "pids", "blkio", "cpuset"] {
            guard let mount = layout.mountPoint(of: controller), !mounts.contains(mount) else {
                continue
            }
            mounts.append(mount)
        }
        let enter = mounts.map { "echo $$ > '\($0)\(path)/cgroup.procs'" }
        return ["sh", "-c", "set -e; " + enter.joined(separator: "; ") + "; set +e; \(script)"]
    }

    /// Makes a neighbour of the host, at the other end of a cable: 192.0.2.2 to the host's 192.0.2.1.
    ///
    /// It knows the way to the host's sets.
    func addOutside() async throws {
        // Deleting the host's namespace takes the cable along; this name goes at once.
        try await commands.check(["ip", "netns", "add", "\(name)o"])
        let lines = """
            link add out0 type veth peer name in0 netns \(name)o
            addr add 192.0.2.1/24 dev out0
            link set out0 up

            """
        let inside =
            "addr add 192.0.2.2/24 dev in0\nlink set in0 up\nlink set lo up\n"
            + "route add 10.64.7.0/24 via 192.0.2.1\n"
        try await commands.check(
            ["ip", "-n", name, "-batch", "-"], input: Array(lines.utf8))
        try await commands.check(
            ["ip", "-n", "\(name)o", "-batch", "-"], input: Array(inside.utf8))
    }

    /// Gives this host's groups so much weight that what else the machine does cannot keep them from
    /// their quotas; sets exist already.
    func makeHeavy() async throws {
        let layout = await control.capabilities.cgroups
        let (file, weight) =
            layout.version == .one ? ("cpu.shares", "262144") : ("cpu.weight", "10000")
        let mount = layout.mountPoint(of: "cpu") ?? ""
        for folder in [name, settings.cgroupRoot] {
            try await commands.check([
                "sh", "-c", "echo \(weight) > '\(mount)/\(folder)/\(file)'",
            ])
        }
    }

    /// Every file of a set's groups that holds a limit, with its text.
    func limits(of slot: SlotID) async -> [String: String] {
        let names = [
            "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_burst_us", "cpu.weight", "cpu.max",
            "cpu.max.burst", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes",
            "memory.soft_limit_in_bytes", "memory.max", "memory.high", "memory.swap.max",
            "pids.max", "io.max", "io.bfq.weight", "io.weight", "blkio.bfq.weight",
            "blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device",
            "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device",
            "cpuset.cpus", "cpuset.mems",
        ]
        var found: [String: String] = [:]
        for mount in await control.capabilities.cgroups.allMountPoints {
            let set = "\(mount)/\(settings.cgroupRoot)/\(slot)"
            let groups = (try? FileManager.default.contentsOfDirectory(atPath: set)) ?? []
            for folder in [set] + groups.map({ "\(set)/\($0)" }) {
                for name in names {
                    found["\(folder)/\(name)"] = try? String(
                        contentsOfFile: "\(folder)/\(name)", encoding: .utf8)
                }
            }
        }
        return found
    }

    /// What a file of a container's group says, by controller; nil when it is not there.
    func text(_ name: String, _ slot: SlotID, _ container: String? = nil) async -> String? {
        let layout = await control.capabilities.cgroups
        let controller = String(name.prefix { $0 != "." })
        guard let mount = layout.mountPoint(of: controller) else { return nil }
        let path = "\(mount)/\(settings.cgroupRoot)/\(slot)" + (container.map { "/\($0)" } ?? "")
        return try? String(contentsOfFile: "\(path)/\(name)", encoding: .utf8)
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Runs Python in a network namespace to its end.
    func python(_ script: String, namespace: String) async throws -> String {
        try await commands.check(
            ["nsenter", "--net=/run/netns/\(namespace)", "/usr/bin/python3", "-c", script]
        ).outputText
    }

    /// Starts Python in a network namespace; returns when it has printed `ready`.
    func start(python script: String, namespace: String) async throws -> RunningCommand {
        let running = try await commands.start([
            "nsenter", "--net=/run/netns/\(namespace)", "/usr/bin/python3", "-u", "-c", script,
        ])
        var said: [UInt8] = []
        for try await chunk in running.output {
            said += chunk.bytes
            if String(decoding: said, as: UTF8.self).contains("ready") { return running }
        }
        throw Unready(said: String(decoding: said, as: UTF8.self))
    }

    /// A server ended before it was ready.
    struct Unready: Error {
        let said: String
    }
}

/// Limits with some values of interest.
func limits(
    cpu: Int = 1_000, burst: Int = 0, cores: CoreClass = .shared,
    memory: Int = 64 << 20,
    soft: Int? = nil, swap: Int = 0, pids: Int = 64, io: IOSpec = IOSpec()
) -> CgroupLimits {
    CgroupLimits(
        cpuRequestMillicores: cpu, cpuLimitMillicores: cpu, cpuBurstMillicores: burst,
        cores: cores, memoryLimitBytes: memory, memorySoftBytes: soft, memorySwapBytes: swap,
        pidsMax: pids, io: io)
}

/// The slot with this ordinal of the tests' service.
func web(_ ordinal: Int) -> SlotID { SlotID(service: "web", ordinal: ordinal) }
