import ClusterModel
import EventLoop
import Glibc
import HostControl
import HostPlan
import Testing

/// Real control groups: limits are exercised, not only written.
@Suite("Control groups on this machine", .enabled(if: obstacle == nil), .serialized)
struct CgroupTests {
    @Test("a processor burner is held to its quota")
    func burner() async throws {
        try await HostFixture.with(network: false) { host in
            try await host.control.ensureSetCgroup(
                slot: web(0), containers: [("app", limits(cpu: 200))])
            try await host.makeHeavy()
            let started = ContinuousClock.now
            _ = try await host.run(
                "timeout 1.5 sh -c 'while :; do :; done'", slot: web(0), container: "app")
            let elapsed = (ContinuousClock.now - started) / .microseconds(1)
            let usage = try await host.control.usage(slot: web(0), container: "app")
            let share = Double(usage.cpuMicroseconds) / elapsed
            #expect(share < 0.25, "used \(share) of a core")
            #expect(share > 0.05, "used \(share) of a core")
            #expect(usage.throttledMicroseconds > 200_000)
            // Who is held back waits; version 1 and kernels without pressure do not say.
            let waited = usage.pressure?.cpu.someMicroseconds
            #expect((waited != nil) == (await host.text("cpu.pressure", web(0), "app") != nil))
            #expect(waited.map { $0 > 200_000 } ?? true)
            #expect(try await host.control.usage(slot: web(0), container: nil).cpuMicroseconds > 0)
        }
    }

    @Test("a memory hog is killed at its limit, and that is counted")
    func memoryHog() async throws {
        try await HostFixture.with(network: false) { host in
            try await host.control.ensureSetCgroup(
                slot: web(0), containers: [("app", limits(memory: 32 << 20)), ("log", limits())])
            let result = try await host.run(
                "exec tail /dev/zero", slot: web(0), container: "app")
            #expect(result.exitCode == 128 + SIGKILL)
            let usage = try await host.control.usage(slot: web(0), container: "app")
            // Version 2 counts the shell's kill and that of its whole group.
            #expect(1...2 ~= usage.outOfMemoryKills)
            #expect(usage.memoryPeakBytes > 24 << 20)
            #expect(usage.memoryPeakBytes <= 32 << 20)
            let other = try await host.control.usage(slot: web(0), container: "log")
            #expect(other.outOfMemoryKills == 0)
        }
    }

    @Test("a fork bomb is held by the number of processes, and removal kills what is left")
    func forkBomb() async throws {
        try await HostFixture.with(network: false) { host in
            try await host.control.ensureSetCgroup(
                slot: web(0), containers: [("app", limits(pids: 20))])
            // The shell gives up when it cannot fork, and leaves its children behind.
            let script = "for i in $(seq 60); do sleep 60 & done 2>/dev/null"
            let bomb = try await host.run(script, slot: web(0), container: "app")
            #expect(bomb.exitCode != 0)
            let pids = try await host.control.usage(slot: web(0), container: "app").pids
            #expect(17...20 ~= pids, "\(pids) processes")
            #expect(await host.control.existingSetCgroups() == [web(0)])
            try await host.control.removeSetCgroup(slot: web(0))
            #expect(await host.control.existingSetCgroups().isEmpty)
            try await host.control.removeSetCgroup(slot: web(0))
            await #expect(throws: HostControlError.self) {
                try await host.control.usage(slot: web(0), container: "app")
            }
        }
    }

    @Test("limits change up and down in place, containers come and go")
    func resize() async throws {
        try await HostFixture.with(network: false) { host in
            let control = host.control
            let layout = await control.capabilities.cgroups
            let steps: [[(name: String, limits: CgroupLimits)]] = [
                [("app", limits(cpu: 500, memory: 64 << 20))],
                [("app", limits(cpu: 4_000, memory: 512 << 20)), ("log", limits(cpu: 100))],
                [("app", limits(cpu: 200, memory: (32 << 20) + 12_345)), ("log", limits())],
                [("log", limits(cpu: 15, memory: 1, pids: 1))],
                [("log", limits(cpu: 15, memory: 1, pids: 1))],
            ]
            for containers in steps {
                // Reads back by itself.
                try await control.ensureSetCgroup(slot: web(1), containers: containers)
            }
            let folder =
                "\(layout.mountPoint(of: "memory") ?? "")/\(host.settings.cgroupRoot)/web.1"
            #expect(access("\(folder)/log", F_OK) == 0)
            #expect(access("\(folder)/app", F_OK) != 0)
        }
    }

    @Test("memory in use is not taken away: shrinking refuses rather than kills")
    func shrink() async throws {
        try await HostFixture.with(network: false) { host in
            try await host.control.ensureSetCgroup(
                slot: web(0), containers: [("app", limits(memory: 128 << 20))])
            let script =
                "exec /usr/bin/python3 -u -c 'b=b\"x\"*(64<<20); print(\"ready\"); input()'"
            let holder = try await host.commands.start(
                try await host.command(script, slot: web(0), container: "app"))
            for try await chunk in holder.output where !chunk.bytes.isEmpty { break }
            let error = await #expect(throws: HostControlError.self) {
                try await host.control.ensureSetCgroup(
                    slot: web(0), containers: [("app", limits(memory: 32 << 20))])
            }
            guard case .memoryInUse(_, 33_554_432, let used)? = error else {
                Issue.record("wrong error: \(String(describing: error))")
                return
            }
            #expect(used > 32 << 20)
            let usage = try await host.control.usage(slot: web(0), container: "app")
            #expect(usage.outOfMemoryKills == 0)
            try await host.control.ensureSetCgroup(
                slot: web(0), containers: [("app", limits(memory: 96 << 20))])
            await holder.closeInput()
            #expect(await holder.wait() != 128 + SIGKILL)
        }
    }

    @Test("names that lead elsewhere are refused, as are settings")
    func names() async throws {
        try await HostFixture.with(network: false) { host in
            for service in ["..", "a/b", "", "-x", "a b", "a\nlink del lo"] {
                let slot = SlotID(service: service, ordinal: 0)
                await #expect(throws: HostControlError.self) {
                    try await host.control.ensureSetCgroup(slot: slot, containers: [])
                }
                await #expect(throws: HostControlError.self) {
                    try await host.control.removeSetNetwork(slot: slot)
                }
            }
            for root in ["", "/", "../x", "a//b", "/a", "a/../b"] {
                var settings = host.settings
                settings.cgroupRoot = root
                #expect(!settings.problems().isEmpty)
            }
            #expect(host.settings.problems().isEmpty)
        }
    }

    @Test("the machine says how large it is")
    func machine() async throws {
        try await HostFixture.with(network: false) { host in
            let facts = try await host.control.machineFacts()
            #expect(facts.processorCount >= 1)
            #expect(facts.memoryBytes > 64 << 20)
            #expect(!facts.hostName.isEmpty)
            #expect(facts.kernelRelease.contains("."))
        }
    }
}
