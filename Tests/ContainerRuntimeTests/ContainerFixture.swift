import Base
import ClusterModel
import ContainerRuntime
import EventLoop
import Glibc
import HostPlan

/// A folder, a root of busybox, a network namespace and a cgroup of one test's own.
///
/// `with` takes all of it away again, also when the test fails.
final class ContainerFixture: Sendable {
    private static let programs = ["/usr/bin/crun", "/usr/bin/conmon", "/bin/busybox"]
    private static let unified = "/sys/fs/cgroup/unified"

    /// Why these tests cannot run here; nil when they can.
    static let obstacle: String? = {
        guard getuid() == 0 else { return "containers need root" }
        for program in programs where access(program, X_OK) != 0 {
            return "\(program) is missing: apt-get install crun conmon busybox-static"
        }
        return nil
    }()

    /// What the suites ask; says why when it is not so.
    static var isUsable: Bool {
        if let obstacle { print("skipped: \(obstacle)") }
        return obstacle == nil
    }

    let loop: EventLoop
    let commands: CommandRunner
    let folder: String
    let name: String
    let settings: RuntimeSettings

    private init() throws {
        loop = try EventLoop(name: "shoalt")
        commands = CommandRunner(loop: loop)
        var template = Array("/tmp/shoalt-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Trouble("mkdtemp") }
        folder = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        // The random end alone, in letters that ids may have: unique, and short enough for a name.
        let end = folder.utf8.suffix(6).map { String($0, radix: 16) }.joined()
        name = "shoalt\(end)"
        let isHybrid = access("\(ContainerFixture.unified)/cgroup.procs", F_OK) == 0
        settings = RuntimeSettings(
            folder: "\(folder)/state", hybridCgroupMount: isHybrid ? ContainerFixture.unified : nil)
    }

    /// Runs a test with a fixture and clears up after it.
    static func with<Result: Sendable>(
        _ body: (ContainerFixture) async throws -> Result
    ) async throws -> Result {
        let fixture = try ContainerFixture()
        do {
            try await fixture.prepare()
            let result = try await body(fixture)
            await fixture.clear()
            return result
        } catch {
            await fixture.clear()
            throw error
        }
    }

    /// Another runtime over the same folder, as after a restart of the agent.
    func runtime() throws -> ContainerRuntime {
        try ContainerRuntime(settings: settings, commands: commands)
    }

    /// A launch of a shell script.
    func launch(
        _ script: String, container: String = "app", user: String = "",
        limits: RuntimeLimits = RuntimeLimits(
            cpuQuotaMicroseconds: 100_000, cpuShares: 256, memoryBytes: 64 << 20, pidsMax: 64)
    ) -> ContainerLaunch {
        ContainerLaunch(
            id: "\(name)-web.3-\(container)", slot: SlotID(service: "web", ordinal: 3),
            container: container, placementIndex: LogIndex(42), rootPath: "\(folder)/root",
            arguments: ["sh", "-c", script], user: user,
            networkNamespacePath: "/run/netns/\(name)",
            cgroupsPath: "/\(name)/web.3/\(container)", limits: limits, address: "10.9.8.7",
            nameServers: ["10.9.8.1"])
    }

    /// Creates and starts a container.
    @discardableResult
    func run(_ launch: ContainerLaunch, in runtime: ContainerRuntime) async throws
        -> ContainerProcess
    {
        let process = try await runtime.create(launch)
        try await runtime.start(launch.id)
        return process
    }

    /// The cgroup folders with this fixture's name, in every hierarchy.
    func cgroups() async throws -> [String] {
        let found = try await commands.check([
            "find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*\(name)*",
        ])
        return found.outputText.split(separator: "\n").map { String($0) }
    }

    /// The processes that mention this fixture's folder or containers, zombies left out.
    func processes() -> [Int32] {
        guard let directory = opendir("/proc") else { return [] }
        defer { closedir(directory) }
        var found: [Int32] = []
        while let entry = readdir(directory) {
            let text = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard let pid = Int32(text), pid != getpid(),
                let line = ContainerFixture.text("/proc/\(pid)/cmdline"), line.contains(name)
            else { continue }
            found.append(pid)
        }
        return found
    }

    /// A small file's text; nil when there is none.
    static func text(_ path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    private func prepare() async throws {
        let root = "\(folder)/root"
        let script = """
            set -e
            mkdir -p \(root)/bin \(root)/etc \(root)/tmp
            chmod 755 \(root); chmod 1777 \(root)/tmp
            cp /bin/busybox \(root)/bin/busybox
            for name in sh cat echo sleep mount id grep hostname wc head tail ls kill; do
                ln -s busybox \(root)/bin/$name
            done
            printf 'root:x:0:0::/root:/bin/sh\\nweb:x:1000:100::/home/web:/bin/sh\\n' > \(root)/etc/passwd
            printf 'root:x:0:\\nusers:x:100:\\nmail:x:8:web\\n' > \(root)/etc/group
            ip netns add \(name)
            ip -n \(name) link set lo up
            """
        _ = try await commands.check(["sh", "-c", script])
    }

    private func clear() async {
        if let runtime = try? runtime() {
            for container in (try? await runtime.containers()) ?? [] {
                try? await runtime.delete(container.id)
            }
        }
        for pid in processes() { kill(pid, SIGKILL) }
        for path in (try? await cgroups()) ?? [] { rmdir(path) }
        _ = try? await commands.run(["ip", "netns", "delete", name])
        _ = try? await commands.run(["rm", "-rf", "--one-file-system", folder])
        loop.stop()
    }
}

/// Why a fixture could not be made.
struct Trouble: Error {
    let what: String

    init(_ what: String) { self.what = what }
}
