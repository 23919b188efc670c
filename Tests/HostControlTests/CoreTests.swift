import ClusterModel
import EventLoop
import Foundation
import Glibc
import HostControl
import HostPlan
import Testing

/// Why cores cannot be given away here; nil when they can.
let coreObstacle: String? = {
    guard obstacle == nil else { return obstacle }
    let mounts = (try? String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)) ?? ""
    let unified = CgroupLayout.unifiedMount(mountInfo: mounts)
    let offered = unified.flatMap {
        try? String(contentsOfFile: "\($0)/cgroup.controllers", encoding: .utf8)
    }
    let layout = try? CgroupLayout.detect(mountInfo: mounts, v2Controllers: offered)
    let reason: String? =
        if layout?.mountPoint(of: "cpuset") == nil {
            "needs the cpuset controller"
        } else if sysconf(Int32(_SC_NPROCESSORS_ONLN)) < 2 {
            "needs two processors"
        } else {
            nil
        }
    if let reason { print("CoreTests skipped: \(reason)") }
    return reason
}()

/// Dedicated, shared and reserved cores: who burns is seen where it may be and nowhere else.
@Suite("Cores on this machine", .enabled(if: coreObstacle == nil), .serialized)
struct CoreTests {
    private let pinned = limits(cpu: 1_000, cores: .dedicated)

    /// Burns in four processes, and says every fifth of a second on which processors it was.
    private static let burner = """
        import os, time
        for i in range(3):
            if os.fork() == 0: break
        def here(): return int(open('/proc/self/stat').read().rsplit(')', 1)[1].split()[36])
        while True:
            seen = set(); end = time.monotonic() + 0.2
            while time.monotonic() < end: seen.add(here())
            os.write(1, ('%s;' % ','.join(map(str, sorted(seen)))).encode())
        """

    private func burn(_ host: HostFixture, _ slot: SlotID) async throws -> RunningCommand {
        try await host.commands.start(
            try await host.command(
                "exec /usr/bin/python3 -u -c \"\(CoreTests.burner)\"", slot: slot,
                container: "app"))
    }

    /// The processors that a burner's next reports name, those that were under way left out.
    private func seen(_ burner: RunningCommand) async throws -> Set<Int> {
        var processors: Set<Int> = []
        var text = ""
        for try await chunk in burner.output {
            text += String(decoding: chunk.bytes, as: UTF8.self)
            let reports = text.split(separator: ";", omittingEmptySubsequences: false).dropLast()
            // Four processes: what was begun before is over after eight.
            guard reports.count >= 20 else { continue }
            for report in reports.dropFirst(8) {
                processors.formUnion(report.split(separator: ",").compactMap { Int($0) })
            }
            return processors
        }
        return processors
    }

    private func processors(
        _ host: HostFixture, _ slot: SlotID, _ container: String? = "app"
    ) async throws -> [Int] {
        try #require(
            (await host.text("cpuset.cpus", slot, container)).flatMap { ProcessorList.numbers($0) })
    }

    @Test("a dedicated core has one burner only; who shares shrinks and grows while it runs")
    func dedicated() async throws {
        try await HostFixture.with(network: false) { host in
            let control = host.control
            try await control.ensureSetCgroup(slot: web(0), containers: [("app", limits())])
            let all = try await processors(host, web(0))
            #expect(all.count >= 2)
            let sharing = try await burn(host, web(0))
            _ = try await seen(sharing)

            try await control.ensureSetCgroup(slot: web(1), containers: [("app", pinned)])
            let own = try await processors(host, web(1))
            let shared = try await processors(host, web(0))
            #expect(!own.isEmpty && Set(own).isDisjoint(with: shared))
            #expect(Set(own + shared) == Set(all))
            let alone = try await burn(host, web(1))
            #expect(try await seen(alone) == Set(own))
            #expect(try await seen(sharing).isSubset(of: shared))
            // Again, and with another set that shares: nothing moves.
            try await control.ensureSetCgroup(slot: web(1), containers: [("app", pinned)])
            try await control.ensureSetCgroup(slot: web(2), containers: [("app", limits())])
            #expect(try await processors(host, web(1)) == own)
            #expect(try await processors(host, web(2)) == shared)
            alone.kill(signal: SIGKILL)
            try await control.removeSetCgroup(slot: web(1))
            #expect(try await processors(host, web(0)) == all)
            #expect(try await processors(host, web(2)) == all)
            sharing.kill(signal: SIGKILL)
        }
    }

    @Test("more than there is is refused, and then nothing has changed")
    func tooMany() async throws {
        try await HostFixture.with(network: false) { host in
            let control = host.control
            try await control.ensureSetCgroup(slot: web(0), containers: [("app", pinned)])
            try await control.ensureSetCgroup(slot: web(1), containers: [("app", limits())])
            let before = [await host.limits(of: web(0)), await host.limits(of: web(1))]
            let error = await #expect(throws: HostControlError.self) {
                try await control.ensureSetCgroup(
                    slot: web(1),
                    containers: [("app", limits(cpu: 64_000_000, cores: .dedicated))])
            }
            guard case .notEnoughCores(_, 64_000, _)? = error else {
                Issue.record("wrong error: \(String(describing: error))")
                return
            }
            #expect([await host.limits(of: web(0)), await host.limits(of: web(1))] == before)
        }
    }

    @Test("cores come back when a later limit of the same change is refused")
    func laterFailure() async throws {
        try await HostFixture.with(network: false) { host in
            let control = host.control
            try await control.ensureSetCgroup(slot: web(0), containers: [("app", limits())])
            try await control.ensureSetCgroup(
                slot: web(1), containers: [("app", limits(memory: 128 << 20))])
            let before = [await host.limits(of: web(0)), await host.limits(of: web(1))]
            let script =
                "exec /usr/bin/python3 -u -c 'b=b\"x\"*(64<<20); print(\"ready\"); input()'"
            let holder = try await host.commands.start(
                try await host.command(script, slot: web(1), container: "app"))
            for try await chunk in holder.output where !chunk.bytes.isEmpty { break }
            await #expect(throws: HostControlError.self) {
                try await control.ensureSetCgroup(
                    slot: web(1),
                    containers: [("app", limits(cores: .dedicated, memory: 16 << 20))])
            }
            #expect([await host.limits(of: web(0)), await host.limits(of: web(1))] == before)
            await holder.closeInput()
            _ = await holder.wait()
        }
    }

    @Test(
        "a container becomes dedicated and shared again while it runs, and keeps its cores over a restart of the agent"
    )
    func changeAndRestart() async throws {
        try await HostFixture.with(network: false) { host in
            let control = host.control
            try await control.ensureSetCgroup(slot: web(0), containers: [("app", limits())])
            let all = try await processors(host, web(0))
            let burner = try await burn(host, web(0))
            try await control.ensureSetCgroup(slot: web(0), containers: [("app", pinned)])
            let own = try await processors(host, web(0))
            #expect(own.count < all.count)
            #expect(try await seen(burner) == Set(own))

            // The next start of the agent knows of it and of another that shares.
            let next = try HostControl(settings: host.settings, commands: host.commands)
            #expect(try await next.adoptCores(of: [(web(0), [("app", pinned)])]).isEmpty)
            #expect(try await processors(host, web(0)) == own)
            try await next.ensureSetCgroup(slot: web(1), containers: [("app", limits())])
            #expect(Set(try await processors(host, web(1))).isDisjoint(with: own))

            try await next.ensureSetCgroup(slot: web(0), containers: [("app", limits())])
            #expect(try await processors(host, web(0)) == all)
            #expect(try await processors(host, web(1)) == all)
            burner.kill(signal: SIGKILL)
        }
    }

    @Test("reserved cores belong to the group that is named, and to no set")
    func reserved() async throws {
        try await HostFixture.with(network: false) { host in
            let layout = await host.control.capabilities.cgroups
            let mount = try #require(layout.mountPoint(of: "cpuset"))
            let group = "shoalt-vm-\(getpid())"
            var settings = host.settings
            settings.reservations = [
                .init(group: group, processors: 1), .init(group: "absent-group", processors: 4_096),
            ]
            #expect(settings.problems().isEmpty)
            try await host.control.ensureSetCgroup(slot: web(0), containers: [("app", limits())])
            let all = try await processors(host, web(0))
            #expect(mkdir("\(mount)/\(group)", 0o755) == 0)
            defer { rmdir("\(mount)/\(group)") }
            let control = try HostControl(settings: settings, commands: host.commands)
            let said = try await control.adoptCores(of: [(web(0), [("app", limits())])])
            #expect(said.count == 1, "\(said)")
            let text = try String(contentsOfFile: "\(mount)/\(group)/cpuset.cpus", encoding: .utf8)
            let reserved = try #require(ProcessorList.numbers(text))
            #expect(!reserved.isEmpty)
            #expect(try await control.reservedProcessorCount() == reserved.count)
            // The set that runs has left them.
            let rest = try await processors(host, web(0))
            #expect(Set(rest + reserved) == Set(all) && Set(rest).isDisjoint(with: reserved))
            #expect(try await processors(host, web(0), nil) == rest)
            await #expect(throws: HostControlError.self) {
                try await control.ensureSetCgroup(
                    slot: web(1),
                    containers: [("app", limits(cpu: rest.count * 1_000, cores: .dedicated))])
            }
        }
    }
}
