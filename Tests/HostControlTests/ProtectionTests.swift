import ClusterModel
import EventLoop
import Foundation
import Glibc
import HostPlan
import Testing

@testable import HostControl

/// What is kept for the host and the agent, exercised on the kernel.
@Suite(
    "The wall around all sets, and the agent's own group", .enabled(if: obstacle == nil),
    .serialized)
struct ProtectionTests {
    /// A file of the group of all sets, or of the agent's.
    private func text(
        _ name: String, _ host: HostFixture, agent: Bool = false
    ) async -> String? {
        let layout = await host.control.capabilities.cgroups
        let root = host.settings.cgroupRoot
        let group = agent ? CgroupPlan.agentGroup(root: root) : root
        guard let mount = layout.mountPoint(of: String(name.prefix { $0 != "." })) else {
            return nil
        }
        return KernelFile.line("\(mount)/\(group)/\(name)")
    }

    private func bytes(_ one: String, _ two: String, _ host: HostFixture) async -> Int {
        let version = await host.control.capabilities.cgroups.version
        return await text(version == .one ? one : two, host).flatMap { Int($0) } ?? -1
    }

    @Test("sets that may take more each than all together are stopped at the host's limit")
    func overcommitted() async throws {
        try await HostFixture.with(network: false) { host in
            let wall = SetsWall(memoryBytes: 96 << 20, millicores: 1_500)
            #expect(try await host.control.setWall(wall).isEmpty)
            for ordinal in 0...1 {
                try await host.control.ensureSetCgroup(
                    slot: web(ordinal), containers: [("app", limits(memory: 512 << 20))])
            }
            let quiet = try await host.commands.start(
                try await host.command(
                    "exec /usr/bin/python3 -u -c 'b=b\"x\"*(16<<20); print(\"ready\"); input()'",
                    slot: web(1), container: "app"))
            for try await chunk in quiet.output where !chunk.bytes.isEmpty { break }
            let hog = try await host.run("exec tail /dev/zero", slot: web(0), container: "app")
            #expect(hog.exitCode == 128 + SIGKILL)
            let usage = try await host.control.usage(slot: web(0), container: "app")
            #expect(1...2 ~= usage.outOfMemoryKills)
            #expect(usage.memoryPeakBytes <= 96 << 20)
            // The figures tell whose limit it was.
            let peak = MemoryAtExit(peakBytes: usage.memoryPeakBytes, limitBytes: 512 << 20)
            #expect(!peak.reachedLimit)
            #expect(
                try await host.control.usage(slot: web(1), container: "app").outOfMemoryKills == 0)

            // Lowered below what is in use: refused, nobody dies, and all else is in force.
            let low = SetsWall(memoryBytes: 8 << 20, millicores: 700)
            let notices = try await host.control.setWall(low)
            #expect(notices.count == 1 && notices.first?.contains("use less") == true)
            #expect(await bytes("memory.limit_in_bytes", "memory.max", host) == 96 << 20)
            #expect(await bytes("cpu.shares", "cpu.weight", host) == (await shares(low, host)))
            await quiet.closeInput()
            #expect(await quiet.wait() != 128 + SIGKILL)
            #expect(try await host.control.setWall(low).isEmpty)
            #expect(await bytes("memory.limit_in_bytes", "memory.max", host) == 8 << 20)
            // And up again, while sets are there.
            #expect(try await host.control.setWall(wall).isEmpty)
            #expect(await bytes("memory.limit_in_bytes", "memory.max", host) == 96 << 20)
        }
    }

    private func shares(_ wall: SetsWall, _ host: HostFixture) async -> Int {
        await host.control.capabilities.cgroups.version == .one ? wall.shares : wall.weight
    }

    @Test("the agent moves into a group of its own, once or again, and what it starts with it")
    func ownGroup() async throws {
        try await HostFixture.with(network: false) { host in
            // Sets of an earlier version are there already.
            try await host.control.ensureSetCgroup(
                slot: web(0), containers: [("app", limits())])
            let shell = try await host.commands.start([
                "sh", "-c", "echo $$; while read x; do cat /proc/self/cgroup; echo end; done",
            ])
            var said = ""
            func answer(until end: String) async throws -> String {
                for try await chunk in shell.output {
                    said += String(decoding: chunk.bytes, as: UTF8.self)
                    guard said.hasSuffix(end) else { continue }
                    defer { said = "" }
                    return said
                }
                return said
            }
            let number = try await answer(until: "\n").filter { $0.isNumber }
            let process = try #require(Int32(number))
            let wall = SetsWall(memoryBytes: 1 << 30, millicores: 1_500)
            for _ in 0...1 {
                // Lowering the score takes a right that root in a container may lack.
                let notices = await host.control.protectAgent(process: process, wall: wall)
                #expect(notices.allSatisfy { $0.contains("CAP_SYS_RESOURCE") })
                let score = KernelFile.line("/proc/\(process)/oom_score_adj")
                #expect((score == "-900") == notices.isEmpty)
            }
            try await shell.write(Array("x\n".utf8))
            let groups = try await answer(until: "end\n")
            let layout = await host.control.capabilities.cgroups
            let group = "/\(CgroupPlan.agentGroup(root: host.settings.cgroupRoot))\n"
            // A child of the moved process, in every hierarchy that has the group.
            #expect(groups.split(separator: "\n").count > 0)
            #expect(
                groups.components(separatedBy: group).count - 1
                    == CgroupPlan.agentMounts(layout).count, "\(groups)")
            switch layout.version {
            case .one:
                #expect(await text("cpu.shares", host, agent: true) == "\(wall.agentShares)")
                #expect(await text("memory.swappiness", host, agent: true) == "0")
            case .two:
                #expect(await text("cpu.weight", host, agent: true) == "\(wall.weight)")
                #expect(
                    await text("memory.min", host, agent: true)
                        == "\(CgroupPlan.agentMemoryMinBytes)")
            }
            // The sets are where they were.
            #expect(await host.control.existingSetCgroups() == [web(0)])
            await shell.closeInput()
            #expect(await shell.wait() == 0)
        }
    }
}
