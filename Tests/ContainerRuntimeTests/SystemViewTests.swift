import ClusterModel
import ContainerRuntime
import Foundation
import Glibc
import HostControl
import HostPlan
import Testing

/// What a container sees of the machine where lxcfs runs.
@Suite("What containers see", .enabled(if: ContainerFixture.isUsable), .serialized)
struct SystemViewTests {
    /// What a container sees at one moment.
    private struct Sight: Equatable {
        var memoryKibibytes: Int
        /// Processors in `/proc/cpuinfo`, `/proc/stat` and `/sys/devices/system/cpu/online`.
        var listed: [Int]
        /// What `nproc` counts: where the kernel lets it run.
        var usable: Int
    }

    private static let slot = SlotID(service: "web", ordinal: 3)
    private static let processors = Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))

    /// Starts an lxcfs of the test's own, runs the body with its folder, and ends it.
    private func withView(
        _ fixture: ContainerFixture, _ options: String,
        _ body: (ContainerRuntime, String) async throws -> Void
    ) async throws {
        guard access("/usr/bin/lxcfs", X_OK) == 0 else {
            return print("skipped: lxcfs is not installed: apt-get install lxcfs")
        }
        let view = "\(fixture.folder)/view"
        mkdir(view, 0o755)
        // In the foreground it would be ours to wait for; the shell's background is enough.
        let started = try await fixture.commands.check([
            "sh", "-c",
            "lxcfs \(options) --pidfile=\(view).pid \(view) > \(view).log 2>&1 & "
                + "for i in $(seq 50); do [ -s \(view)/proc/meminfo ] && break; sleep 0.1; done; "
                + "[ -s \(view)/proc/meminfo ] && echo up; true",
        ])
        defer { end(view) }
        guard started.outputText.contains("up") else {
            return print("skipped: lxcfs does not start on this kernel")
        }
        var settings = fixture.settings
        settings.systemViewFolder = view
        try await body(
            try ContainerRuntime(settings: settings, commands: fixture.commands), view)
    }

    private func nextExit(of runtime: ContainerRuntime) async -> ExitNotice? {
        for await notice in runtime.exits { return notice }
        return nil
    }

    private func end(_ view: String) {
        if let text = ContainerFixture.text("\(view).pid"), let pid = pid_t(text.filter(\.isNumber))
        {
            kill(pid, SIGTERM)
            for _ in 0..<100 where kill(pid, 0) == 0 { usleep(20_000) }
        }
        umount2(view, Int32(MNT_DETACH))
    }

    @Test(
        "where lxcfs runs a container sees its own memory and processors", .timeLimit(.minutes(1)))
    func startsWith() async throws {
        try await ContainerFixture.with { fixture in
            try await withView(fixture, "") { runtime, _ in
                let launch = fixture.launch("grep MemTotal /proc/meminfo; echo no > /proc/stat")
                try await fixture.run(launch, in: runtime)
                #expect(await nextExit(of: runtime)?.code == 1)
                let text = try LogReader(path: runtime.logPath(launch.id)).tail(lines: 9).map(
                    \.text)
                #expect(text.contains { $0.hasSuffix(" 65536 kB") }, "\(text)")
            }
        }
    }

    @Test(
        "what a running container sees follows a resize of memory, quota and cores",
        .timeLimit(.minutes(2)), arguments: ["", "--enable-cfs"])
    func follows(_ options: String) async throws {
        try await ContainerFixture.with { fixture in
            try await withView(fixture, options) { runtime, _ in
                let control = try HostControl(
                    settings: HostControlSettings(
                        cgroupRoot: fixture.name, instance: "t\(getpid())", bridge: "shoalt0",
                        networkNamespace: fixture.name),
                    commands: fixture.commands)
                var wanted = CgroupLimits(
                    cpuRequestMillicores: 250, cpuLimitMillicores: 500,
                    memoryLimitBytes: 64 << 20, pidsMax: 64)
                func resize() async throws {
                    try await control.ensureSetCgroup(
                        slot: SystemViewTests.slot, containers: [("app", wanted)])
                }
                try await resize()
                let launch = fixture.launch(
                    "sleep 100",
                    limits: RuntimeLimits(
                        cpuQuotaMicroseconds: wanted.quotaMicroseconds, cpuShares: wanted.shares,
                        memoryBytes: wanted.memoryLimitBytes, pidsMax: wanted.pidsMax))
                _ = try await runtime.create(launch)
                try await resize()
                try await runtime.start(launch.id)
                let all = SystemViewTests.processors
                // The quota counts as processors only where lxcfs was told to look at it.
                func listed(_ quota: Int) -> Int { options.isEmpty ? all : min(quota, all) }

                try await expect(64, listed(1), usable: all, launch, runtime)
                (wanted.memoryLimitBytes, wanted.cpuLimitMillicores) = (96 << 20, 1_500)
                try await resize()
                try await expect(96, listed(2), usable: all, launch, runtime)
                wanted.memoryLimitBytes = 48 << 20
                try await resize()
                try await expect(48, listed(2), usable: all, launch, runtime)
                let hasCores =
                    await control.capabilities.cgroups.mountPoint(of: "cpuset") != nil && all > 1
                if hasCores {
                    (wanted.cpuRequestMillicores, wanted.cpuLimitMillicores) = (1_000, 1_000)
                    wanted.cores = .dedicated
                    try await resize()
                    try await expect(48, 1, usable: 1, launch, runtime)
                    wanted.cores = .shared
                    wanted.cpuLimitMillicores = 2_000
                    try await resize()
                    try await expect(48, listed(2), usable: all, launch, runtime)
                }
                try await runtime.delete(launch.id)
                try await control.tearDown()
            }
        }
    }

    private func expect(
        _ mebibytes: Int, _ listed: Int, usable: Int, _ launch: ContainerLaunch,
        _ runtime: ContainerRuntime, at place: SourceLocation = #_sourceLocation
    ) async throws {
        let found = try await look(launch, runtime)
        let wanted = Sight(
            memoryKibibytes: mebibytes << 10, listed: [listed, listed, listed], usable: usable)
        #expect(found == wanted, sourceLocation: place)
    }

    private func look(
        _ launch: ContainerLaunch, _ runtime: ContainerRuntime
    ) async throws -> Sight {
        // Not by `cat` of busybox: sendfile(2) goes by the size that lxcfs said last.
        let script = """
            grep MemTotal /proc/meminfo | busybox tr -dc '0-9\n'
            grep -c ^processor /proc/cpuinfo
            grep -c '^cpu[0-9]' /proc/stat
            head -n 1 /sys/devices/system/cpu/online
            busybox nproc
            """
        let command = try await runtime.exec(launch.id, command: ["sh", "-c", script])
        var text = ""
        for try await chunk in command.output {
            text += String(decoding: chunk.bytes, as: UTF8.self)
        }
        #expect(await command.wait() == 0, "\(text)")
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        try #require(lines.count == 6, "\(text)")
        let online = ProcessorList.numbers(lines[3])?.count ?? -1
        return Sight(
            memoryKibibytes: Int(lines[0]) ?? -1,
            listed: [Int(lines[1]) ?? -1, Int(lines[2]) ?? -1, online],
            usable: Int(lines[4]) ?? -1)
    }
}
