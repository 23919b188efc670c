import Base
import ClusterModel
import ContainerRuntime
import EventLoop
import Glibc
import HostPlan
import Testing

/// What a new agent finds of an earlier one's containers; skipped without root or the programs.
@Suite("Adopted containers", .serialized, .enabled(if: ContainerFixture.isUsable))
struct AdoptionTests {
    private func nextExit(of runtime: ContainerRuntime) async -> ExitNotice? {
        for await notice in runtime.exits { return notice }
        return nil
    }

    @Test("a new agent finds the running container and learns of its end", .timeLimit(.minutes(1)))
    func adoption() async throws {
        try await ContainerFixture.with { fixture in
            let launch = fixture.launch(
                "trap 'exit 9' TERM; echo up; while true; do sleep 0.05; done")
            var first: ContainerRuntime? = try fixture.runtime()
            let process = try await fixture.run(launch, in: #require(first))
            first = nil
            let log = LogReader(path: "\(fixture.settings.folder)/logs/\(launch.id).log")
            for try await line in log.follow(tail: 10) where line.text == "up" { break }
            let runtime = try fixture.runtime()
            let found = try await runtime.containers()
            #expect(
                found == [
                    AdoptedContainer(
                        id: launch.id, slot: launch.slot, container: "app",
                        placementIndex: LogIndex(42), pid: process.pid,
                        conmonPid: process.conmonPid, running: true, exit: nil)
                ])
            // The monitor is nobody's child and in nobody's session, so no end of ours ends it.
            #expect(getsid(process.conmonPid) == process.conmonPid)
            await #expect(throws: RuntimeError.self) { try await runtime.create(launch) }
            try await runtime.stop(launch.id, grace: .seconds(20))
            let exit = try #require(await nextExit(of: runtime))
            #expect(exit.id == launch.id && exit.code == 9)
            // One who comes later still still reads the code.
            let later = try fixture.runtime()
            #expect(try await later.containers().first?.exit?.code == 9)
        }
    }

    @Test(
        "a container whose monitor was killed is ended and reported", .timeLimit(.minutes(1)),
        arguments: [true, false])
    func monitorLost(whileWatched: Bool) async throws {
        try await ContainerFixture.with { fixture in
            let launch = fixture.launch("sleep 60")
            let runtime = try fixture.runtime()
            let process = try await fixture.run(launch, in: runtime)
            if whileWatched {
                kill(process.conmonPid, SIGKILL)
                let exit = try #require(await nextExit(of: runtime))
                #expect(exit.code == 137 && exit.monitorLost)
            } else {
                // Another agent than the one that watches must come to the same end.
                let other = try fixture.runtime()
                kill(process.conmonPid, SIGKILL)
                while ProcessIdentity(living: process.conmonPid) != nil { await Task.yield() }
                let found = try await other.containers()
                #expect(found.map(\.exit?.code) == [137])
                #expect(found.map(\.running) == [false])
            }
            #expect(ProcessIdentity(living: process.pid) == nil)
            try await runtime.delete(launch.id)
            #expect(try await fixture.cgroups().isEmpty)
        }
    }

    @Test(
        "what a crash left half made is not running and gives way to the next create",
        .timeLimit(.minutes(1)), arguments: ["created", "intended", "torn"])
    func halfMade(stage: String) async throws {
        try await ContainerFixture.with { fixture in
            let launch = fixture.launch("exit 4")
            let runtime = try fixture.runtime()
            let process = try await runtime.create(launch)
            let path = "\(fixture.settings.folder)/bundles/\(launch.id)/record"
            let text = try #require(ContainerFixture.text(path))
            var record = try #require(ContainerRecord(text: text))
            if stage == "intended" {
                record.stage = .intended
                record.process = nil
                record.monitor = nil
            }
            let file = fopen(path, "w")
            fputs(stage == "torn" ? String(text.prefix(40)) : record.text, file)
            fclose(file)
            let next = try fixture.runtime()
            let found = try await next.containers()
            #expect(found.count == (stage == "torn" ? 0 : 1))
            #expect(found.allSatisfy { !$0.running && $0.exit == nil })
            try await fixture.run(launch, in: next)
            #expect(ProcessIdentity(living: process.pid) == nil)
            #expect(ProcessIdentity(living: process.conmonPid) == nil)
            #expect(await nextExit(of: next)?.code == 4)
            try await next.delete(launch.id)
            #expect(fixture.processes().isEmpty)
            if stage != "torn" { #expect(try await fixture.cgroups().isEmpty) }
        }
    }

    @Test(
        "a record of another boot or another process's number is not taken for running",
        .timeLimit(.minutes(1)), arguments: [true, false])
    func staleRecord(otherBoot: Bool) async throws {
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            let launch = fixture.launch("")
            let own = try #require(ProcessIdentity(living: getpid()))
            var record = ContainerRecord(
                id: launch.id, slot: launch.slot, container: "app", placementIndex: LogIndex(1),
                rootPath: "/r", cgroupsPath: launch.cgroupsPath, stopSignal: nil, bootID: "other",
                stage: .started, process: own, monitor: own)
            if !otherBoot {
                let boot = try #require(ContainerFixture.text("/proc/sys/kernel/random/boot_id"))
                record.bootID = String(boot.prefix { !$0.isWhitespace })
                record.process?.startTicks += 1
                record.monitor?.startTicks += 1
            }
            let folder = "\(fixture.settings.folder)/bundles/\(launch.id)"
            mkdir(folder, 0o700)
            let file = fopen("\(folder)/record", "w")
            fputs(record.text, file)
            fclose(file)
            let found = try await runtime.containers()
            #expect(found.map(\.exit?.code) == [137])
            #expect(found.map(\.pid) == [nil])
            try await runtime.delete(launch.id)
        }
    }

    @Test(
        "two containers of a set share the network and nothing else; many at once work",
        .timeLimit(.minutes(1)))
    func several() async throws {
        try await ContainerFixture.with { fixture in
            let runtime = try fixture.runtime()
            let begin = ContinuousClock.now
            var processes: [ContainerProcess] = []
            try await withThrowingTaskGroup(of: ContainerProcess.self) { group in
                for number in 0..<8 {
                    let launch = fixture.launch("sleep 60", container: "c\(number)")
                    group.addTask { try await fixture.run(launch, in: runtime) }
                }
                for try await process in group { processes.append(process) }
            }
            print("eight containers at once in \(ContinuousClock.now - begin)")
            func namespaces(_ kind: String) -> Set<String> {
                Set(
                    processes.map { process in
                        var buffer = [CChar](repeating: 0, count: 64)
                        let count = readlink("/proc/\(process.pid)/ns/\(kind)", &buffer, 63)
                        return String(
                            decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) },
                            as: UTF8.self)
                    })
            }
            #expect(namespaces("net").count == 1)
            for kind in ["pid", "ipc", "uts", "mnt"] { #expect(namespaces(kind).count == 8) }
            #expect(try await runtime.containers().filter(\.running).count == 8)
            try await withThrowingTaskGroup { group in
                for process in processes {
                    group.addTask { try await runtime.delete(process.id) }
                }
                try await group.waitForAll()
            }
            #expect(try await fixture.cgroups().isEmpty)
            #expect(fixture.processes().isEmpty)
        }
    }
}
