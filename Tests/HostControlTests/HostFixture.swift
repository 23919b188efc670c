import ClusterModel
import EventLoop
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
        uplink: UplinkSetting = .unlimited, _ body: (HostFixture) async throws -> Void
    ) async throws {
        let number = count.add(1, ordering: .relaxed).newValue
        let loop = try EventLoop(name: "test")
        let commands = CommandRunner(loop: loop)
        let name = "shoalt-\(getpid())-\(number)"
        let settings = HostControlSettings(
            cgroupRoot: "\(name)/host", instance: "t\(getpid())x\(number)", bridge: "shoalt0",
            datacenterNetworks: datacenterNetworks, uplink: uplink, networkNamespace: name)
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
        for controller in ["cpu", "cpuacct", "memory", "pids"] {
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
func limits(cpu: Int = 1_000, memory: Int = 64 << 20, pids: Int = 64) -> CgroupLimits {
    CgroupLimits(
        cpuRequestMillicores: cpu, cpuLimitMillicores: cpu, memoryLimitBytes: memory, pidsMax: pids)
}

/// The slot with this ordinal of the tests' service.
func web(_ ordinal: Int) -> SlotID { SlotID(service: "web", ordinal: ordinal) }
