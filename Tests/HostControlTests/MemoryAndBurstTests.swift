import ClusterModel
import EventLoop
import Foundation
import Glibc
import HostControl
import HostPlan
import Testing

/// Burst, soft limit, swap and changes that fail: exercised on real groups.
@Suite("Burst, soft limit and swap on this machine", .enabled(if: obstacle == nil), .serialized)
struct MemoryAndBurstTests {
    /// Idles, then wants 30 ms of processor at once, eight times; says how long it was held back.
    ///
    /// In milliseconds; what Python itself takes to start does not count.
    private static let spurts = """
        import sys, time
        def held():
            facts = dict(line.split() for line in open(sys.argv[1]))
            return int(facts["throttled_usec"]) // 1000 if "throttled_usec" in facts \
                else int(facts["throttled_time"]) // 1000000
        time.sleep(0.5)
        before = held()
        for i in range(8):
            time.sleep(0.2)
            end = time.process_time() + 0.03
            while time.process_time() < end: pass
        print(held() - before)
        """

    @Test("time that was saved up may be spent above the quota, and without it is not")
    func burst() async throws {
        try await HostFixture.with(network: false) { host in
            let control = host.control
            for (slot, burst) in [(web(0), 0), (web(1), 200)] {
                try await control.ensureSetCgroup(
                    slot: slot, containers: [("app", limits(cpu: 200, burst: burst))])
            }
            try await host.makeHeavy()
            let name =
                await control.capabilities.cgroups.version == .one
                ? "cpu.cfs_burst_us" : "cpu.max.burst"
            guard await host.text(name, web(1)) != nil else {
                let said = try await control.ensureSetCgroup(
                    slot: web(1), containers: [("app", limits(cpu: 200, burst: 200))])
                #expect(said.count == 1)
                return
            }
            #expect(await host.text(name, web(1), "app") == "20000")
            #expect(await host.text(name, web(1)) == "20000")
            let without = try await heldBack(web(0), host)
            let with = try await heldBack(web(1), host)
            #expect(without > 0)
            #expect(with < without / 2, "held back \(with) and \(without) ms")
        }
    }

    /// Milliseconds for which the spurts were held back in a group.
    private func heldBack(_ slot: SlotID, _ host: HostFixture) async throws -> Int {
        let layout = await host.control.capabilities.cgroups
        let mount = try #require(layout.mountPoint(of: "cpu"))
        let path = host.control.cgroupPath(slot: slot, container: "app")
        let result = try await host.run(
            "exec /usr/bin/python3 -c '\(MemoryAndBurstTests.spurts)' \(mount)\(path)/cpu.stat",
            slot: slot, container: "app")
        #expect(result.exitCode == 0, "\(result.errorText)")
        return try #require(
            Int(result.outputText.trimmingCharacters(in: .whitespacesAndNewlines)))
    }

    @Test("a burst shrinks and grows with its quota, in any order of the two")
    func burstOrder() async throws {
        try await HostFixture.with(network: false) { host in
            for (cpu, burst) in [(400, 400), (100, 100), (800, 0), (800, 800), (50, 20)] {
                try await host.control.ensureSetCgroup(
                    slot: web(0),
                    containers: [("app", limits(cpu: cpu, burst: burst)), ("log", limits(cpu: 50))])
            }
        }
    }

    @Test("a group beyond its soft limit is reclaimed, and nothing is killed")
    func soft() async throws {
        try await HostFixture.with(network: false) { host in
            let soft = limits(memory: 128 << 20, soft: 24 << 20)
            let said = try await host.control.ensureSetCgroup(
                slot: web(0), containers: [("app", soft)])
            let isFirst = await host.control.capabilities.cgroups.version == .one
            let name = isFirst ? "memory.soft_limit_in_bytes" : "memory.high"
            #expect(said.isEmpty == (await host.text(name, web(0), "app") != nil))
            #expect(await host.text(name, web(0), "app") == "\(24 << 20)")
            // Version 1 heeds it only when the whole host is short of memory.
            if !isFirst, diskObstacle == nil {
                try await DiskFixture.with(mebibytes: 160) { disk in
                    let result = try await host.run(
                        "dd if=/dev/zero of=\(disk.folder)/cache bs=1M count=48 conv=fsync",
                        slot: web(0), container: "app")
                    #expect(result.exitCode == 0, "\(result.errorText)")
                    let usage = try await host.control.usage(slot: web(0), container: "app")
                    #expect(usage.memoryBytes < 36 << 20, "\(usage.memoryBytes) in use")
                    #expect(usage.outOfMemoryKills == 0)
                }
            }
            try await host.control.ensureSetCgroup(
                slot: web(0), containers: [("app", limits(memory: 128 << 20))])
            let none = await host.text(name, web(0), "app")
            #expect(none == "max" || (none.flatMap { Int($0) } ?? 0) > 1 << 60)
        }
    }

    @Test(
        "without swap a hog dies at its limit, with swap it lives beyond it",
        .enabled(if: diskObstacle == nil))
    func swap() async throws {
        try await HostFixture.with(network: false) { host in
            try await SwapFixture.with(mebibytes: 128, host.commands) { isSwapping in
                try #require(isSwapping)
                let hog =
                    "exec /usr/bin/python3 -u -c 'b=b\"x\"*(48<<20); print(\"held\"); input()'"
                try await host.control.ensureSetCgroup(
                    slot: web(0), containers: [("app", limits(memory: 32 << 20))])
                let dead = try await host.run(hog, slot: web(0), container: "app")
                #expect(dead.exitCode == 128 + SIGKILL)

                let allowed = limits(memory: 32 << 20, swap: 64 << 20)
                let said = try await host.control.ensureSetCgroup(
                    slot: web(1), containers: [("app", allowed)])
                try #require(said.isEmpty, "\(said)")
                let alive = try await host.commands.start(
                    try await host.command(hog, slot: web(1), container: "app"))
                var held = false
                for try await chunk in alive.output where !chunk.bytes.isEmpty {
                    held = true
                    break
                }
                #expect(held)
                let usage = try await host.control.usage(slot: web(1), container: "app")
                #expect(usage.memoryBytes <= 32 << 20)
                #expect(usage.swapBytes > 8 << 20, "\(usage.swapBytes) in swap")
                #expect(usage.outOfMemoryKills == 0)
                // What is in swap cannot be taken away either.
                let error = await #expect(throws: HostControlError.self) {
                    try await host.control.ensureSetCgroup(
                        slot: web(1), containers: [("app", limits(memory: 32 << 20))])
                }
                guard case .memoryInUse? = error else {
                    Issue.record("wrong error: \(String(describing: error))")
                    return
                }
                await alive.closeInput()
                #expect(await alive.wait() != 128 + SIGKILL)
            }
        }
    }

    @Test("memory that can be reclaimed is, and the set shrinks", .enabled(if: diskObstacle == nil))
    func shrinkReclaims() async throws {
        try await HostFixture.with(network: false) { host in
            try await DiskFixture.with(mebibytes: 160) { disk in
                try await host.control.ensureSetCgroup(
                    slot: web(0), containers: [("app", limits(memory: 128 << 20))])
                let script = """
                    dd if=/dev/zero of=\(disk.folder)/cache bs=1M count=80 conv=fsync 2>/dev/null
                    echo ready; read line
                    """
                let holder = try await host.commands.start(
                    try await host.command(script, slot: web(0), container: "app"))
                for try await chunk in holder.output where !chunk.bytes.isEmpty { break }
                let before = try await host.control.usage(slot: web(0), container: "app")
                #expect(before.memoryBytes > 70 << 20)
                try await host.control.ensureSetCgroup(
                    slot: web(0), containers: [("app", limits(memory: 32 << 20))])
                let after = try await host.control.usage(slot: web(0), container: "app")
                #expect(after.memoryBytes <= 32 << 20)
                #expect(after.outOfMemoryKills == 0)
                await holder.closeInput()
                #expect(await holder.wait() != 128 + SIGKILL)
            }
        }
    }

    @Test("a change that fails leaves every former value in place")
    func allOrNothing() async throws {
        try await HostFixture.with(network: false) { host in
            let former = [
                ("a", limits(cpu: 400, burst: 100, memory: 64 << 20, soft: 32 << 20, pids: 20)),
                ("b", limits(cpu: 300, burst: 300, memory: 128 << 20, swap: 1 << 20)),
            ]
            try await host.control.ensureSetCgroup(slot: web(0), containers: former)
            let before = await host.limits(of: web(0))
            #expect(before.count > 12)
            let script =
                "exec /usr/bin/python3 -u -c 'b=b\"x\"*(64<<20); print(\"ready\"); input()'"
            let holder = try await host.commands.start(
                try await host.command(script, slot: web(0), container: "b"))
            for try await chunk in holder.output where !chunk.bytes.isEmpty { break }
            let error = await #expect(throws: HostControlError.self) {
                try await host.control.ensureSetCgroup(
                    slot: web(0),
                    containers: [
                        ("a", limits(cpu: 900, memory: 256 << 20, swap: 64 << 20, pids: 99)),
                        ("b", limits(cpu: 50, memory: 16 << 20)),
                    ])
            }
            guard case .memoryInUse? = error else {
                Issue.record("wrong error: \(String(describing: error))")
                return
            }
            #expect(await host.limits(of: web(0)) == before)
            await holder.closeInput()
            #expect(await holder.wait() != 128 + SIGKILL)
        }
    }

    @Test("a change that fails late is undone back to its first step")
    func lateFailure() async throws {
        try await HostFixture.with(network: false) { host in
            let layout = await host.control.capabilities.cgroups
            // Only version 1 refuses a quota: one below that of a group inside.
            guard layout.version == .one, let mount = layout.mountPoint(of: "cpu") else { return }
            try await host.control.ensureSetCgroup(
                slot: web(0),
                containers: [
                    ("a", limits(cpu: 300, burst: 200)), ("b", limits(cpu: 600, burst: 600)),
                ])
            let inner = "\(mount)/\(host.settings.cgroupRoot)/web.0/b/inner"
            try FileManager.default.createDirectory(
                atPath: inner, withIntermediateDirectories: false)
            let quota = try await host.commands.run(
                ["sh", "-c", "echo 50000 > \(inner)/cpu.cfs_quota_us"])
            #expect(quota.exitCode == 0)
            let before = await host.limits(of: web(0))
            await #expect(throws: HostControlError.self) {
                try await host.control.ensureSetCgroup(
                    slot: web(0),
                    containers: [
                        ("a", limits(cpu: 800, burst: 10, memory: 32 << 20)),
                        ("b", limits(cpu: 200, memory: 96 << 20)),
                    ])
            }
            #expect(await host.limits(of: web(0)) == before)
            rmdir(inner)
        }
    }
}

/// Swap of the test's own, on a loop device.
enum SwapFixture {
    /// Runs the body with swap on, and takes it away again, also after a failure.
    static func with(
        mebibytes: Int, _ commands: CommandRunner, _ body: (_ isOn: Bool) async throws -> Void
    ) async throws {
        var template = Array("/var/tmp/shoalt-swap-XXXXXX".utf8CString)
        let made = mkdtemp(&template).map { String(cString: $0) }
        let base = try #require(made)
        defer { try? FileManager.default.removeItem(atPath: base) }
        try await commands.check(["truncate", "-s", "\(mebibytes)M", "\(base)/file"])
        // Else the file's pages would count as memory of whoever is swapped out.
        let shown = try await commands.check([
            "losetup", "--find", "--show", "--direct-io=on", "\(base)/file",
        ])
        let device = shown.outputText.trimmingCharacters(in: .whitespacesAndNewlines)
        var result = Result<Void, any Error>.success(())
        do {
            try await commands.check(["mkswap", "-q", device])
            let on = try await commands.run(["swapon", device])
            do { try await body(on.exitCode == 0) } catch { result = .failure(error) }
            if on.exitCode == 0 { try await commands.check(["swapoff", device]) }
        } catch { if case .success = result { result = .failure(error) } }
        try await commands.check(["losetup", "--detach", device])
        try result.get()
    }
}
