import ClusterModel
import ContainerRuntime
import Glibc
import HostControl
import HostPlan
import Testing

/// The OCI runtime writes limits too: what it changes must be put right before the command begins.
@Suite("Limits under the runtime", .enabled(if: ContainerFixture.isUsable), .serialized)
struct KeptLimitTests {
    private static let files = [
        "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.weight",
        "cpu.max", "cpu.max.burst", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes",
        "memory.soft_limit_in_bytes", "memory.max", "memory.high", "memory.low",
        "memory.swap.max", "memory.oom.group", "pids.max", "io.max", "io.weight",
        "io.bfq.weight", "blkio.bfq.weight", "blkio.throttle.read_bps_device",
        "blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device",
        "blkio.throttle.write_iops_device", "cpuset.cpus", "cpuset.mems",
    ]

    /// Every limit of every group of the fixture.
    private func limits(_ fixture: ContainerFixture) async throws -> [String: String] {
        var found: [String: String] = [:]
        for folder in try await fixture.cgroups() {
            for file in KeptLimitTests.files {
                found["\(folder)/\(file)"] = ContainerFixture.text("\(folder)/\(file)")
            }
        }
        return found
    }

    @Test("every limit stands when a container's command begins", .timeLimit(.minutes(1)))
    func kept() async throws {
        try await ContainerFixture.with { fixture in
            let control = try HostControl(
                settings: HostControlSettings(
                    cgroupRoot: fixture.name, instance: "t\(getpid())", bridge: "shoalt0",
                    networkNamespace: fixture.name, diskPaths: ["/var/tmp"]),
                commands: fixture.commands)
            let limits = CgroupLimits(
                cpuRequestMillicores: 250, cpuLimitMillicores: 500, cpuBurstMillicores: 300,
                memoryLimitBytes: 64 << 20, memorySoftBytes: 48 << 20, memorySwapBytes: 16 << 20,
                pidsMax: 64,
                io: IOSpec(weight: 300, readBytesPerSecond: 64 << 20, writeOperationsPerSecond: 900)
            )
            let slot = SlotID(service: "web", ordinal: 3)
            let pinned = CgroupLimits(
                cpuRequestMillicores: 1_000, cpuLimitMillicores: 1_000, cores: .dedicated,
                memoryLimitBytes: 32 << 20, pidsMax: 8)
            let hasCores =
                await control.capabilities.cgroups.mountPoint(of: "cpuset") != nil
                && sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1
            try await control.ensureSetCgroup(
                slot: slot, containers: [("app", limits)] + (hasCores ? [("pin", pinned)] : []))
            let before = try await self.limits(fixture)
            #expect(before.count > 10)
            let runtime = try fixture.runtime()
            let launch = fixture.launch(
                "sleep 60",
                limits: RuntimeLimits(
                    cpuQuotaMicroseconds: limits.quotaMicroseconds, cpuShares: limits.shares,
                    memoryBytes: limits.memoryLimitBytes, pidsMax: limits.pidsMax))
            // As the agent does.
            let containers = [("app", limits)] + (hasCores ? [("pin", pinned)] : [])
            _ = try await runtime.create(launch)
            try await control.ensureSetCgroup(slot: slot, containers: containers)
            try await runtime.start(launch.id)
            let inside = try await runtime.exec(launch.id, command: ["sh", "-c", "exit 7"])
            #expect(await inside.wait() == 7)
            let after = try await self.limits(fixture)
            for (file, text) in before { #expect(after[file] == text, "\(file)") }
            if hasCores {
                let processors = before.first { $0.key.hasSuffix("/app/cpuset.cpus") }?.value
                #expect(processors?.isEmpty == false)
                let found = try await runtime.containers()
                let pid = try #require(found.first?.pid)
                let status = ContainerFixture.text("/proc/\(pid)/status") ?? ""
                let allowed = status.split(separator: "\n")
                    .first { $0.hasPrefix("Cpus_allowed_list:") }
                #expect(
                    allowed?.split(whereSeparator: \.isWhitespace).last
                        == processors?.split(separator: "\n").first)
            }
            // A change while it runs holds, and the runtime's own end leaves nothing.
            var more = limits
            (more.cpuLimitMillicores, more.memorySwapBytes) = (900, 0)
            try await control.ensureSetCgroup(slot: slot, containers: [("app", more)])
            try await runtime.delete(launch.id)
            try await control.removeSetCgroup(slot: slot)
            try await control.tearDown()
            #expect(try await fixture.cgroups().isEmpty)
        }
    }
}
